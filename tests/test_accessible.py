"""axe-core finds nothing serious in any view of the page, nor at its door."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("selenium")
from selenium.webdriver import ActionChains, Keys

from tests.looking import Stage
from tests.page import chromium, resize

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
LOOK = """
    const done = arguments[arguments.length - 1];
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const failed = (problem) => done([[{id: String(problem), nodes: []}], 0]);
    const found = ({violations, passes}) => done([violations, passes.length]);
    axe.run(document, {runOnly: tags, resultTypes: ["violations"]}).then(found, failed);
"""
SERIOUS = ("serious", "critical", None)
OPENS = {"pads": ('[aria-label="patch.load"]', "#pads .names"), "engine": ("#status .warning", "#messages")}
SIZES = {"desk": (1280, 720), "phone": (390, 844)}


@pytest.fixture(scope="module")
def stage():
    with chromium() as browser:
        stage = Stage(browser)
        try:
            stage.open()
            yield stage
        finally:
            stage.close()


def test_the_door_has_no_serious_fault(stage):
    stage.surface.close()
    stage.pin = "123456"
    stage.surface = stage.serve(stage.surface.port)
    stage.browser.get(stage.surface.url)
    assert stage.browser.current_url.endswith("/pin")
    found = faults(stage)
    stage.browser.find_element("id", "pin").send_keys("999999\n")
    stage.until(lambda: "not it" in stage.browser.find_element("id", "problem").text)
    found += faults(stage)
    stage.surface.close()
    stage.pin = None
    stage.surface = stage.serve(stage.surface.port)
    stage.open()
    assert not found


def faults(stage) -> list[str]:
    """What is serious, in words, with where; what axe could check at all must be a good deal."""
    stage.js(AXE)
    violations, passed = stage.browser.execute_async_script(LOOK)
    assert passed > 10
    return [
        f"{fault['id']} ({fault.get('impact')}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for fault in violations
        if fault.get("impact") in SERIOUS
        for node in fault["nodes"] or [{"html": "", "failureSummary": ""}]
    ]


def views(stage) -> list[str]:
    return [tab.get_attribute("aria-controls") for tab in stage.all("[role=tab]")]


def opened(stage, button: str, what: str) -> list[str]:
    """The faults while it is open."""
    stage.js("arguments[0].scrollIntoView({block: 'center'})", stage.all(button)[0])
    stage.all(button)[0].click()
    stage.until(lambda: stage.all(what)[0].is_displayed())
    found = faults(stage)
    ActionChains(stage.browser).send_keys(Keys.ESCAPE).perform()
    stage.until(lambda: not stage.all(what)[0].is_displayed())
    return found


@pytest.mark.parametrize("size", SIZES)
def test_no_view_has_a_serious_fault(stage, size):
    resize(stage.browser, *SIZES[size])
    found = {}
    for view in views(stage):
        stage.show(view)
        stage.until(lambda view=view: stage.js("return document.getElementById(arguments[0]).children.length", view))
        if view == "inside":
            stage.until(lambda: stage.all(".thumb") and stage.all(".neuron") and stage.all(".frame-held"))
            stage.thumb("tulip").click()
        found[view] = faults(stage)
        if view in OPENS:
            found[f"{view} and what opens"] = opened(stage, *OPENS[view])
        if view == "inside":
            stage.thumb("tulip").click()
    resize(stage.browser, *SIZES["desk"])
    assert "inside" in found and not any(found.values()), found


def test_a_page_without_its_instrument_has_no_serious_fault(stage):
    port = stage.surface.port
    stage.surface.close()
    stage.until(lambda: not stage.js("return document.body.classList.contains('linked')"))
    found = faults(stage)
    stage.surface = stage.serve(port)
    stage.until(lambda: stage.js("return document.body.classList.contains('linked')"))
    assert not found


def test_every_control_can_be_reached_by_keyboard(stage):
    """Whatever reacts to a press is in the order of the Tab key, or beside something that is."""
    for view in views(stage):
        stage.show(view)
        unreachable = stage.js(
            """
            const view = document.getElementById(arguments[0]);
            const pressed = [...view.querySelectorAll("button, select, input, textarea, [role=slider], [role=switch]")];
            const shown = pressed.filter((e) => e.offsetParent && !e.disabled && !e.closest("[role=radiogroup]"));
            return shown.filter((e) => e.tabIndex < 0).map((e) => e.outerHTML.slice(0, 120));
            """,
            view,
        )
        assert unreachable == [], view

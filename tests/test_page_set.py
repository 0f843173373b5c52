"""The set list, patches by their names and what must be held, from the page of a real show in a real browser."""

from __future__ import annotations

import pytest
from selenium.webdriver import ActionChains, Keys

from instrument.state.patch import loads
from tests.page import PATCH, Tab, until

NAMES = ("night", "my-set", "my-other")
OPTION = ".names:not([hidden]) [role=option]"


@pytest.fixture(scope="module")
def folder(playing, tmp_path_factory):
    """Where the show finds patches by name; two patches are its set list."""
    made = tmp_path_factory.mktemp("patches")
    for name in NAMES:
        (made / f"{name}.yaml").write_text(PATCH)
    playing.engine.desk.folder = made
    playing.engine.desk.set_list([loads(PATCH, name="citylights"), loads(PATCH, name="ice")])
    playing.params.set("patch.goto", 1, "osc")
    until(lambda: playing.engine.desk.playing.name == "citylights")
    return made


def lit(page: Tab) -> list[str]:
    every = "document.querySelectorAll('.set-list [aria-pressed=true], .plays')"
    return page.js(f"return [...{every}].map((chip) => chip.innerText.replaceAll(/\\s+/g, ' '))")


def choices(page: Tab) -> list[str]:
    return page.js(f"return [...document.querySelectorAll('{OPTION}')].map((each) => each.innerText)")


def test_the_patch_that_plays_is_lit_and_no_other(page, playing, folder):
    page.view("pads")
    until(lambda: lit(page) == ["citylights"])
    playing.params.set("patch.load", "my-set", "osc")
    until(lambda: playing.engine.desk.playing.name == "my-set")
    until(lambda: lit(page) == ["my-set plays, not in the list"])
    page.js("[...document.querySelectorAll('.set-list .chip')].find((c) => c.innerText === 'ice').click()")
    until(lambda: playing.engine.desk.playing.name == "ice")
    until(lambda: lit(page) == ["ice"])


def test_a_patch_is_chosen_from_a_list_that_filters(page, playing, folder):
    page.view("pads")
    box = until(lambda: page.find("patch.load"))
    assert box.get_attribute("role") == "combobox" and choices(page) == []
    box.click()
    until(lambda: set(NAMES) < set(choices(page)) and "undertow" in choices(page))
    box.send_keys("MY ")
    until(lambda: choices(page) == ["my-other", "my-set"])
    assert playing.engine.desk.playing.name == "ice", "nothing is played before it is chosen"
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    until(lambda: playing.engine.desk.playing.name == "my-set")
    assert choices(page) == []
    until(lambda: lit(page)[0].startswith("my-set") and choices(page) == [])  # the view was built anew
    box = page.find("patch.load")
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, "nig")
    until(lambda: choices(page) == ["night"])
    page.all(OPTION)[0].click()
    until(lambda: playing.engine.desk.playing.name == "night")
    until(lambda: lit(page)[0].startswith("night") and choices(page) == [])
    box = page.find("patch.load")
    box.send_keys("x", Keys.ESCAPE, Keys.ESCAPE)
    assert box.get_property("value") == "night"


def test_mappings_and_models_are_listed_too(page, playing):
    page.view("engine")
    until(lambda: page.all('[data-id="mapping.load"]'))
    page.find("mapping.load").click()
    until(lambda: "nanokontrol2" in choices(page))
    page.find("engine.model").click()
    until(lambda: "house" in choices(page) and "nanokontrol2" not in choices(page))


def test_what_ends_what_is_played_must_be_held(page, playing, folder):
    page.view("pads")
    playing.params.set("patch.goto", 2, "osc")
    until(lambda: playing.engine.desk.playing.name == "ice")
    playing.params.set("morph.seconds", 7, "osc")
    until(lambda: page.attribute("morph.seconds", "aria-valuenow") == "7")  # so the view is of this patch already
    button = page.all('[data-id="patch.previous"] button')[0]
    fired = playing.value("patch.previous")
    button.click()
    page.find("redo").click()  # sent after it; there is nothing to redo
    until(lambda: playing.value("redo") > 0)
    assert playing.value("patch.previous") == fired
    ActionChains(page.browser).click_and_hold(button).perform()
    until(lambda: playing.engine.desk.playing.name == "citylights")
    ActionChains(page.browser).release().perform()
    assert playing.value("patch.previous") == fired + 1
    playing.params.set("morph.seconds", 0, "osc")
    until(lambda: page.attribute("morph.seconds", "aria-valuenow") == "0")
    page.js("document.querySelector('[data-id=\"patch.next\"] button').focus()")
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()  # no slip of a finger
    until(lambda: playing.engine.desk.playing.name == "ice")


def test_the_browser_complained_of_nothing(page):
    assert page.complaints() == []

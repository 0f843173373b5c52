"""Playing a real show from its page in a real browser: bends and their scopes, snapshots, learning, coming back."""

from __future__ import annotations

import time

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.jack import Controller, running_jack
from tests.page import Room, Tab, look_at, resize, room, until

SIZES = ((1280, 720), (820, 1180), (390, 844))
HOLDS = ("out.freeze", "out.blackout")
VIEWS = ("bends", "pads", "modulators", "engine", "inside", "all")


def chip(page: Tab, word: str):
    script = "return [...document.querySelectorAll('#bends .chip')].find((c) => c.textContent === arguments[0])"
    return until(lambda: page.js(script, word))


def test_every_bend_is_a_strip_and_a_slider_changes_the_frames(page, playing):
    look_at(page, "loud")
    assert [s.get_attribute("data-bend") for s in page.all(".strip")] == ["loud", "brush", "colour", "turn"], "by site"
    until(lambda: page.js("return document.getElementById('picture').width") == 64)
    until(lambda: page.roughness() < 2)  # the test card is gone
    page.drag("loud.gain", 0.5, -400)
    until(lambda: playing.value("loud.gain") == 0)
    until(lambda: page.roughness() > 2.8)
    ActionChains(page.browser).double_click(page.find("loud.gain")).perform()
    until(lambda: playing.value("loud.gain") == 1)


def test_clicking_words_sets_the_scope(page, playing):
    look_at(page, "colour")
    assert chip(page, "red").get_attribute("aria-pressed") == "true"
    chip(page, "city").click()
    until(lambda: playing.value("colour.tokens") == "red, city")
    until(lambda: playing.engine.held["colour"] == ["red", "city"])
    until(lambda: chip(page, "city").get_attribute("aria-pressed") == "true")
    chip(page, "red").click()
    until(lambda: playing.engine.held["colour"] == ["city"])
    playing.params.set("prompt.text", "a purple tulip", "osc")
    until(lambda: chip(page, "tulip"))
    chip(page, "all").click()
    until(lambda: playing.value("colour.tokens") == "all")
    chip(page, "tulip").click()
    until(lambda: playing.engine.held["colour"] == ["tulip"])
    playing.params.set("prompt.text", "a red star spinning above city lights", "osc")
    playing.params.set("colour.tokens", "city lights", "osc")
    until(lambda: chip(page, "lights").get_attribute("aria-pressed") == "true")
    chip(page, "lights").click()  # one word of a phrase is taken out of it
    until(lambda: playing.value("colour.tokens") == "city")


def test_a_held_word_that_the_prompt_lacks_is_seen_and_dropped_and_the_network_is_dim(page, playing):
    playing.params.set("prompt.text", "a purple tulip", "osc")
    playing.params.set("colour.tokens", "Red  Star", "osc")
    playing.params.set("colour.gain", 5, "osc")
    playing.params.set("wave.on", False, "osc")
    look_at(page, "colour")
    absent = until(lambda: page.all("#bends .chip.absent"))[0]
    assert absent.text.split("\n") == ["Red Star not in the prompt"]
    assert absent.get_attribute("aria-pressed") == "true"
    lit = """
        const canvas = document.querySelector('.network canvas'), pen = canvas.getContext('2d');
        const [, green, , cover] = pen.getImageData(46 + canvas.width / 4, 3 * 11 + 5 + 8 + 5, 1, 1).data;
        return green * cover / 255;
    """
    until(lambda: 40 < page.js(lit) < 110)
    assert "does nothing now" in page.js("return document.querySelector('.network canvas').getAttribute('aria-label')")
    chip(page, "tulip").click()
    until(lambda: playing.value("colour.tokens") == "Red  Star, tulip")
    until(lambda: page.js(lit) > 180)
    page.all("#bends .chip.absent")[0].click()
    until(lambda: playing.value("colour.tokens") == "tulip" and not page.all("#bends .chip.absent"))
    playing.params.set("prompt.text", "a red star spinning above city lights", "osc")
    playing.params.set("colour.tokens", "red", "osc")
    playing.params.set("wave.on", True, "osc")
    until(lambda: chip(page, "red").get_attribute("aria-pressed") == "true" and chip(page, "lights"))


def test_heads_are_dots(page, playing):
    look_at(page, "colour")
    count = len(page.all(".dot"))
    assert count == playing.engine.stream.model.config.num_heads
    page.find("head 1").click()
    until(lambda: playing.value("colour.heads") == "1")
    until(
        lambda: (
            page.attribute("head 1", "aria-pressed") == "true" and page.attribute("head 0", "aria-pressed") == "false"
        )
    )
    page.find("head 2").click()
    until(lambda: playing.value("colour.heads") == "1-2")
    for head in (1, 2):
        until(lambda head=head: page.attribute(f"head {head}", "aria-pressed") == "true")
        page.find(f"head {head}").click()
    until(lambda: playing.value("colour.heads") == "all")  # never none by accident


def window(playing: Room, name: str) -> tuple[float, float]:
    center, width = playing.value(f"{name}.center"), playing.value(f"{name}.width")
    return center - width / 2, center + width / 2


def test_a_window_over_layers_by_hand_and_by_keys(page, playing):
    look_at(page, "brush")
    bar = page.js("return document.querySelector('.where span-bar')")
    page.js("arguments[0].scrollIntoView({block: 'center'})", bar)
    width = bar.size["width"]
    chain = ActionChains(page.browser, duration=20).move_to_element_with_offset(bar, round(width * (2.5 / 12 - 0.5)), 0)
    chain.click_and_hold().move_by_offset(round(width * 4 / 12), 0).release().perform()
    until(lambda: window(playing, "brush.layers") == (2, 6))
    page.keys("brush.layers to", Keys.ARROW_RIGHT)
    until(lambda: window(playing, "brush.layers") == (2, 7))
    page.keys("brush.layers from", Keys.HOME)
    until(lambda: window(playing, "brush.layers") == (0, 7))
    playing.params.set("brush.layers", (3, 5), "midi")
    until(lambda: page.attribute("brush.layers from", "aria-valuenow") == "3")
    assert page.attribute("brush.layers to", "aria-valuenow") == "5"
    ActionChains(page.browser).double_click(bar).perform()
    until(lambda: window(playing, "brush.layers") == (0, 11))


def test_a_window_is_brushed_on_the_picture_of_the_network(page, playing):
    look_at(page, "brush")
    canvas = page.js("return document.querySelector('.network canvas')")
    page.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, cell = canvas.size["width"], (canvas.size["width"] - 46) / 12

    def at(layer: int) -> int:
        return round(46 + (layer + 0.5) * cell - width / 2)

    top = -canvas.size["height"] // 2
    chain = ActionChains(page.browser, duration=20).move_to_element_with_offset(canvas, at(4), top + 5)
    chain.click_and_hold().move_by_offset(round(3 * cell), 11).release().perform()
    until(lambda: window(playing, "brush.layers") == (4, 7) and window(playing, "brush.steps") == (0, 1))
    lit = """
        const canvas = document.querySelector('.network canvas'), pen = canvas.getContext('2d');
        const cell = (canvas.width - 46) / 12, lane = 3 * 11 + 5 + 8;
        const at = (layer, step) => {
            const [red, , , cover] = pen.getImageData(46 + (layer + 0.4) * cell, 2 * lane + step * 11 + 5, 1, 1).data;
            return red * cover / 255;
        };
        return [at(5, 0), at(5, 1), at(5, 2), at(2, 0)];
    """
    playing.params.set("brush.gain", 3, "osc")
    until(lambda: [light > 200 for light in page.js(lit)] == [True, True, False, False])
    playing.params.set("brush.on", False, "osc")
    until(lambda: all(light < 200 for light in page.js(lit)))
    playing.params.set("brush.on", True, "osc")


def test_a_band_of_neurons_is_brushed(page, playing):
    look_at(page, "brush")
    bar = page.js("return document.querySelector('.holds span-bar')")
    page.js("arguments[0].scrollIntoView({block: 'center'})", bar)
    width = bar.size["width"]
    chain = ActionChains(page.browser, duration=20).move_to_element_with_offset(bar, round(-0.25 * width), 0)
    chain.click_and_hold().move_by_offset(round(width / 4), 0).release().perform()
    until(lambda: window(playing, "brush.band") == pytest.approx((0.25, 0.5), abs=0.02))
    assert "–" in bar.text


def test_snapshots_are_pads(page, playing):
    page.view("pads")
    until(lambda: page.text('[data-id="snapshot.1.recall"]') == "1\ncalm")
    page.all('[data-id="snapshot.1.recall"]')[0].click()
    until(lambda: playing.value("colour.gain") == 0.5)
    playing.params.set("colour.gain", 4, "osc")
    page.js("document.querySelector('.keep').click()")
    page.all('[data-id="snapshot.2.recall"]')[0].click()
    until(lambda: page.text('[data-id="snapshot.2.recall"]') == "2\nstored")
    playing.params.set("colour.gain", 1, "osc")
    page.all('[data-id="snapshot.2.recall"]')[0].click()
    until(lambda: playing.value("colour.gain") == 4)
    square = page.all("xy-square")[0]
    page.js("arguments[0].scrollIntoView({block: 'center'})", square)
    size = square.size["width"]
    chain = ActionChains(page.browser, duration=20).move_to_element_with_offset(square, -size // 4, size // 4)
    chain.click_and_hold().move_by_offset(size // 2, 0).release().perform()
    until(lambda: playing.value("morph.x") == pytest.approx(0.75, abs=0.03))
    until(lambda: playing.value("morph.y") == pytest.approx(0.25, abs=0.03))
    page.keys("square of four snapshots; arrow keys move", Keys.ARROW_UP)
    until(lambda: playing.value("morph.y") == pytest.approx(0.27, abs=0.03))


def test_the_puck_of_the_square_is_whole_in_every_corner(page):
    page.view("pads")
    until(lambda: page.all("xy-square"))
    cut = """
        const [square, x, y] = [document.querySelector('xy-square'), ...arguments];
        square.show(x, y);
        const [puck, pane] = [square.puck, square.closest('.pane')].map((each) => each.getBoundingClientRect());
        const frame = square.getBoundingClientRect(), rim = parseFloat(getComputedStyle(square).marginLeft);
        return [puck.left - pane.left, pane.right - puck.right, puck.left - frame.left + rim,
            frame.right + rim - puck.right, puck.top - frame.top + rim, frame.bottom + rim - puck.bottom];
    """
    for size in SIZES:
        resize(page.browser, *size)
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            assert min(page.js(cut, x, y)) >= 0, (size, x, y)
    resize(page.browser, 1280, 720)


def test_what_holds_the_picture_is_lit(page, playing):
    colour = "return getComputedStyle(document.querySelector(`[aria-label='${arguments[0]}']`)).backgroundColor"
    labels = {id: page.all(f'[data-id="{id}"] button')[0].get_attribute("aria-label") for id in HOLDS}
    for id, label in labels.items():
        before = page.js(colour, label)
        playing.params.set(id, True, "osc")
        until(lambda label=label, before=before: page.js(colour, label) != before)
        playing.params.set(id, False, "osc")
        until(lambda label=label, before=before: page.js(colour, label) == before)


def test_two_pages_agree(page, playing):
    look_at(page, "colour")
    first = page.browser.current_window_handle
    page.browser.switch_to.new_window("window")
    try:
        other = Tab(page.browser, playing.url)
        look_at(other, "colour")
        other.drag("colour.gain", 0.5, 60)
        value = other.set_at_last("colour.gain", lambda: playing.value("colour.gain"))
        assert value != 4
        page.browser.switch_to.window(first)
        until(lambda: float(page.attribute("colour.gain", "aria-valuenow")) == pytest.approx(value, abs=1e-3))
        page.find("colour.on").click()
        until(lambda: playing.value("colour.on") is False)
        page.browser.switch_to.window(page.browser.window_handles[-1])
        until(lambda: other.attribute("colour.on", "aria-checked") == "false")
        page.browser.close()
    finally:
        page.browser.switch_to.window(first)
    playing.params.set("colour.on", True, "osc")


def test_nothing_overflows_in_any_view(page):
    for size in SIZES:
        resize(page.browser, *size)
        for view in VIEWS:
            page.view(view)
            assert page.js("return document.documentElement.scrollWidth") <= size[0], (size, view)
            assert page.js("return document.documentElement.scrollHeight") <= size[1], (size, view)
            sideways = "const v = document.querySelector('.view:not([hidden])'); return v.scrollWidth - v.clientWidth"
            assert page.js(sideways) <= 0, (size, view)
        small = """return [...document.querySelectorAll('#front button, #tabs button, .chip, .strip button')]
            .filter((b) => b.offsetParent && b.offsetHeight < 38).map((b) => b.outerHTML)"""
        assert page.js(small) == []
    resize(page.browser, 1280, 720)


def test_learning_says_what_is_missing(page, playing):
    page.view("bends")
    page.keys("undo", "l")
    lined = "return getComputedStyle(document.querySelector(`[data-id='${arguments[0]}']`)).outlineStyle"
    assert [page.js(lined, id) for id in ("turn.rotate", "prompt.text")] == ["dashed", "none"]  # a text has no knob
    page.find("turn.rotate").click()
    until(lambda: "mapping" in page.text("#note"))
    assert playing.value("turn.rotate") == 0  # a click that teaches plays nothing
    page.keys("undo", Keys.ESCAPE)
    until(lambda: not page.js("return document.body.classList.contains('teaching')"))


def test_the_browser_complained_of_nothing(page):
    assert page.complaints() == []


def test_learning_over_a_midi_loop(browser, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("device: ''\n")
    with running_jack(), room(mapping=file) as playing:
        knobs = Controller("knobs")
        try:
            page = Tab(browser, playing.url)
            until(lambda: any("knobs" in port for port in playing.show.status()["midi"]))
            look_at(page, "colour")
            page.keys("undo", "l")
            page.find("colour.gain").click()
            until(lambda: page.all(".armed"))
            for value in range(10, 110, 20):
                knobs.send(0xB0, 21, value)
            until(lambda: "written to my.yaml" in page.text("#note"))
            assert "colour.gain" in file.read_text() and "21" in file.read_text()
            page.keys("undo", Keys.ESCAPE)
            until(lambda: any("read again" in text for text in playing.show.notices.current()))
            page.keys("undo", "l")
            page.keys("colour.gain", Keys.DELETE)
            until(lambda: page.text("#note") == "colour.gain is moved by cc 21 no longer")
            assert "colour.gain" not in file.read_text()
            playing.params.trigger("learn.undo", "test")
            until(lambda: "colour.gain" in file.read_text())
            page.keys("undo", Keys.ESCAPE)

            def turn() -> bool:
                for value in range(0, 128, 3):  # over where it stands, which picks it up
                    knobs.send(0xB0, 21, value)
                    time.sleep(0.005)
                knobs.send(0xB0, 21, 127)
                time.sleep(0.3)
                return page.attribute("colour.gain", "aria-valuenow") == "8"

            until(turn)
            assert playing.params["colour.gain"].origin.startswith("midi")
        finally:
            knobs.unplug()


def test_it_comes_back_after_the_instrument_was_started_again(browser):
    first = Room()
    try:
        page = Tab(browser, first.url)
        look_at(page, "colour")
    finally:
        port = first.show.surface.port
        first.close()
    until(lambda: not page.js("return document.body.classList.contains('linked')"))
    assert "trying again" in page.text("#veil")
    with room(port=port) as second:
        second.params.set("colour.gain", 6, "osc")
        until(lambda: page.js("return document.body.classList.contains('linked')"))
        until(lambda: page.attribute("colour.gain", "aria-valuenow") == "6")
        page.drag("colour.gain", 0.5, 0)
        until(lambda: second.value("colour.gain") == pytest.approx(1, abs=0.2))

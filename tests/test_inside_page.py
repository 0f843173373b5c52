"""The view of the inside in a real browser, over a tiny network that really plays; skipped as test_page.py is."""

from __future__ import annotations

import pytest

pytest.importorskip("selenium")
from tests.looking import LIT, Stage
from tests.page import chromium, resize


@pytest.fixture(scope="module")
def stage():
    with chromium() as browser:
        stage = Stage(browser)
        try:
            stage.open()
            stage.until(lambda: len(stage.all(".thumb")) == 4)
            yield stage
        finally:
            stage.close()


def test_a_strip_of_every_word(stage):
    assert [button.text.split("\n")[0] for button in stage.all(".thumb")] == ["a", "purple", "tulip", "swaying"]
    for canvas in stage.all(".thumb canvas"):
        stage.until(lambda canvas=canvas: stage.js(LIT, canvas) > 6)
        assert stage.js("return [arguments[0].width, arguments[0].height]", canvas) == [6, 4]
    assert stage.heat() is None  # nothing is over the picture until it is asked for


def test_heat_appears_and_moves_where_the_bend_moves_it(stage):
    stage.choose("layer", "1")
    stage.choose("step", "1")
    stage.thumb("tulip").click()
    stage.until(lambda: (heat := stage.heat()) and heat["sum"] > 0)
    assert stage.heat()["size"] == [6, 4] and stage.thumb("tulip").get_attribute("aria-pressed") == "true"
    stage.params.set("moved.padding", "zeros")
    middle = stage.until(lambda: stage.heat()["x"])
    assert 0.3 < middle < 0.7  # a random network looks everywhere
    stage.params.set("moved.translate_x", 0.5)
    stage.until(lambda: stage.heat()["x"] > 0.68)
    stage.params.set("moved.translate_x", -0.5)
    stage.until(lambda: stage.heat()["x"] < 0.32)
    stage.params.set("moved.translate_x", 0)
    stage.until(lambda: abs(stage.heat()["x"] - middle) < 0.15)


def test_heat_stays_over_the_picture_while_another_view_is_open(stage):
    stage.show("all")
    assert stage.all(".thumb") == []
    stage.params.set("moved.translate_x", 0.5)
    stage.until(lambda: (heat := stage.heat()) and heat["x"] > 0.68)
    stage.params.set("moved.translate_x", 0)
    stage.show("inside")
    stage.until(lambda: stage.thumb("tulip").get_attribute("aria-pressed") == "true")
    stage.until(lambda: next(b for b in stage.all(".chip") if b.text == "clear")).click()
    stage.until(lambda: stage.heat() is None)


def test_a_chosen_word_stays_chosen_in_another_prompt_that_has_it(stage):
    stage.thumb("tulip").click()
    stage.params.set("prompt.text", "one tulip")
    stage.until(lambda: len(stage.all(".thumb")) == 2)
    assert stage.thumb("tulip").get_attribute("aria-pressed") == "true"
    assert stage.thumb("one").get_attribute("aria-pressed") == "false"
    stage.params.set("prompt.text", "a purple tulip swaying")
    stage.until(lambda: len(stage.all(".thumb")) == 4)
    stage.thumb("tulip").click()
    stage.until(lambda: stage.heat() is None)


def test_neurons_scroll_by_and_a_click_on_one_sets_the_scope(stage):
    canvas = stage.browser.find_element("css selector", "canvas.bands")
    stage.until(lambda: stage.js("return arguments[0].height", canvas) == 3 * 16)
    before = stage.js(LIT, canvas)
    stage.until(lambda: stage.js(LIT, canvas) > before)
    stage.choose("neurons' layer", "2")
    stage.until(lambda: stage.js("return arguments[0].height", canvas) == 64)
    stage.choose("scope of", "other")
    first = stage.until(lambda: stage.all(".neuron"))[0]
    stage.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", first)
    first.click()
    chosen = first.text
    stage.until(lambda: stage.params["other.neurons"].base == chosen)
    second = stage.all(".neuron")[1]
    second.click()
    stage.until(lambda: stage.params["other.neurons"].base == f"{chosen}, {second.text}")
    first.click()
    stage.until(lambda: stage.params["other.neurons"].base == second.text)
    assert stage.params["hidden.neurons"].base == "all"
    second.click()
    stage.until(lambda: stage.params["other.neurons"].base == "all")
    stage.browser.find_element("css selector", ".tick input").click()
    first.click()
    stage.until(lambda: stage.params["other.layers.width"].base == 0)
    assert stage.params["other.layers.center"].base == 2


def test_drawing_over_the_bands_sets_the_band(stage):
    from selenium.webdriver import ActionChains

    stage.choose("scope of", "hidden")
    canvas = stage.browser.find_element("css selector", "canvas.bands")
    stage.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
    height = canvas.size["height"]
    press = ActionChains(stage.browser, duration=20).move_to_element_with_offset(canvas, 0, -round(height / 4))
    press.click_and_hold().move_by_offset(0, round(height / 2)).release().perform()
    stage.until(lambda: stage.params["hidden.band.width"].base == pytest.approx(0.5, abs=0.04))
    assert stage.params["hidden.band.center"].base == pytest.approx(0.5, abs=0.04)


def test_what_is_remembered_and_under_which_bends(stage):
    cells = "return [...document.querySelectorAll('.frame-held')].map((e) => e.title)"
    stage.until(lambda: len(stage.js(cells)) == 4)
    stage.params.set("hidden.gain", 3)
    stage.until(lambda: all("under hidden" in title for title in stage.js(cells)))
    ages = [f"{age} frames old ({age * 4 / 12:.1f} s ago)" for age in (3, 2, 1, 0)]
    assert [title.split(",")[0] for title in stage.js(cells)] == ages
    assert stage.browser.find_element("css selector", ".legend").text == "hidden"
    stage.params.set("hidden.gain", 1)
    stage.until(lambda: all("unbent" in title for title in stage.js(cells)))


def test_plots_are_live(stage):
    plots = stage.all(".plot")
    assert len(plots) == 5
    stage.js("arguments[0].scrollIntoView()", plots[0])
    stage.until(lambda: "12.0 fps" in plots[0].text and "12 ms" in plots[2].text and "–" in plots[4].text)
    stage.fps = 31.5
    stage.until(lambda: "31.5 fps" in plots[0].text)
    canvas = plots[0].find_element("css selector", "canvas")
    stage.until(lambda: stage.js(LIT, canvas) > 20)


def test_leaving_the_view_ends_the_looking(stage):
    stage.show("all")
    stage.until(lambda: not stage.surface._looks.looking and not stage.surface._looks._pages)
    stage.show("inside")
    stage.until(lambda: stage.surface._looks.looking)


def test_it_goes_on_after_the_instrument_was_away(stage):
    stage.thumb("purple").click()
    stage.until(stage.heat)
    port = stage.surface.port
    stage.surface.close()
    stage.until(lambda: not stage.js("return document.body.classList.contains('linked')"))
    stage.surface = stage.serve(port)
    stage.until(lambda: stage.js("return document.body.classList.contains('linked')"))
    stage.until(lambda: stage.surface._looks.looking)
    stage.params.set("prompt.text", "purple")
    stage.until(lambda: len(stage.all(".thumb")) == 1 and stage.heat())
    stage.params.set("prompt.text", "a purple tulip swaying")
    stage.until(lambda: len(stage.all(".thumb")) == 4)


def test_it_goes_on_with_a_smaller_network_that_lacks_the_layer_that_was_shown(stage):
    stage.show("inside")
    stage.choose("layer", "2")
    stage.choose("neurons' layer", "2")
    bands = stage.until(lambda: stage.all(".bands"))[0]
    stage.until(lambda: stage.js(LIT, bands) > 100)
    stage.swap(2)
    code = "return [...document.querySelectorAll('.chooser')].map((one) => one.innerText.replaceAll('\\n', ' '))"
    for choices in ("layer mean 0 1", "layer all 0 1"):
        stage.until(lambda choices=choices: choices in stage.js(code))
    stage.until(lambda: stage.js(LIT, bands) > 100)
    for canvas in stage.all(".thumb canvas"):
        stage.until(lambda canvas=canvas: stage.js(LIT, canvas) > 6)


def test_nothing_of_it_is_wider_than_its_place(stage):
    for width, height in ((1280, 720), (820, 1180), (390, 844)):
        resize(stage.browser, width, height)
        assert stage.js("return document.documentElement.scrollWidth") <= width
        assert stage.js("const i = document.querySelector('.inside'); return i.scrollWidth <= i.clientWidth")
    resize(stage.browser, 1280, 720)


def test_the_browser_complained_of_nothing(stage):
    complaints = [entry for entry in stage.browser.get_log("browser") if entry["level"] == "SEVERE"]
    away = ("WebSocket connection", "ERR_CONNECTION_REFUSED", "Failed to load resource")
    assert [entry for entry in complaints if not any(words in entry["message"] for words in away)] == []

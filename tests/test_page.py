"""The page in a real browser, headless; skipped where selenium, chromium or its driver is missing."""

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

from instrument.parameters import values
from instrument.parameters.params import ParamSet
from instrument.surface.server import Surface
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec, TextSpec, TriggerSpec
from tests.page import Tab, chromium, resize, until


def make_params():
    params = ParamSet()
    params.add("prompt.text", TextSpec("ice", "what is shown"), group="prompt")
    params.add("engine.seed", ControlSpec(0, 99999, 7, step=1), group="engine")
    params.add("panic", TriggerSpec("all neutral"), group="engine")
    params.add("petals.gain", ControlSpec(0, 8, 1, "cubed", doc="how strongly"), group="petals")
    params.add("petals.temperature", ControlSpec(0.1, 10, 1, "exponential"), group="petals")
    params.add("petals.angle", ControlSpec(-180, 180, 0, unit="°"), group="petals")
    params.add("petals.layer", ControlSpec(0, 29, 12, step=1), group="petals")
    params.add("petals.on", SwitchSpec(False), group="petals")
    params.add("petals.fold", ChoiceSpec(("product", "sum", "max"), "product"), group="petals")
    params.add("petals.curve", ChoiceSpec(("sine", "triangle", "saw up", "saw down", "random"), "sine"), group="petals")
    params.add("grain.words", TextSpec("water"), group="grain")
    return params


STATUS = {"fps": 17.5, "fps_sent": 17.4, "latency_ms": 84, "warnings": ["one of old", "a thing to know"]}


class Stage(Tab):
    """A served page in a browser, its parameters, and ways to look at it."""

    def __init__(self, browser):
        self.params = make_params()
        self.surface = Surface(self.params, lambda: STATUS, port=0)
        self.surface.start()
        super().__init__(browser, self.surface.url)
        self.show("petals")

    def until(self, fact):
        return until(fact)

    def sent(self):
        """Everything that the page had to send until now has come: a trigger that it sent last is there."""
        before = self.value("panic")
        self.js("document.querySelector('[data-id=\"panic\"] button').click()")  # the focus stays where it is
        until(lambda: self.value("panic") > before)

    def value(self, id):
        return self.params[id].base

    def show(self, group):
        """One group of the view that has everything."""
        self.view("all")
        click = """
            const chip = [...document.querySelectorAll('#groups .chip')].find((c) => c.textContent === arguments[0]);
            chip?.click(); // at once: they are made anew when parameters come or go
            return Boolean(chip);
        """
        until(lambda: self.js(click, group))


@pytest.fixture(scope="module")
def stage():
    with chromium() as browser:
        stage = Stage(browser)
        yield stage
        stage.surface.close()


def test_there_is_a_control_for_every_parameter(stage):
    tags = {"number": "slider", "switch": "switch"}
    for param in stage.params.describe():
        stage.show(param["group"])
        control = stage.find(param["id"])
        if param["type"] in tags:
            assert control.get_attribute("role") == tags[param["type"]]
        assert control.size["height"] >= 36, param["id"]
    stage.show("petals")
    assert stage.js("return document.querySelectorAll('#groups [data-id]').length") == 7  # one group at a time


def test_a_group_that_no_view_knows_is_in_the_engines(stage):
    stage.params.add("aurora.height", ControlSpec(0, 1, 0.5), group="aurora")
    stage.view("engine")
    until(lambda: stage.all('#engine [data-id="aurora.height"]'))
    stage.params.remove("aurora.height")
    until(lambda: not stage.all('#engine [data-id="aurora.height"]'))
    stage.show("petals")


def test_dragging_sets_by_place(stage):
    stage.drag("petals.gain", 0.25, 0)
    bar = stage.find("petals.gain")
    stage.drag("petals.gain", 0.25, round(bar.size["width"] / 4))
    stage.until(lambda: stage.value("petals.gain") == pytest.approx(1.0, abs=0.15))  # half the travel, cubed
    assert stage.params["petals.gain"].origin.startswith("page ")


def test_shift_is_ten_times_finer_and_does_not_jump(stage):
    stage.params.set("petals.temperature", 1)
    bar = stage.find("petals.temperature")
    stage.until(lambda: bar.text.endswith("1.00"))
    stage.drag("petals.temperature", 0.1, round(bar.size["width"] / 2), shift=True)
    stage.sent()
    assert stage.params["petals.temperature"].travel == pytest.approx(0.55, abs=0.01)


def test_double_click_is_the_default(stage):
    stage.params.set("petals.angle", 90)
    bar = stage.find("petals.angle")
    ActionChains(stage.browser).double_click(bar).perform()
    stage.until(lambda: stage.value("petals.angle") == 0)


def test_keys(stage):
    stage.params.set("petals.layer", 10)
    stage.until(lambda: stage.find("petals.layer").get_attribute("aria-valuenow") == "10")
    stage.keys("petals.layer", Keys.ARROW_RIGHT)
    stage.until(lambda: stage.value("petals.layer") == 11)  # one step, though 1 % of the travel is less
    stage.keys("petals.layer", Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    stage.until(lambda: stage.value("petals.layer") == 9)
    stage.keys("petals.layer", Keys.HOME)
    stage.until(lambda: stage.value("petals.layer") == 0)
    stage.keys("petals.layer", Keys.END)
    stage.until(lambda: stage.value("petals.layer") == 29)
    stage.keys("petals.layer", Keys.DELETE)
    stage.until(lambda: stage.value("petals.layer") == 12)


def test_typing_a_number(stage):
    stage.keys("petals.angle", "-", "4", "5", Keys.ENTER)
    stage.until(lambda: stage.value("petals.angle") == -45)
    assert stage.find("petals.angle").get_attribute("aria-valuetext") == "−45 °"
    assert stage.js("return document.activeElement.getAttribute('aria-label')") == "petals.angle"
    stage.keys("petals.angle", Keys.ENTER, "9", "9", "9", Keys.ENTER)
    stage.until(lambda: stage.value("petals.angle") == 180)  # as far as it goes
    stage.keys("petals.angle", "7", Keys.ESCAPE)
    stage.sent()
    assert stage.value("petals.angle") == 180


def test_the_wheel_turns_only_what_has_the_focus(stage):
    stage.params.set("petals.gain", 1)
    bar = stage.find("petals.gain")
    stage.until(lambda: bar.text.endswith("1.00"))
    stage.js("document.activeElement.blur()")
    wheel = ActionChains(stage.browser).scroll_from_origin
    wheel(ScrollOrigin.from_element(bar), 0, -100).perform()
    stage.sent()
    assert stage.value("petals.gain") == 1
    stage.js("arguments[0].focus()", bar)
    ActionChains(stage.browser).scroll_from_origin(ScrollOrigin.from_element(bar), 0, -100).perform()
    stage.until(lambda: stage.params["petals.gain"].travel == pytest.approx(0.51, abs=0.002))


def test_other_hands_move_the_controls(stage):
    stage.params.set("petals.gain", 8, "midi")
    stage.params.set("petals.on", True, "osc")
    stage.params.set("petals.fold", "max", "osc")
    stage.params.set("petals.curve", "saw up", "osc")
    stage.params.set("prompt.text", "fire", "osc")
    stage.until(lambda: stage.find("petals.gain").get_attribute("aria-valuenow") == "8")
    stage.until(lambda: stage.find("petals.on").get_attribute("aria-checked") == "true")
    chosen = '[aria-label="petals.fold"] [aria-checked="true"]'
    stage.until(lambda: stage.browser.find_element("css selector", chosen).text == "max")
    stage.until(lambda: stage.find("petals.curve").get_property("value") == "saw up")
    stage.until(lambda: stage.find("prompt.text").get_property("value") == "fire")


def test_switch_choice_trigger(stage):
    stage.params.set("petals.on", False)
    stage.until(lambda: stage.find("petals.on").get_attribute("aria-checked") == "false")
    stage.find("petals.on").click()
    stage.until(lambda: stage.value("petals.on") is True)
    stage.browser.find_elements("css selector", '[aria-label="petals.fold"] button')[1].click()
    stage.until(lambda: stage.value("petals.fold") == "sum")
    stage.keys("petals.curve", "r")
    stage.until(lambda: stage.value("petals.curve") == "random")
    stage.params.drain()
    before = stage.value("panic")
    for _ in range(3):
        stage.find("panic").click()
    stage.until(lambda: stage.value("panic") >= before + 3)
    assert stage.params.drain() == ["panic"] * 3


def test_text_is_sent_with_enter_and_not_before(stage):
    stage.params.set("prompt.text", "ice")
    box = stage.find("prompt.text")
    stage.until(lambda: box.get_property("value") == "ice")
    box.clear()
    box.send_keys("black water")
    stage.sent()
    assert stage.value("prompt.text") == "ice"
    stage.params.set("prompt.text", "from osc")  # does not overwrite what is being written
    stage.params.set("petals.curve", "saw down", "osc")
    stage.until(lambda: stage.find("petals.curve").get_property("value") == "saw down")
    assert box.get_property("value") == "black water"
    box.send_keys(Keys.ENTER)
    stage.until(lambda: stage.value("prompt.text") == "black water")
    box.send_keys(" gone", Keys.ESCAPE)
    assert box.get_property("value") == "black water"


def test_words_that_are_refused_stay_in_the_box_as_not_taken(stage, monkeypatch):
    stage.params.set("prompt.text", "ice")
    box = stage.find("prompt.text")
    stage.until(lambda: box.get_property("value") == "ice")

    def changed():
        return stage.js("return arguments[0].closest('param-words').classList.contains('changed')", box)

    assert box.get_attribute("maxlength") == "2000"
    monkeypatch.setattr(values, "LONGEST_TEXT", 8)
    box.clear()
    box.send_keys("salt water", Keys.ENTER)
    stage.until(changed)
    assert stage.value("prompt.text") == "ice" and box.get_property("value") == "salt water"
    box.send_keys(Keys.ESCAPE)
    assert box.get_property("value") == "ice" and not changed()
    box.clear()
    box.send_keys("salt", Keys.ENTER)
    stage.until(lambda: stage.value("prompt.text") == "salt" and not changed())
    stage.params.set("prompt.text", "ice")  # it follows again
    stage.until(lambda: box.get_property("value") == "ice")


def test_several_prompts_unfold_with_their_weights(stage):
    assert not stage.all(".more")
    stage.params.add("prompt.1.weight", ControlSpec(0, 1, 1), group="prompt")
    stage.params.add("prompt.2.text", TextSpec(""), group="prompt")
    stage.params.add("prompt.2.weight", ControlSpec(0, 1, 0), group="prompt")
    stage.params.add("prompt.next", TriggerSpec(), group="prompt")
    stage.until(lambda: stage.all('.more [data-id="prompt.next"]'))
    rows = "return [...document.querySelectorAll('.prompt-row')].map((r) => [...r.children].map((c) => c.dataset.id))"
    assert stage.js(rows) == [["prompt.text", "prompt.1.weight"], ["prompt.2.text", "prompt.2.weight"]]
    stage.js("document.querySelector('.more summary').click()")
    stage.until(lambda: stage.find("prompt.2.text").is_displayed())
    stage.find("prompt.2.text").send_keys("a red star", Keys.ENTER)
    stage.drag("prompt.2.weight", 0.5, 0)
    stage.until(lambda: stage.value("prompt.2.text") == "a red star" and 0.4 < stage.value("prompt.2.weight") < 0.6)
    assert stage.js("return document.documentElement.scrollHeight") <= 720
    stage.js("document.querySelector('.more summary').click()")
    for id in ("prompt.1.weight", "prompt.2.text", "prompt.2.weight", "prompt.next"):
        stage.params.remove(id)
    stage.until(lambda: not stage.all(".more"))


def test_finding(stage):
    box = stage.browser.find_element("id", "filter")
    assert box.size["height"] >= 40 and box.size["width"] > 300
    box.send_keys("ang")
    shown = "return [...document.querySelectorAll('#groups [data-id]')].length"
    stage.until(lambda: stage.js(shown) == 1)
    box.send_keys(Keys.ESCAPE)
    stage.until(lambda: stage.js(shown) > 5)
    stage.keys("petals.angle", "/")
    box.send_keys("pet")
    stage.until(lambda: stage.js(shown) == 7)
    box.send_keys(Keys.ESCAPE)


def test_a_name_is_whole_where_its_unit_has_no_room(stage):
    stage.params.add("petals.region_bottom", ControlSpec(0, 1, 0.5, unit="of the height"), group="petals")
    stage.show("petals")
    stage.until(lambda: stage.all('[data-id="petals.region_bottom"]'))
    cut = """
        const [bar, width] = [document.querySelector('[data-id="petals.region_bottom"]'), ...arguments];
        bar.style.width = `${width}px`;
        const [name, value, unit] = ['.name', '.value', '.unit'].map((css) => bar.querySelector(css));
        const seen = unit.getBoundingClientRect().bottom <= value.getBoundingClientRect().bottom + 1;
        return [name.scrollWidth > name.clientWidth, value.scrollWidth > value.clientWidth, seen];
    """
    assert stage.js(cut, 400) == [False, False, True]
    assert stage.js(cut, 210)[::2] == [False, False]
    stage.params.remove("petals.region_bottom")
    stage.until(lambda: not stage.all('[data-id="petals.region_bottom"]'))


def test_the_picture_shows(stage):
    frame = np.zeros((96, 160, 3), np.uint8)
    frame[:, :80], frame[:, 80:] = (250, 20, 20), (20, 20, 250)
    stage.surface.show(frame)
    look = """
        const from = document.getElementById('picture'), to = document.createElement('canvas');
        [to.width, to.height] = [from.width, from.height];
        const pen = to.getContext('2d'); pen.drawImage(from, 0, 0);
        const at = (x) => [...pen.getImageData(Math.floor(x * to.width), to.height >> 1, 1, 1).data.slice(0, 3)];
        return [from.width, from.height, at(0.25), at(0.75)];
    """
    seen = stage.until(lambda: (found := stage.js(look))[0] == 160 and found)
    assert seen[1] == 96
    assert np.abs(np.array(seen[2]) - (250, 20, 20)).max() < 8
    assert np.abs(np.array(seen[3]) - (20, 20, 250)).max() < 8


def test_the_status_line(stage):
    line = stage.browser.find_element("id", "status")
    text = stage.until(lambda: (t := line.text) and "17.5 fps" in t and "a thing to know" in t and t)
    assert "84 ms" in text
    assert "a thing to know · one of old" in text  # the older is what is cut off


def test_a_phone_shows_what_went_wrong(stage):
    resize(stage.browser, 375, 667)
    try:
        where = """
            const box = document.querySelector('#status .warning').getBoundingClientRect();
            return [box.left, box.top, box.right - innerWidth, box.bottom - innerHeight];
        """
        left, top, _, bottom = stage.until(lambda: (box := stage.js(where))[2] <= 0 and box)
        assert left >= 0 and top > 600 and bottom <= 0
    finally:
        resize(stage.browser, 1280, 720)


def test_a_new_structure_rebuilds_and_keeps_the_focus(stage):
    stage.js("arguments[0].focus()", stage.find("petals.gain"))
    stage.params.add("petals.height", ControlSpec(0, 4, 2), group="petals")
    stage.until(lambda: stage.browser.find_elements("css selector", '[aria-label="petals.height"]'))
    assert stage.js("return document.activeElement.getAttribute('aria-label')") == "petals.gain"
    stage.params.remove("petals.height")
    stage.until(lambda: not stage.browser.find_elements("css selector", '[aria-label="petals.height"]'))


def test_nothing_overflows(stage):
    for width, height in ((1280, 720), (820, 1180), (1920, 1080), (390, 844), (375, 667), (667, 375)):
        resize(stage.browser, width, height)
        assert stage.js("return document.documentElement.scrollWidth") <= width
        assert stage.js("return document.documentElement.scrollHeight") <= height
        assert stage.find("panic").rect["y"] < height
        view = stage.js("return document.querySelector('.view:not([hidden])').getBoundingClientRect().toJSON()")
        foot = stage.js("return document.getElementById('status').getBoundingClientRect().top")
        assert view["height"] > 200 and view["bottom"] <= foot + 1, (width, height, view, foot)
    resize(stage.browser, 1280, 720)


def test_it_comes_back_by_itself(stage):
    port = int(stage.surface.url.rsplit(":", 1)[1].strip("/"))
    stage.surface.close()
    stage.until(lambda: not stage.js("return document.body.classList.contains('linked')"))
    assert stage.browser.find_element("id", "veil").is_displayed()
    stage.params.set("petals.gain", 5)
    stage.surface = Surface(stage.params, lambda: STATUS, port=port)
    stage.surface.start()
    stage.until(lambda: stage.js("return document.body.classList.contains('linked')"))
    shown = """return document.querySelector('[aria-label="petals.gain"]').getAttribute("aria-valuenow")"""
    stage.until(lambda: stage.js(shown) == "5")


def test_the_browser_complained_of_nothing(stage):
    assert stage.complaints() == []

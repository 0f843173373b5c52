"""The page under fingers: real touch events in a real browser. Drags play, swipes scroll, never both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.page import Room, Tab, chromium, resize, room, until

PATCH = """
version: 2
prompt: a red star spinning above city lights
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: colour, lever: cross.map.gain, scope: {tokens: red}}
  - {name: turn, lever: cross.map.transform}
  - {name: brush, lever: ffn.hidden.gain}
modulators: [{lfo: sine, to: colour.gain, depth: 0, name: wave}]
snapshots: {calm: {loud.gain: 0.5}, wild: {loud.gain: 6}}
"""
TABLET = (820, 1180)
MOVES = """
    window.moves = new Map();
    window.addEventListener("pointermove", (event) => moves.set(event.pointerId, [event.clientX, event.clientY]), true);
"""


class Fingers:
    """Up to five fingers on a page; a finger is known by its number."""

    def __init__(self, page: Tab) -> None:
        self._page = page
        self._down: dict[int, tuple[float, float]] = {}

    def _tell(self, kind: str) -> None:
        points = [{"id": number, "x": x, "y": y} for number, (x, y) in self._down.items()]
        self._page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def down(self, x: float, y: float, finger: int = 0) -> None:
        self._down[finger] = (x, y)
        self._tell("touchStart")

    def move(self, dx: float, dy: float, finger: int = 0, steps: int = 8) -> None:
        x, y = self._down[finger]
        for step in range(1, steps + 1):
            self._down[finger] = (x + dx * step / steps, y + dy * step / steps)
            self._tell("touchMove")

    def come(self, finger: int = 0) -> None:
        """The page has been told of this finger's last move; a browser passes moves on once a picture."""
        seen = """
            return [...moves.values()].some(([x, y]) =>
                Math.hypot(x - arguments[0], y - arguments[1]) < 1);
        """
        until(lambda: self._page.js(seen, *self._down[finger]))

    def up(self, finger: int = 0) -> None:
        del self._down[finger]
        self._tell("touchMove" if self._down else "touchEnd")  # a point that is not told of any more is lifted

    def swipe(self, x: float, y: float, dx: float, dy: float) -> None:
        self.down(x, y)
        self.move(dx, dy)
        self.up()

    def tap(self, x: float, y: float) -> None:
        self.down(x, y)
        self.up()


@pytest.fixture(scope="module")
def playing() -> Iterator[Room]:
    with room(patch=PATCH) as made:
        yield made


@pytest.fixture(scope="module")
def page(playing) -> Iterator[Tab]:
    with chromium(*TABLET) as browser:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})
        tab = Tab(browser, playing.url)
        tab.js(MOVES)
        yield tab


@pytest.fixture
def fingers(page) -> Fingers:
    return Fingers(page)


def look_at(page: Tab, bend: str) -> None:
    page.view("bends")
    until(lambda: page.all(f'.strip[data-bend="{bend}"]'))
    page.js(f"document.querySelector('.strip[data-bend=\"{bend}\"] .site').click()")
    until(lambda: page.text(".bend-head h2").startswith(bend))


def box(page: Tab, css: str) -> dict[str, float]:
    """Where an element is, once it is in sight and no swipe from before rolls on."""
    rolling = "return [...document.querySelectorAll('.pane, .strips')].map((each) => each.scrollTop)"
    seen = [page.js(rolling)]

    def rests() -> bool:
        time.sleep(0.15)
        seen.append(page.js(rolling))
        return seen[-1] == seen[-2]

    until(rests)
    script = """
        const element = document.querySelector(arguments[0]);
        element.scrollIntoView({ block: "center" });
        const { left, top, width, height } = element.getBoundingClientRect();
        return { left, top, width, height, x: left + width / 2, y: top + height / 2 };
    """
    return page.js(script, css)


def twice(fingers: Fingers, x: float, y: float, fact: Callable[[], bool]) -> None:
    """Tap two times, and again where the machine stood still in between and they came too far apart."""

    def tapped() -> bool:
        for _ in range(2):
            fingers.tap(x, y)
        end = time.monotonic() + 1
        while not fact() and time.monotonic() < end:
            time.sleep(0.02)
        return fact()

    until(tapped)


def bar(id: str) -> str:
    return f'[data-id="{id}"] .well'


def scrolled(page: Tab) -> float:
    return page.js("return document.querySelector('#bends .pane').scrollTop")


def ends(playing: Room, id: str) -> tuple[float, float]:
    center, width = playing.value(f"{id}.center"), playing.value(f"{id}.width")
    return center - width / 2, center + width / 2


def test_a_finger_drags_a_bar_and_nothing_scrolls(page, playing, fingers):
    look_at(page, "turn")
    place = box(page, bar("turn.blur"))
    before = scrolled(page)
    fingers.down(place["left"] + 10, place["y"])
    fingers.move(place["width"] / 2, 0)
    fingers.move(0, 60)  # once it plays it plays on, wherever the finger strays
    fingers.up()
    until(lambda: playing.value("turn.blur") > 1)
    assert scrolled(page) == before
    fingers.swipe(place["left"] + 10, place["y"], -100, 0)
    until(lambda: playing.value("turn.blur") < 1)


def test_a_tap_or_a_swipe_up_over_bars_changes_nothing_and_scrolls(page, playing, fingers):
    look_at(page, "turn")
    values = {id: playing.value(id) for id in playing.params.ids() if id.startswith("turn.")}
    for id in ("turn.scale_x", "turn.blur_t"):
        place, before = box(page, bar(id)), scrolled(page)
        fingers.tap(place["x"], place["y"])
        fingers.swipe(place["x"], place["y"], 4, 150 if before > 60 else -150)
        until(lambda before=before: scrolled(page) != before)
    assert {id: playing.value(id) for id in values} == values


def test_scrolling_over_the_strips_looks_at_no_other_bend_and_a_tap_does(page, playing, fingers):
    look_at(page, "loud")
    resize(page.browser, 820, 800)
    place = box(page, bar("brush.gain"))
    fingers.swipe(place["x"], place["y"], 0, 120)
    assert page.text(".bend-head h2").startswith("loud") and playing.value("brush.gain") == 1
    place = box(page, bar("brush.gain"))
    fingers.tap(place["x"], place["y"])
    until(lambda: page.text(".bend-head h2").startswith("brush"))
    assert playing.value("brush.gain") == 1
    resize(page.browser, *TABLET)


def test_two_fingers_move_two_bars(page, playing, fingers):
    look_at(page, "turn")
    one, two = box(page, bar("loud.gain")), box(page, bar("colour.gain"))
    for id in ("loud.gain", "colour.gain"):
        playing.params.set(id, 1, "osc")
        until(lambda id=id: page.attribute(id, "aria-valuenow") == "1")
    fingers.down(one["x"], one["y"], 0)
    fingers.down(two["x"], two["y"], 1)
    for _ in range(4):
        fingers.move(30, 0, 0, steps=2)
        fingers.move(-30, 0, 1, steps=2)
    until(lambda: playing.value("loud.gain") > 2 and playing.value("colour.gain") < 0.5)
    fingers.come(0)
    fingers.up(0)
    left = page.set_at_last("loud.gain", lambda: playing.value("loud.gain"))
    fingers.move(160, 0, 1)
    fingers.up(1)
    until(lambda: playing.value("colour.gain") > 0.5)
    assert playing.value("loud.gain") == left


def test_a_second_finger_on_a_bar_does_not_shake_it(page, playing, fingers):
    playing.params.set("loud.gain", 1, "osc")
    until(lambda: page.attribute("loud.gain", "aria-valuenow") == "1")
    place = box(page, bar("loud.gain"))
    fingers.down(place["left"] + 20, place["y"], 0)
    fingers.move(40, 0, 0)
    fingers.come(0)
    value = page.set_at_last("loud.gain", lambda: playing.value("loud.gain"))
    assert value > 1
    fingers.down(place["left"] + place["width"] - 20, place["y"], 1)
    fingers.move(-80, 0, 1)
    fingers.come(1)
    fingers.up(1)
    assert page.set_at_last("loud.gain", lambda: playing.value("loud.gain")) == pytest.approx(value, abs=0.05)
    fingers.move(40, 0, 0)
    until(lambda: playing.value("loud.gain") > value)
    fingers.up(0)


def test_two_taps_are_the_default(page, playing, fingers):
    playing.params.set("loud.gain", 3, "osc")
    place = box(page, bar("loud.gain"))
    twice(fingers, place["x"], place["y"], lambda: playing.value("loud.gain") == 1)


def test_both_ends_of_a_window_by_two_fingers_and_everywhere_by_two_taps(page, playing, fingers):
    look_at(page, "brush")
    playing.params.set("brush.layers", (4, 7), "osc")
    css = ".where span-bar .well"
    until(lambda: page.attribute("brush.layers to", "aria-valuenow") == "7")
    place = box(page, css)
    cell = place["width"] / 12
    fingers.down(place["left"] + 4 * cell + 2, place["y"], 0)
    fingers.down(place["left"] + 8 * cell - 2, place["y"], 1)
    fingers.move(-2 * cell, 0, 0)
    fingers.move(2 * cell, 0, 1)
    until(lambda: ends(playing, "brush.layers") == (2, 9))
    fingers.up(0)
    fingers.move(-3 * cell, 0, 1)
    fingers.up(1)
    until(lambda: ends(playing, "brush.layers") == (2, 6))
    fingers.swipe(place["left"] + 4 * cell, place["y"], 3 * cell, 0)  # its middle
    until(lambda: ends(playing, "brush.layers") == (5, 9))
    twice(fingers, place["left"] + cell, place["y"], lambda: ends(playing, "brush.layers") == (0, 11))


def test_the_picture_of_the_network_is_brushed_sideways_and_scrolled_past(page, playing, fingers):
    resize(page.browser, 820, 1000)
    look_at(page, "brush")
    css = ".network canvas"
    place = box(page, css)
    before, window = scrolled(page), (ends(playing, "brush.layers"), ends(playing, "brush.steps"))
    fingers.swipe(place["x"], place["y"], 0, 150 if before > 60 else -150)
    until(lambda: scrolled(page) != before)
    assert (ends(playing, "brush.layers"), ends(playing, "brush.steps")) == window
    place = box(page, css)
    cell = (place["width"] - 46) / 12
    fingers.swipe(place["left"] + 46 + 3.5 * cell, place["top"] + 5, 3 * cell, 11)
    until(lambda: ends(playing, "brush.layers") == (3, 6) and ends(playing, "brush.steps") == (0, 1))
    fingers.tap(place["left"] + 46 + 8.5 * cell, place["top"] + 5)
    until(lambda: ends(playing, "brush.layers") == (8, 8) and ends(playing, "brush.steps") == (0, 0))
    resize(page.browser, *TABLET)


def test_pads_and_the_square(page, playing, fingers):
    page.view("pads")
    until(lambda: page.text('[data-id="snapshot.2.recall"]') == "2\nwild")
    place = box(page, '[data-id="snapshot.2.recall"]')
    fingers.tap(place["x"], place["y"])
    until(lambda: playing.value("loud.gain") == 6)
    place = box(page, "xy-square")
    before = page.js("return document.querySelector('.view:not([hidden])').scrollTop")
    fingers.down(place["x"], place["y"], 0)
    until(lambda: playing.value("morph.x") == pytest.approx(0.5, abs=0.03))
    fingers.move(place["width"] / 4, -place["height"] / 4, 0)
    until(lambda: playing.value("morph.x") == pytest.approx(0.75, abs=0.03))
    until(lambda: playing.value("morph.y") == pytest.approx(0.75, abs=0.03))
    fingers.down(place["left"] + 20, place["y"], 1)  # another finger does not pull it over
    fingers.move(0, 20, 1)
    fingers.up(1)
    fingers.move(0, place["height"] / 4, 0)
    fingers.up(0)
    until(lambda: playing.value("morph.y") == pytest.approx(0.5, abs=0.03))
    assert playing.value("morph.x") == pytest.approx(0.75, abs=0.03)
    assert page.js("return document.querySelector('.view:not([hidden])').scrollTop") == before


def test_the_browser_complained_of_nothing(page):
    assert page.complaints() == []

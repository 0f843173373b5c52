"""The page in a real browser, headless: how to open one, look at it, and put a real show behind it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from instrument.mapping.rig import Rig
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines.recipes import recipe, sized
from pipelines.systems import open_system

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.common.exceptions import SessionNotCreatedException
from selenium.webdriver import ActionChains, Keys

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60.0  # seconds; a machine under test may stand still for a while


@contextmanager
def chromium(width: int = 1280, height: int = 720) -> Iterator[webdriver.Chrome]:
    """A selenium driver showing a window of this size."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = _started(options, driver)
    try:
        resize(browser, width, height)
        yield browser
    finally:
        browser.quit()


def _started(options: webdriver.ChromeOptions, driver: str) -> webdriver.Chrome:
    """The driver gives a browser a minute to come up, which on a machine that stands still is not always enough."""
    for _ in range(2):
        try:
            return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        except SessionNotCreatedException:
            continue
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """The window has that size, in pixels, when this returns."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    until(lambda: browser.execute_script("return [innerWidth, innerHeight]") == [width, height])


def until(fact: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `fact` returns once it is true."""
    end = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)
    return found


class Tab:
    """One page in a browser, and ways to touch it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        until(lambda: self.js("return document.body.classList.contains('linked')"))

    def js(self, code: str, *args: Any) -> Any:
        return self.browser.execute_script(code, *args)

    def view(self, name: str) -> None:
        self.js(f"document.getElementById('tab-{name}').click()")

    def all(self, css: str) -> list[Any]:
        return self.browser.find_elements("css selector", css)

    def find(self, id: str) -> Any:
        """The element that is called so."""
        return self.browser.find_element("css selector", f'[aria-label="{id}"]')

    def attribute(self, id: str, name: str) -> str | None:
        """As it is now; None while there is no such element (a view may be built anew at any moment)."""
        return self.js(
            'return document.querySelector(`[aria-label="${arguments[0]}"]`)?.getAttribute(arguments[1])', id, name
        )

    def text(self, css: str) -> str:
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def drag(self, id: str, x: float, dx: int, shift: bool = False) -> None:
        """Press at `x` (share of the width) and move `dx` pixels."""
        bar = self.find(id)
        self.js("arguments[0].scrollIntoView({block: 'center'})", bar)
        chain = ActionChains(self.browser, duration=20)
        chain.move_to_element_with_offset(bar, round((x - 0.5) * bar.size["width"]), 0)
        if shift:
            chain.key_down(Keys.SHIFT)
        chain.click_and_hold().move_by_offset(dx, 0).release()
        if shift:
            chain.key_up(Keys.SHIFT)
        chain.perform()

    def set_at_last(self, id: str, value: Callable[[], float]) -> float:
        """What the page shows, once `value()`, the instrument's, is the same: all that a hand did has come."""
        until(lambda: value() == pytest.approx(float(self.attribute(id, "aria-valuenow") or "nan"), rel=1e-5))
        return value()

    def keys(self, id: str, *keys: str) -> None:
        self.js("arguments[0].focus()", self.find(id))
        ActionChains(self.browser).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What the browser found wrong, besides a connection that is being tried again."""
        severe = [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]
        return [text for text in severe if "WebSocket connection" not in text]

    def roughness(self) -> float:
        """Mean step from one pixel of the picture to the next beside it, of 255."""
        return self.js("""
            const from = document.getElementById('picture'), to = document.createElement('canvas');
            [to.width, to.height] = [from.width, from.height];
            const pen = to.getContext('2d'); pen.drawImage(from, 0, 0);
            const { data } = pen.getImageData(0, 0, to.width, to.height);
            let sum = 0;
            for (let i = 4; i < data.length; i++) if (i % 4 < 3) sum += Math.abs(data[i] - data[i - 4]);
            return sum / (data.length * 3 / 4);
        """)


PATCH = """
version: 2
prompt: a red star spinning above city lights
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: colour, lever: cross.map.gain, scope: {tokens: red}}
  - {name: turn, lever: cross.map.transform}
  - {name: brush, lever: ffn.hidden.gain}
modulators: [{lfo: sine, period: 2 s, to: colour.gain, depth: 0.2, name: wave}]
snapshots: {calm: {colour.gain: 0.5}}
"""


SMALLEST = 64, 48


class Room:
    """A show that plays the house model, at its smallest if nothing else is said, its page open to browsers."""

    def __init__(
        self,
        mapping: Path | None = None,
        port: int = 0,
        patch: str = PATCH,
        size: tuple[int, int] | None = SMALLEST,
        out_dir: Path = Path(),
    ) -> None:
        """`size`: width and height in pixels; None: the model's own."""
        house = recipe("house") if size is None else sized(recipe("house"), *size)
        system = open_system(house, torch.device("cpu"), torch.float32)
        self.show = Show(system, loads(patch, name="room"), [], None, 1)
        self.params, self.engine = self.show.params, self.show.engine
        rig = Rig(self.params, self.show.notices.tell)
        if mapping is not None:
            rig.load(mapping)
        self.show.start(Doors(osc_port=None, page_port=port, mdns=False, out_dir=out_dir), rig)

    @property
    def url(self) -> str:
        return self.show.surface.url

    def value(self, id: str) -> Any:
        return self.params[id].base

    def close(self) -> None:
        self.show.close()


@contextmanager
def room(**options: Any) -> Iterator[Room]:
    made = Room(**options)
    try:
        yield made
    finally:
        made.close()


def look_at(page: Tab, bend: str) -> None:
    page.view("bends")
    until(lambda: page.all(f'.strip[data-bend="{bend}"]'))
    page.js(f"document.querySelector('.strip[data-bend=\"{bend}\"] .site').click()")
    until(lambda: page.text(".bend-head h2").startswith(bend))


def pressed(page: Tab, text: str, css: str = ".quiet") -> None:
    script = "return [...document.querySelectorAll(arguments[0])].find((b) => b.innerText.startsWith(arguments[1]))"
    page.js("arguments[0].click()", until(lambda: page.js(script, css, text)))

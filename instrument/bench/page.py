"""`bender bench page`: how long a value and a picture take to the page, in a real browser.

Chromium headless opens the real page of a real server. Parameters change sixty times a second, one of them carries the
time as its value; pictures come thirty times a second, the time in their pixels. The page's own clock is the same
machine's. With `--generate` the patch plays beside it, as it does in a show.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from instrument.bench.stats import below
from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import Patch
from instrument.surface.server import Surface
from pipelines.quicken import make_stream
from pipelines.refusal import Refusal
from pipelines.spec import ControlSpec
from pipelines.systems import System

CLOCK = "group0.p0"  # carries the time
WRAP = 8192  # ms after which the time begins again
BITS, BLOCK = 13, 16  # of the time in the pixels; pixels a bit
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,720")
WATCH = """
const [clock, wrap, bits, block] = arguments;
const since = (then) => (((Date.now() % wrap) - then + 1.5 * wrap) % wrap) - wrap / 2;
window.seen = { values: [], pictures: [], painted: 0 };
const bar = document.querySelector(`[aria-label="${clock}"]`);
new MutationObserver(() => window.seen.values.push(since(Number(bar.getAttribute("aria-valuenow")))))
  .observe(bar, { attributes: true, attributeFilter: ["aria-valuenow"] });
const draw = ImageBitmapRenderingContext.prototype.transferFromImageBitmap;
const pen = new OffscreenCanvas(bits * block, 1).getContext("2d", { willReadFrequently: true });
ImageBitmapRenderingContext.prototype.transferFromImageBitmap = function (bitmap) {
  pen.drawImage(bitmap, 0, block / 2, bits * block, 1, 0, 0, bits * block, 1);
  const { data } = pen.getImageData(0, 0, bits * block, 1);
  let then = 0;
  for (let i = 0; i < bits; i++) then += data[4 * (i * block + block / 2)] > 127 ? 2 ** i : 0;
  draw.call(this, bitmap);
  window.seen.pictures.push(since(then));
};
const count = () => { window.seen.painted += 1; requestAnimationFrame(count); };
requestAnimationFrame(count);
"""


class BrowserMissing(Refusal, RuntimeError):
    """There is no browser to measure in; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Load:
    """What the page has to take: parameters that change sixty times a second, in so many groups (the page shows one at
    a time), and pictures a second of width x height pixels."""

    seconds: float = 10.0
    parameters: int = 300
    groups: int = 5
    fps: float = 30.0
    width: int = 256
    height: int = 144


def bench_page(load: Load, beside: tuple[System, Patch, int] | None = None) -> Iterator[str]:
    """The report's lines. `beside`: a system that plays this patch in the same process with so many threads, seen by
    nobody. Raises BrowserMissing."""
    programs = find_browser()
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    size = f"{load.width}x{load.height}"
    yield f"{load.parameters} parameters at 60 Hz, {load.fps:g} pictures a second of {size}"
    if beside is None:
        seen = measure(load, *programs)
    else:
        with generating(*beside) as engine:
            seen = measure(load, *programs)
        yield f"the model made {engine.timing.fps:.1f} frames a second meanwhile"
    yield from report(seen, load.seconds)
    yield f"load average before: {busy:.1f}"


def find_browser() -> tuple[str, str]:
    """The programs: Chromium, or a browser made from it, and its driver. Raises BrowserMissing."""
    if importlib.util.find_spec("selenium") is None:
        raise BrowserMissing(
            'bench page drives a browser with selenium, which is not installed; pip install "attentionbender[bench]"'
        )
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        lacking = " and ".join(
            name for name, found in (("chromium", browser), ("chromedriver", driver)) if found is None
        )
        raise BrowserMissing(
            f"bench page needs {lacking} on the PATH; on Debian: sudo apt install chromium chromium-driver, "
            "elsewhere: Chrome, and the chromedriver of its version from googlechromelabs.github.io/chrome-for-testing"
        )
    return browser, driver


def params_of(count: int, groups: int) -> ParamSet:
    """`count` numbers in so many groups; the first has the range of the clock."""
    params = ParamSet()
    for i in range(count):
        group = f"group{i * groups // count}"
        spec = ControlSpec(0, WRAP, 0) if i == 0 else ControlSpec(0, 1, 0.5)
        params.add(f"{group}.p{i}", spec, group=group)
    return params


def stamped(frame: np.ndarray, ms: int) -> np.ndarray:
    """A copy of uint8 [H, W, 3] with a time in its first row of blocks."""
    frame = frame.copy()
    for bit in range(BITS):
        frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (ms >> bit & 1)
    return frame


@contextmanager
def beating(rate: float, beat: Callable[[int], None]) -> Iterator[None]:
    """Call `beat(n)` so many times a second in a thread of its own."""
    stop = threading.Event()

    def run() -> None:
        start = time.monotonic()
        for n in range(10**9):
            if stop.wait(max(0.0, start + n / rate - time.monotonic())):
                return
            beat(n)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(load: Load, program: str, driver: str) -> dict[str, Any]:
    """What the page saw in that time: `values` and `pictures` in ms from change to sight, `painted` frames, `bars`."""
    from selenium import webdriver  # slow to import, and not needed to play

    params = params_of(load.parameters, load.groups)
    ids = params.ids()[1:]
    surface = Surface(params, lambda: {"fps": 0.0, "warnings": []}, port=0)
    surface.start()
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 255, (load.height // 8, load.width // 8, 3), np.uint8)
    frame = np.kron(noise, np.ones((8, 8, 1), np.uint8))

    def turn(n: int) -> None:
        for i, id in enumerate(ids):
            params.set(id, 0.5 + 0.5 * math.sin(0.05 * n + i), "bench")
        params.set(CLOCK, (time.time() * 1000) % WRAP, "bench")

    def show(n: int) -> None:
        surface.show(stamped(np.roll(frame, n, 1), int(time.time() * 1000) % WRAP))

    chrome = webdriver.ChromeOptions()
    chrome.binary_location = program
    for flag in FLAGS:
        chrome.add_argument(flag)
    browser = webdriver.Chrome(options=chrome, service=webdriver.ChromeService(driver))
    try:
        browser.get(surface.url)
        time.sleep(1.0)
        browser.execute_script("document.getElementById('tab-all').click()")
        time.sleep(0.5)
        with beating(60, turn), beating(load.fps, show):
            time.sleep(2.0)  # what is slow the first time
            browser.execute_script(WATCH, CLOCK, WRAP, BITS, BLOCK)
            time.sleep(load.seconds)
            seen = browser.execute_script("return window.seen")
        bars = browser.execute_script("return document.querySelectorAll('#groups param-bar').length")
    finally:
        browser.quit()
        surface.close()
    return {**seen, "bars": bars}


def report(seen: dict[str, Any], seconds: float) -> Iterator[str]:
    """Lines to print."""
    for name in ("values", "pictures"):
        found = seen[name]
        if not found:
            yield f"{name}: none arrived"
            continue
        rate, p50, p95 = len(found) / seconds, statistics.median(found), below(0.95, found)
        yield f"{name:9} {rate:5.1f} a second   p50 {p50:5.1f} ms   p95 {p95:5.1f} ms"
    yield f"painted   {seen['painted'] / seconds:5.1f} a second, {seen['bars']} bars in view"


@contextmanager
def generating(system: System, patch: Patch, threads: int) -> Iterator[Engine]:
    """An engine that plays this, in a thread of its own."""
    engine = Engine(
        make_stream(system, patch.seed), system.encoder, ParamSet(), lambda frame, stamp: None, threads=threads
    )
    engine.load(patch)
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        engine.stop()
        thread.join()

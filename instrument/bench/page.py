"""`python -m instrument.bench.page`: how long a value and a picture take to the page, in a real browser.

Chromium headless opens the real page of a real server. Parameters change sixty times a second, one of them carries the
time as its value; pictures come thirty times a second, the time in their pixels. The page's own clock is the same
machine's. With `--generate` a model plays beside it, as it does in a show. Needs selenium (the extra `test`).
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from instrument.parameters.params import ParamSet
from instrument.surface.server import Surface
from pipelines.spec import ControlSpec

CLOCK = "group0.p0"  # carries the time
WRAP = 8192  # ms after which the time begins again
BITS, BLOCK = 13, 16  # of the time in the pixels; pixels a bit
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
def beating(rate: float, beat: Any) -> Iterator[None]:
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


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What the page saw in `options.seconds`."""
    from selenium import webdriver  # the extra `test`

    params = params_of(options.parameters, options.groups)
    ids = params.ids()[1:]
    surface = Surface(params, lambda: {"fps": 0.0, "warnings": []}, port=0)
    surface.start()
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 255, (options.height // 8, options.width // 8, 3), np.uint8)
    frame = np.kron(noise, np.ones((8, 8, 1), np.uint8))

    def turn(n: int) -> None:
        for i, id in enumerate(ids):
            params.set(id, 0.5 + 0.5 * math.sin(0.05 * n + i), "bench")
        params.set(CLOCK, (time.time() * 1000) % WRAP, "bench")

    def show(n: int) -> None:
        surface.show(stamped(np.roll(frame, n, 1), int(time.time() * 1000) % WRAP))

    chrome = webdriver.ChromeOptions()
    chrome.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in FLAGS:
        chrome.add_argument(flag)
    browser = webdriver.Chrome(options=chrome, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(surface.url)
        time.sleep(1.0)
        browser.execute_script("document.getElementById('tab-all').click()")
        time.sleep(0.5)
        with beating(60, turn), beating(options.fps, show):
            time.sleep(2.0)  # what is slow the first time
            browser.execute_script(WATCH, CLOCK, WRAP, BITS, BLOCK)
            time.sleep(options.seconds)
            seen = browser.execute_script("return window.seen")
        bars = browser.execute_script("return document.querySelectorAll('#groups param-bar').length")
    finally:
        browser.quit()
        surface.close()
    return {**seen, "bars": bars}


def report(seen: dict[str, Any], seconds: float) -> Iterator[str]:
    """Lines to print."""
    for name in ("values", "pictures"):
        found = sorted(seen[name])
        if not found:
            yield f"{name}: none arrived"
            continue
        p95 = found[min(int(0.95 * len(found)), len(found) - 1)]
        rate, p50 = len(found) / seconds, statistics.median(found)
        yield f"{name:9} {rate:5.1f} a second   p50 {p50:5.1f} ms   p95 {p95:5.1f} ms"
    yield f"painted   {seen['painted'] / seconds:5.1f} a second, {seen['bars']} bars in view"


@contextmanager
def generating(wanted: bool) -> Iterator[None]:
    """The house model at its own size, playing in this process, seen by nobody."""
    if not wanted:
        yield
        return
    import torch

    from instrument.engine.engine import Engine
    from instrument.setup import model_threads
    from instrument.state import patch as patches
    from pipelines.recipes import recipe
    from pipelines.stream import Stream
    from pipelines.systems import open_system

    system = open_system(recipe("house"), torch.device("cpu"), torch.float32)
    stream = Stream(system.model, system.decoder, system.recipe)
    engine = Engine(stream, system.encoder, ParamSet(), lambda frame, stamp: None, threads=model_threads(None))
    engine.load(patches.load("citylights"))
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        engine.stop()
        thread.join()
        print(f"the model made {engine.timing.fps:.1f} frames a second meanwhile")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=300, help="that change sixty times a second")
    parser.add_argument("--groups", type=int, default=5, help="they are in; the page shows one group at a time")
    parser.add_argument("--fps", type=float, default=30.0, help="pictures shown to the page, a second")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=144)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--generate", action="store_true", help="the house model plays in the same process")
    options = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    size = f"{options.width}x{options.height}"
    print(f"{options.parameters} parameters at 60 Hz, {options.fps:g} pictures a second of {size}")
    with generating(options.generate):
        seen = measure(options)
    for line in report(seen, options.seconds):
        print(line)
    print(f"load average before: {load:.1f}")


if __name__ == "__main__":
    main()

"""A tiny network that really plays, its page in a browser, and ways to look at what the page shows of its inside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from instrument.engine.engine import Engine
from instrument.engine.inside import Inside
from instrument.engine.portrait import Portrait
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from instrument.surface.server import Surface
from tests import page, tiny

PATCH = """
version: 1
prompt: a purple tulip swaying
bends:
  - {name: moved, lever: cross.map.transform, scope: {tokens: tulip}}
  - {name: hidden, lever: ffn.hidden.gain}
  - {name: other, lever: ffn.hidden.noise}
"""
TAKE = {"sent": 12, "dropped": 3, "errors": 0, "error": "", "writing": "takes/take-2.mp4", "seconds": 65.0}
FAILING = {"sent": 2, "dropped": 0, "errors": 1, "error": "output ndi: it fails; look", "writing": "", "seconds": 1.0}
STATUS = {"warnings": [FAILING["error"]], "outputs": [{"name": "file:take.mp4"} | TAKE, {"name": "ndi"} | FAILING]}
HEAT = """
    const from = document.querySelector("#over .heat");
    if (from.hidden) return null;
    const {data} = from.getContext("2d").getImageData(0, 0, from.width, from.height);
    let [sum, x] = [0, 0];
    for (let i = 0; i < data.length; i += 4) { sum += data[i + 3]; x += data[i + 3] * ((i / 4) % from.width + 0.5); }
    return {sum, x: sum ? x / sum / from.width : null, size: [from.width, from.height],
            colour: [...data.slice(0, 3)]};
"""
LIT = """
    const from = arguments[0], {width, height} = from;
    if (!width || !height) return 0;
    const {data} = from.getContext("2d").getImageData(0, 0, width, height);
    let lit = 0;
    for (let i = 0; i < data.length; i += 4) lit += data[i + 3] > 0 && data[i] + data[i + 1] + data[i + 2] > 45;
    return lit;
"""


class Stage:
    """An engine that plays by itself, its page in a browser, and ways to look at it."""

    def __init__(self, browser, pin: str | None = None):
        self.browser, self.params = browser, ParamSet()
        self.engine = Engine(tiny.stream(), tiny.Encoder(), self.params, self._show, max_fps=40)
        self.engine.load(loads(PATCH))
        self.params.set("engine.seed", 3)
        self.fps, self.pin, self.stopping = 12.0, pin, threading.Event()
        self.surface = self.serve(0)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def serve(self, port: int) -> Surface:
        surface = Surface(self.params, lambda: {"fps": self.fps, **STATUS}, port=port, play=Portrait(self.engine))
        surface.look_inside(Inside(self.engine, lambda: {"fps": self.fps, "step_ms": 12.0, "latency_ms": None}))
        if self.pin:
            surface.ask_for(self.pin)
        surface.start()
        return surface

    def _show(self, frame, stamp) -> None:
        self.surface.show(frame)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.engine.play_chunk()

    def swap(self, layers: int) -> None:
        """Go on with a network of so many layers."""
        self.stopping.set()
        self.thread.join()
        other = tiny.stream((), replace(tiny.RECIPE, config=replace(tiny.CONFIG, num_layers=layers)))
        other.play(other.make_bank(self.engine.stream.bank.bends))
        self.engine.stage.stream = other
        self.stopping.clear()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def close(self) -> None:
        self.stopping.set()
        self.thread.join()
        self.surface.close()

    def until(self, fact: Callable[[], Any]) -> Any:
        return page.until(fact)

    def js(self, code, *args):
        return self.browser.execute_script(code, *args)

    def all(self, where):
        return self.browser.find_elements("css selector", where)

    def open(self, view="inside") -> None:
        self.browser.get(self.surface.url)
        self.until(lambda: self.js("return document.body.classList.contains('linked')"))
        self.show(view)

    def show(self, view) -> None:
        self.browser.find_element("id", f"tab-{view}").click()

    def choose(self, name, text) -> None:
        code = """
            const all = [...document.querySelectorAll(".chooser")];
            const label = all.filter((one) => one.textContent.startsWith(arguments[0]))[arguments[2]];
            const select = label.querySelector("select");
            select.value = [...select.options].find((o) => o.text === arguments[1]).value;
            select.dispatchEvent(new Event("change"));
        """
        which = 1 if name.startswith("neurons' ") else 0
        self.js(code, name.removeprefix("neurons' "), text, which)

    def heat(self):
        return self.js(HEAT)

    def thumb(self, word):
        return next(button for button in self.all(".thumb") if word in button.text)

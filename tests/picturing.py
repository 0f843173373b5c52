"""The page's pictures in docs/, made anew: `python -m tests.picturing docs`. Look at each before it is kept."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.page import Room, Tab, chromium, resize, room, until

PATCH = """
version: 2
prompt: a purple tulip swaying over a dark sea
seed: 2
bends:
  - {name: hue, lever: cross.map.gain, scope: {tokens: purple, layers: [2, 9]}}
  - {name: flower, lever: cross.map.gain, scope: {tokens: tulip}}
  - {name: drift, lever: cross.map.transform}
  - {name: memory, lever: self.map.gain}
  - {name: grain, lever: ffn.out.noise, scope: {layers: [0, 3]}}
  - {name: brush, lever: ffn.hidden.gain, scope: {layers: [6, 11], neurons: 0-60}}
values: {hue.gain: 1.3, hue.layers.feather: 1, grain.noise: 0.05, brush.gain: 1.3}
modulators:
  - {lfo: sine, period: 8 beats, to: hue.gain, depth: 0.25, name: swell}
  - {lfo: triangle, period: 6 s, to: drift.rotate, depth: 0.05, name: sway}
  - {envelope: ad, to: grain.noise, depth: 0.15, name: thump}
snapshots:
  calm: {hue.gain: 1, drift.rotate: 0}
  drown: {hue.gain: 4, brush.gain: 1}
  storm: {grain.noise: 0.5}
  ice: {brush.gain: 0.2}
"""
SETTLED = 8  # chunks from which on the picture is itself and the numbers below it are true


@dataclass(frozen=True)
class Shot:
    file: str
    size: tuple[int, int]
    view: str
    ready: str  # of what the view shows, once it is there
    values: Mapping[str, float] = field(default_factory=dict)  # set for this one and those after it


SHOTS = (
    Shot("page.png", (1280, 720), "bends", ".network canvas"),
    Shot("page-modulators.png", (1280, 720), "modulators", '.strip[data-modulator="thump"]'),
    Shot("page-phone.png", (390, 844), "bends", ".network canvas"),
    Shot("page-upright.png", (820, 1180), "pads", "xy-square", {"morph.x": 0.35, "morph.y": 0.4}),
)


def take(shot: Shot, tab: Tab, playing: Room, folder: Path) -> None:
    resize(tab.browser, *shot.size)
    tab.view(shot.view)
    until(lambda: tab.all(shot.ready))
    # what this machine lacks is no part of the page
    until(lambda: not tab.text(".warning:not(.past)") and not tab.text("#news"), 120)
    for id, value in shot.values.items():
        playing.params.set(id, value, "picturing")
    chunks = playing.show.status()["chunks"]
    until(lambda: playing.show.status()["chunks"] > max(SETTLED, chunks + 1))  # it is seen as it plays there
    tab.browser.save_screenshot(str(folder / shot.file))


def main(folder: Path) -> None:
    with room(patch=PATCH, size=None) as playing, chromium() as browser:
        tab = Tab(browser, playing.url)
        for shot in SHOTS:
            take(shot, tab, playing, folder)
            print(folder / shot.file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

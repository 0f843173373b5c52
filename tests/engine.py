"""An engine on a tiny model, played by hand: a small patch, its prompts, and what it shows."""

from __future__ import annotations

import numpy as np

from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.state.patch import loads
from pipelines.taehv import TAEHV
from pipelines.text import Prompt
from tests.tiny import prompt, stream

PATCH = """
version: 1
prompt: a purple tulip swaying
seed: 3
bends:
  - {name: loud, lever: ffn.out.gain}
  - {name: words, lever: cross.map.gain, scope: {tokens: tulip, layers: [1, 2]}}
values: {words.gain: 2.0}
"""


class Encoder:
    """Prompts with random embeddings, one seed a text."""

    quick = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, text: str) -> Prompt:
        self.asked.append(text)
        return prompt(text, seed=len(text))

    def let_go(self) -> None:
        """There is nothing to free."""


class Playing:
    """An engine on the tiny model whose frames and stamps are kept."""

    def __init__(self, text: str = PATCH, decoder: TAEHV | None = None) -> None:
        self.frames: list[np.ndarray] = []
        self.stamps: list[object] = []
        self.encoder, self.params = Encoder(), ParamSet()
        self.engine = Engine(stream(decoder=decoder), self.encoder, self.params, self._keep)
        self.engine.load(loads(text))

    def _keep(self, frame: np.ndarray, stamp: object) -> None:
        self.frames.append(frame)
        self.stamps.append(stamp)

    def chunks(self, count: int) -> np.ndarray:
        before = len(self.frames)
        for _ in range(count):
            self.engine.play_chunk()
        self.engine.finish()
        return np.stack(self.frames[before:])

"""What a surface may see of the network while it plays: its sizes, looks through the probes, what the cache holds, and
the pace.

Any thread may ask. Nothing here is remembered of a stream, a patch or a size: each question finds the one that plays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from instrument.engine.engine import Engine
from pipelines.bends.probes import Look, MapLook, NeuronLook, Neurons
from pipelines.taehv import TIME_SCALE

TOP = 12  # neurons named in a look


class Inside:
    """One engine's. `pace()` tells numbers that a plot can follow, by name; None where there is none yet."""

    def __init__(self, engine: Engine, pace: Callable[[], dict[str, float | None]]) -> None:
        self._engine, self.pace = engine, pace

    def facts(self) -> dict[str, Any]:
        """The network's sizes, the pieces of the prompt, and the cache's; JSON-ready."""
        stream = self._engine.stream
        config = stream.model.config
        return {
            "layers": config.num_layers,
            "steps": stream.steps,
            "heads": config.num_heads,
            "neurons": config.ffn_dim,
            "rows": stream.grid.height,
            "columns": stream.grid.width,
            "tokens": list(self._tokens()),
            "window": stream.cache.window,
            "sink": stream.cache.sink,
            "frames": stream.recipe.chunk,
            "pictures": TIME_SCALE,  # in a latent frame
        }

    def ask(self, what: str, layer: int, step: int | None, detail: int | None) -> None:
        """Have this seen at the next pass that has it. `what`: "map", of all pieces of the prompt, of the head
        `detail` (None: the mean of all), or "neurons", in `detail` bands. `step` None is the cache pass."""
        look = self._look(what, layer, step, detail)
        if look is not None:
            self._engine.stream.probes.ask(look)

    def take(self, what: str, layer: int, step: int | None, detail: int | None) -> Any:
        """What was seen, once; None as long as there is nothing.

        Of a map the mean over the chunk's latent frames, float32 [tokens, rows, columns]; of neurons (bands,
        indices of the loudest, their loudness).
        """
        look = self._look(what, layer, step, detail)
        seen = None if look is None else self._engine.stream.probes.take(look)
        if isinstance(seen, Neurons):
            return tuple(np.nan_to_num(part) for part in seen)
        return None if seen is None else np.nan_to_num(seen.mean(axis=1))

    def _look(self, what: str, layer: int, step: int | None, detail: int | None) -> Look | None:
        if what == "neurons":
            return NeuronLook(layer, step, detail or 1, TOP)
        tokens = tuple(range(len(self._tokens())))
        return MapLook(layer, step, tokens, detail) if tokens else None

    def _tokens(self) -> tuple[str, ...]:
        prompt = self._engine.prompt
        return prompt.tokens if prompt else ()

    def forget(self) -> None:
        """Nobody looks any more, or something else plays: drop what was asked for."""
        self._engine.stream.probes.forget()

    def memory(self) -> list[dict[str, Any]]:
        """The latent frames that the cache holds, oldest first."""
        return [{"age": kept.age, "sink": kept.sink, "bends": list(kept.bends)} for kept in self._engine.stream.kept]

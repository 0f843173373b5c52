"""What a surface may draw of the engine beyond its parameters: the network, the bends on it, the prompt's pieces and
which of them every bend holds, the snapshots, the set list, the modulators and what they give; and learning.

Read from any thread while the engine plays: every answer is made of things that are replaced, not changed.
"""

from __future__ import annotations

from typing import Any

from instrument.engine.engine import Engine
from instrument.engine.loading import MODEL
from instrument.mapping import rigdesk
from instrument.mapping.rig import Rig
from instrument.modulation.modspec import described
from instrument.state import patch as patches
from instrument.state import patchdesk
from pipelines.bends.bank import Bend
from pipelines.bends.lever import Lever, discover
from pipelines.recipes import RECIPES


class Portrait:
    """Of one engine and, where there is one, the rig that learns."""

    def __init__(self, engine: Engine, rig: Rig | None = None) -> None:
        self._engine, self._rig = engine, rig
        self._levers = [_lever(lever) for lever in discover().values()]
        self._kinds = described()

    def state(self) -> dict[str, Any]:
        """JSON-ready, by key; cheap enough for ten times a second."""
        engine = self._engine
        config, stream, prompt = engine.stream.model.config, engine.stream, engine.prompt
        return {
            "network": {
                "model": stream.recipe.name,
                "steps": stream.steps,
                "layers": config.num_layers,
                "heads": config.num_heads,
                "neurons": config.ffn_dim,
                "tokens": config.text_len,
            },
            "bends": [_bend(bend) for bend in stream.bank.bends],
            "levers": self._levers,
            "prompt": {"tokens": list(prompt.tokens), "offsets": [list(pair) for pair in prompt.offsets]}
            | {"text": prompt.text}
            if prompt
            else None,
            "held": stream.bank.held_tokens(),
            "apart": stream.bank.words_apart(),
            "idle": stream.bank.holding_nothing(),
            "snapshots": {str(slot): snapshot.name for slot, snapshot in engine.console.snapshots.copy().items()},
            "patch": {"name": engine.desk.playing.name, "list": engine.desk.names},
            "modulators": engine.console.rack.kinds.copy(),
            "kinds": self._kinds,
            "signals": {name: round(signal, 3) for name, signal in engine.console.rack.signals.copy().items()},
            "learn": self._rig.learner.status() if self._rig else None,
        }

    def learn(self, id: str | None) -> None:
        """Bind the next control touched to this parameter, in the first mapping of the player's own; None gives up.

        Raises UnknownParameter, LearnError.
        """
        if self._rig is None:
            raise ValueError("nothing can be learnt here: no MIDI is listened to")
        if id is None:
            self._rig.learner.disarm()
        else:
            self._rig.arm(id)

    def names(self, id: str) -> list[str]:
        """What may be written in a text parameter that is `listed`; reads a disk. Raises LookupError for any
        other."""
        known = {
            patchdesk.LOAD: lambda: patches.available(self._engine.desk.folder),
            rigdesk.LOAD: lambda: self._rig.available() if self._rig else [],
            MODEL: lambda: list(RECIPES),
        }
        if id not in known:
            raise LookupError(f"{id} has no list of names; there is one for {', '.join(known)}")
        return known[id]()


def _lever(lever: Lever) -> dict[str, Any]:
    return {"id": lever.id, "site": lever.site, "columns": lever.columns, "heads": lever.heads, "doc": lever.doc}


def _bend(bend: Bend) -> dict[str, Any]:
    """`acts`: the amounts of which one must be off its default for the bend to do anything."""
    lever = bend.lever
    amounts = {"main": lever.main, "amounts": list(lever.amounts), "acts": list(lever.fold.neutral)}
    return {"name": bend.name, "lever": lever.id, "site": lever.site, **amounts}

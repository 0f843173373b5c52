"""Hands for benches: every knob off neutral, or one that is turned all the while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from instrument.engine.engine import Engine
from pipelines.spec import ControlSpec

KNOB_TRAVEL = 0.6  # where every knob of a bent run stands: off neutral, and safely so
TURN_EVERY = 0.37  # seconds between two turns of the knob whose way to a frame is timed; no multiple of a chunk
ORIGIN = "bench"


def turn_all(engine: Engine) -> None:
    """Every knob of every bend that plays, off neutral."""
    for bend in engine.stream.bank.bends:
        for amount, spec in bend.lever.amounts.items():
            if isinstance(spec, ControlSpec):
                engine.params.set_normalised(f"{bend.name}.{amount}", KNOB_TRAVEL, ORIGIN)


@contextmanager
def turning(engine: Engine) -> Iterator[None]:
    """Meanwhile another thread turns the first bend's main knob to and fro; without bends, the mix of all."""
    over = threading.Event()
    hand = threading.Thread(target=_keep_turning, args=(engine, over), name="a hand", daemon=True)
    hand.start()
    try:
        yield
    finally:
        over.set()
        hand.join()


def _keep_turning(engine: Engine, over: threading.Event) -> None:
    bends = engine.stream.bank.bends
    knob = f"{bends[0].name}.{bends[0].lever.main}" if bends else "master.mix"
    travel = 0.5
    while not over.wait(TURN_EVERY):
        travel = 1.1 - travel
        engine.params.set_normalised(knob, travel, ORIGIN)

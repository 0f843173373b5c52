"""LFOs that are computed together: each as if it were alone, bit for bit, whatever is turned meanwhile."""

from __future__ import annotations

import random

import pytest

from instrument.modulation.oscillators import Lfos, Now
from instrument.modulation.waves import DRAWN, WAVES

SHAPES = [*WAVES, DRAWN]
TURNED = {
    "shape": lambda noise: noise.choice(SHAPES),
    "rate": lambda noise: noise.uniform(0.01, 9),
    "time": lambda noise: noise.choice(["seconds", "beats"]),
    "phase": lambda noise: noise.random(),
    "width": lambda noise: noise.random(),
    "polarity": lambda noise: noise.choice(["both", "up"]),
    "table": lambda noise: noise.choice(["0 1 -1", "1 0", "no table"]),
}


@pytest.mark.parametrize("seed", range(5))
def test_all_together_are_as_each_alone(seed):
    noise = random.Random(seed)
    names = [f"lfo{number}" for number in range(20)]
    values = {f"{name}.{field}": turn(noise) for name in names for field, turn in TURNED.items()}
    together, alone = Lfos(names, range(20)), [Lfos([name], [number]) for number, name in enumerate(names)]
    time = beat = 0.0
    for tick in range(100):
        elapsed = noise.uniform(0, 0.2)
        time, beat = time + elapsed, beat + 2 * elapsed
        for _ in range(noise.choice([0, 0, 1, 3])):
            name, (field, turn) = noise.choice(names), noise.choice(list(TURNED.items()))
            values[f"{name}.{field}"] = turn(noise)
        fired = [f"{noise.choice(names)}.restart"] if noise.random() < 0.1 else []
        now = Now(time, elapsed, beat, tick // 30, 0.5)
        assert together.signals(now, values, fired) == [each.signals(now, values, fired)[0] for each in alone]

"""Noise as an instrument: unit Gaussian fields that stand still, walk slowly, or flicker, and how noise bends fold.

One field serves all layers of a lever: each layer reads it from another offset, so that thirty layers cost one draw
and one buffer. Two layers see the same numbers in different places; at any one place they are independent. All numbers
come from one pool of unit normals, read from random offsets: a slice of a pool is far cheaper than a draw, and the
same seed makes the same noise on every device.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from pipelines.bends.fold import NOISE, BankShape, Buffers, Use, aligned, awake_layers, by_weight
from pipelines.bends.upload import Upload
from pipelines.spec import Value

VOICES = 4  # noises of one lever that can sound at once, each with its own seed and motion
SKETCH = 32  # random directions that stand for all keys where the map itself is shaken
_POOL = 2**21
_PIECE = 2**20  # read from one offset
_GRAIN = 8  # offsets are multiples of it: aligned reads are faster, and compiled code copies what is not


@lru_cache(maxsize=4)
def _pool(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Unit normals, the same on every device: mean 0 and variance 1 to the last digit."""
    numbers = torch.randn(_POOL, generator=torch.Generator().manual_seed(20_19))
    numbers = (numbers - numbers.mean()) / numbers.std(correction=0)
    return numbers.to(device, dtype)


class NoiseField:
    """Unit noise [layers][repeats, rows, width], advanced once a pass: e_t = sqrt(1 - m^2) e_(t-1) + m fresh."""

    def __init__(self, size: tuple[int, int, int], layers: int, salt: int, like: Tensor) -> None:
        """`size` is (repeats, rows, width); `salt` keeps fields of the same seed apart (one lever's noise from
        another's); `like` gives device and dtype. Repeats, as layers, read the same numbers from other offsets."""
        self.size, self.salt = size, salt
        repeats, rows, width = size
        self._step = stride(rows, width)
        self._strides = self._step * layers, width, 1
        # A slow walk changes by less than half precision can tell: its variance would grow or shrink without end.
        count = rows * width + (layers * repeats - 1) * self._step
        self._walk = torch.zeros(count, device=like.device)
        self._heard = self._walk if like.dtype == torch.float32 else self._walk.to(like.dtype, copy=True)
        _pool(like.device, self._walk.dtype)  # made now, for the first turn of a knob would wait for it
        self._random = random.Random()
        self._seed: int | None = None

    def reset(self) -> None:
        """The next advance starts the walk afresh from its seed."""
        self._seed = None

    def advance(self, seed: int, motion: float) -> None:
        """One pass onward; a new seed starts the walk afresh."""
        if seed != self._seed:
            self._seed = seed
            self._random.seed(f"{seed} {self.salt}")
            self._add_fresh(0.0, math.sqrt(0.5))  # two slices, so that no two seeds are likely to meet
            self._add_fresh(1.0, math.sqrt(0.5))
        elif motion == 0.0:
            return
        else:
            self._add_fresh(math.sqrt(1.0 - motion * motion), motion)
        if self._heard is not self._walk:
            self._heard.copy_(self._walk)

    def layer(self, index: int) -> Tensor:
        """The field as one layer sees it, [repeats, rows, width]: a view whose address never changes."""
        return self._heard.as_strided(self.size, self._strides, index * self._step)

    def _add_fresh(self, keep: float, add: float) -> None:
        """walk = keep * walk + add * fresh unit noise."""
        pool = _pool(self._walk.device, self._walk.dtype)
        for part in self._walk.split(_PIECE):
            start = _GRAIN * self._random.randrange((_POOL - len(part)) // _GRAIN + 1)
            fresh = pool[start : start + len(part)]
            part.mul_(keep).add_(fresh, alpha=self._random.choice((-add, add)))


def stride(rows: int, width: int) -> int:
    """From one layer's numbers to the next one's in a field [rows, width]: so that no row of one layer or repeat is a
    row of another, and rows begin where whole words can be read."""
    step = rows
    while math.gcd(step, width) > 1:
        step += 1
    return _GRAIN * step


class _Voices:
    """Up to VOICES unit noises with their own seed and motion, and the strength of each per layer, head and column.

    Bends of equal seed and motion speak with one voice, in which their variances add. Where there are more different
    ones than voices, those left over join the last voice, with its seed and motion.
    """

    def __init__(self, name: str, shape: BankShape, sizes: tuple[int, int], fields: Sequence[Fields]) -> None:
        self.name, self.fields = name, tuple(fields)
        size = (shape.layers, len(self.fields), *sizes)
        self.variance = torch.zeros(size)
        self.strength = aligned(size, shape)
        self._upload = Upload(self.strength)
        self.awake = [False] * shape.layers
        self.notices: list[str] = []
        self._fixed = shape.fixed
        self.voices = list(range(len(self.fields))) if shape.fixed else []  # those that are carried out
        self._moving: dict[int, Manner] = {}  # voice -> seed and motion
        self._cast: list[_Part | None] = [None] * len(self.fields)

    def reset(self) -> None:
        self._cast = [None] * len(self.fields)
        for voice in self.fields:
            voice.reset()

    def write(self, uses: Sequence[Use]) -> None:
        self.variance.zero_()
        voices = self._give_parts(uses)
        heard = [use for use in uses if use.heard(float(use.amounts[self.name]) == 0.0)]
        for index, group in by_weight(heard):
            for weight, i in group:
                own = (weight * float(heard[i].amounts[self.name]) * heard[i].place).square()
                self.variance[index, voices[_manner(heard[i])]] += own
        self._upload(self.variance.sqrt())
        sounding = {voices[_manner(use)] for use in heard}
        self._moving = {v: part.manner for v, part in enumerate(self._cast) if part is not None and v in sounding}
        self.awake[:] = awake_layers(heard, len(self.awake))
        if not self._fixed:
            self.voices[:] = sorted(self._moving)

    def _give_parts(self, uses: Sequence[Use]) -> dict[Manner, int]:
        """Seed and motion -> voice. A voice stays with its seed and motion, or else with its bends when theirs are
        turned, so that a walk goes on whatever is turned elsewhere and whichever step it is."""
        wanted: dict[Manner, set[int]] = {}
        for index, use in enumerate(uses):
            if use.on and float(use.amounts[self.name]) != 0.0 and bool(use.place.any()):
                wanted.setdefault(_manner(use), set()).add(index)
        cast: list[_Part | None] = [None] * len(self.fields)
        for goes_on in (lambda part, manner: part.manner == manner, lambda part, manner: part.bends & wanted[manner]):
            for voice, part in enumerate(self._cast):
                given = [own.manner for own in cast if own is not None]
                for manner in wanted:
                    if part and cast[voice] is None and manner not in given and goes_on(part, manner):
                        cast[voice] = _Part(manner, wanted[manner])
                        break
        given = {own.manner for own in cast if own is not None}
        waiting = [manner for manner in wanted if manner not in given]
        for voice, own in enumerate(cast):
            if own is None and waiting:
                cast[voice] = _Part(waiting[0], wanted[waiting.pop(0)])
        self._cast = cast
        many = f"{len(wanted)} different seeds and motions at once; those beyond {len(cast)} join the last"
        self.notices = [many] if waiting else []
        voices = {own.manner: voice for voice, own in enumerate(cast) if own is not None}
        return voices | {manner: len(cast) - 1 for manner in waiting}

    def advance(self) -> None:
        for voice, manner in self._moving.items():
            self.fields[voice].advance(*manner)

    def layer(self, index: int) -> dict[str, Any]:
        names = self.fields[0].layer(index)
        epsilon = {name: tuple(voice.layer(index)[name] for voice in self.fields) for name in names}
        return {self.name: self.strength[index], **epsilon, "voices": self.voices}


class Manner(NamedTuple):
    """What tells one voice from another."""

    seed: int
    motion: float


class _Part(NamedTuple):
    """What a voice speaks: a seed and motion, for these bends."""

    manner: Manner
    bends: set[int]


def _manner(use: Use) -> Manner:
    return Manner(int(use.amounts["seed"]), float(use.amounts["motion"]))


class Fields:
    """The noise fields that one voice needs, by the lever function's keyword."""

    def __init__(self, fields: dict[str, NoiseField]) -> None:
        self.fields = fields

    def reset(self) -> None:
        for field in self.fields.values():
            field.reset()

    def advance(self, seed: int, motion: float) -> None:
        for name, field in self.fields.items():
            # Signs that walked beside the noise they spread would make it forget twice as fast.
            field.advance(seed, motion if name != "signs" or motion == 1.0 else 0.0)

    def layer(self, index: int) -> dict[str, Tensor]:
        return {name: field.layer(index) for name, field in self.fields.items()}


Rows = Literal["tokens", "keys", "text"]
Width = Literal["dim", "ffn_dim"]


@dataclass(frozen=True)
class _OneNoise:
    """What folds of noise have in common: the amounts `name`, `seed` and `motion`."""

    name: str
    rank: ClassVar[int] = NOISE

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.name, *Manner._fields)

    @property
    def neutral(self) -> Mapping[str, Value]:
        return {self.name: 0.0}

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.name, "epsilon", "voices")

    def is_neutral(self, amounts: Mapping[str, Value]) -> bool:
        return float(amounts[self.name]) == 0.0


@dataclass(frozen=True)
class Noises(_OneNoise):
    """Noises whose variances add, shaped as the tensor they disturb: `epsilon`, a tuple of unit noises
    [repeats, rows, width], their strengths [n, heads, columns], and `voices`, those of them to carry out. `rows` and
    `width` name sizes of the network; the latent frames of a chunk or of the cache repeat one frame's places."""

    rows: Rows
    width: Width

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        rows = {
            "tokens": (shape.grid[0], shape.places),
            "keys": (shape.keys // shape.places, shape.places),
            "text": (1, shape.text_len),
        }[self.rows]
        size = (*rows, {"dim": shape.dim, "ffn_dim": shape.ffn_dim}[self.width])
        made = [_fields(shape, salt + _APART * voice, epsilon=size) for voice in range(min(count, VOICES))]
        return _Voices(self.name, shape, sizes, made)


@dataclass(frozen=True)
class MapNoises(_OneNoise):
    """Noises of the attention map, as a sketch over m random directions: `epsilon`, a tuple of unit noises
    [1, heads * tokens, m], and `signs`, a tuple of unit noises [1, 1, rounds] with one number for every m keys. `keys`
    names how many of them there are."""

    keys: Rows

    @property
    def gives(self) -> tuple[str, ...]:
        return (*super().gives, "signs")

    def allocate(self, shape: BankShape, sizes: tuple[int, int], count: int, salt: int) -> Buffers:
        keys = {"keys": shape.keys, "text": shape.text_len}[self.keys]
        width = sketch_width(keys)
        epsilon, signs = (1, shape.heads * shape.tokens, width), (1, 1, -(-keys // width))
        salts = [salt + _APART * voice for voice in range(min(count, VOICES))]
        made = [_fields(shape, own, epsilon=epsilon, signs=signs) for own in salts]
        return _Voices(self.name, shape, sizes, made)


_APART = 1 << 40  # between the salts of two voices, whose noises differ even where their seeds do not


def _fields(shape: BankShape, salt: int, **sizes: tuple[int, int, int]) -> Fields:
    like = torch.empty(0, dtype=shape.dtype, device=shape.device)
    made = enumerate(sizes.items())
    return Fields({name: NoiseField(size, shape.layers, salt + offset, like) for offset, (name, size) in made})


def sketch_width(keys: int) -> int:
    """How many directions stand for so many keys: all of them where they are few, else a multiple of eight (which
    matrix units want) that divides them, if there is one of the right size."""
    if keys <= SKETCH:
        return keys
    return next((m for m in (SKETCH, SKETCH - 8, SKETCH // 2) if keys % m == 0), SKETCH)

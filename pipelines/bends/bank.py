"""The bank: every bend of a patch folded into fixed tensors that the network reads.

Values are written at any time from any thread (`write`); before each pass the stream folds them for that denoising
step (`fold`). Only which levers occur is structure, fixed when the bank is made. Amounts, scopes and words are data.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pipelines.bends import scope as scopes
from pipelines.bends.fold import BankShape, Use
from pipelines.bends.hooks import Act, LayerBends
from pipelines.bends.lever import Lever
from pipelines.bends.scope import Scope, ScopeError, Span, Words
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, Value

CACHE_PASS = None  # the step of the clean pass that writes the cache
MASTER = "master.mix"


@dataclass(frozen=True)
class Bend:
    """One named use of a lever. `persist` "cache": it also acts in the cache pass, and later chunks remember it."""

    name: str
    lever: Lever
    scope: Scope = field(default_factory=Scope)
    persist: Literal["cache", "transient"] = "cache"

    def parameters(self, steps: int, layers: int) -> dict[str, Spec]:
        """Everything a hand can move of this bend, by id."""
        own: dict[str, Spec] = dict(self.lever.amounts)
        own["on"] = SwitchSpec(True, "off mutes this bend")
        own.update(_span("steps", self.scope.steps, steps, "denoising steps, 0 the noisiest"))
        own.update(_span("layers", self.scope.layers, layers, "transformer blocks"))
        if self.lever.columns == "tokens":
            own["tokens"] = TextSpec(self.scope.tokens, "words of the prompt, index ranges, prompt, or all")
        if self.lever.columns == "neurons":
            own["neurons"] = TextSpec(self.scope.neurons, "index ranges, or all")
            band = self.scope.band
            own["band.center"] = ControlSpec(0, 1, band.center, doc="centre of a band of neurons")
            own["band.width"] = ControlSpec(0, 1, band.width, doc="width of the band; 1 is all")
            own["band.feather"] = ControlSpec(0, 1, band.feather, doc="softness of the band's edges")
        if self.lever.heads:
            own["heads"] = TextSpec(self.scope.heads, "head ranges, or all")
        own["persist"] = ChoiceSpec(("cache", "transient"), self.persist, "whether later chunks remember it")
        return {f"{self.name}.{field_name}": spec for field_name, spec in own.items()}


def _span(name: str, span: Span | None, count: int, doc: str) -> dict[str, Spec]:
    last = max(count - 1, 1)
    span = (span or Span.of(0, count - 1)).within(last)
    return {
        f"{name}.center": ControlSpec(0, last, span.center, doc=f"middle of the {doc}"),
        f"{name}.width": ControlSpec(0, last, span.width, doc=f"how many {doc}, beyond the middle one"),
        f"{name}.feather": ControlSpec(0, last, span.feather, doc="softness of the window's edges"),
    }


def parameters_of(bends: Sequence[Bend], steps: int, layers: int) -> dict[str, Spec]:
    """Every parameter of these bends on a network of so many layers, by id, and the master fader."""
    found: dict[str, Spec] = {}
    for bend in bends:
        found.update(bend.parameters(steps, layers))
    found[MASTER] = ControlSpec(0, 1, 1, doc="all bends toward neutral")
    return found


class Bank:
    """All bends of a patch, as the tensors one network reads."""

    def __init__(self, bends: Sequence[Bend], shape: BankShape, steps: int) -> None:
        """Raises ValueError when two bends share a name."""
        names = [bend.name for bend in bends]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two bends are named '{name}'; a bend's name is its address, so make them differ")
        self.bends, self.shape, self.steps = tuple(bends), shape, steps
        self._values: Mapping[str, Value] = self.defaults()
        self._words = Words("", (), shape.text_len)
        by_lever: dict[str, list[Bend]] = {}
        for bend in bends:
            by_lever.setdefault(bend.lever.id, []).append(bend)
        self._groups = tuple(_Group(tuple(group), shape) for group in by_lever.values())
        self.layers = tuple(self._slice(index) for index in range(shape.layers))
        self.fold(0)

    def parameters(self) -> dict[str, Spec]:
        """Every parameter of every bend, by id, and the master fader where there are bends."""
        return parameters_of(self.bends, self.steps, self.shape.layers)

    def defaults(self) -> dict[str, Value]:
        return {name: spec.default for name, spec in self.parameters().items()}

    def write(self, values: Mapping[str, Value]) -> None:
        """The latest values by id; ids this bank does not have are ignored, missing ones keep their last value."""
        self._values = {**self._values, **values}

    def read_prompt(self, words: Words) -> None:
        """A new prompt: token scopes are found in it from the next fold on."""
        self._words = words

    def reset(self) -> None:
        """Noise walks start again from their seeds."""
        for group in self._groups:
            group.reset()

    def fold(self, step: int | None) -> None:
        """Fold the latest values for one pass: a step index, or CACHE_PASS."""
        values = self._values
        for group in self._groups:
            group.fold(values, step, self._words)

    def report(self) -> list[str]:
        """What a player should know: words that the prompt does not have, scopes that cannot be read."""
        return [notice for group in self._groups for notice in group.notices()]

    def held_tokens(self) -> dict[str, list[int]]:
        """Per token-scoped bend, the indices of the prompt's tokens it holds."""
        held: dict[str, list[int]] = {}
        for group in self._groups:
            held.update(group.held_tokens())
        return held

    def _slice(self, layer: int) -> LayerBends:
        points: dict[str, list[_Group]] = {}
        for group in self._groups:
            points.setdefault(group.lever.point, []).append(group)
        return LayerBends(
            {
                point: tuple(Act(g.lever.apply, g.buffers.layer(layer)) for g in sorted(groups, key=_rank))
                for point, groups in points.items()
            }
        )


def _rank(group: _Group) -> int:
    return group.lever.fold.rank


class _Group:
    """All bends of one lever, folded together; refolded only when something they depend on has changed."""

    def __init__(self, bends: tuple[Bend, ...], shape: BankShape) -> None:
        self.bends, self.shape = bends, shape
        self.lever = bends[0].lever
        columns = {"tokens": shape.text_len, "neurons": shape.ffn_dim, None: 1}[self.lever.columns]
        sizes = (shape.heads if self.lever.heads else 1, columns)
        self.buffers = self.lever.fold.allocate(shape, sizes, len(bends), zlib.crc32(self.lever.id.encode()))
        self._places = [_Place(bend, sizes, shape.device) for bend in bends]
        self._folded: tuple | None = None

    def reset(self) -> None:
        self._folded = None
        self.buffers.reset()

    def fold(self, values: Mapping[str, Value], step: int | None, words: Words) -> None:
        for place in self._places:
            place.update(values, words)
        amounts = [self._amounts(bend, values) for bend in self.bends]
        layers = [self._layer_weights(bend, values, step) for bend in self.bends]
        key = (
            tuple(tuple(own.values()) for own in amounts),
            tuple(layers),
            tuple(place.version for place in self._places),
        )
        if key == self._folded and not self.buffers.alive:
            return
        self._folded = key
        self.buffers.write(
            [
                Use(own, weights, place.heads, place.columns)
                for own, weights, place in zip(amounts, layers, self._places, strict=True)
            ]
        )

    def notices(self) -> list[str]:
        return [place.notice for place in self._places if place.notice]

    def held_tokens(self) -> dict[str, list[int]]:
        if self.lever.columns != "tokens":
            return {}
        return {place.bend.name: place.columns.nonzero().flatten().tolist() for place in self._places}

    def _amounts(self, bend: Bend, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: values[f"{bend.name}.{name}"] for name in self.lever.amounts}

    def _layer_weights(self, bend: Bend, values: Mapping[str, Value], step: int | None) -> tuple[float, ...]:
        name = bend.name
        if step is CACHE_PASS:
            at_step = 1.0 if values[f"{name}.persist"] == "cache" else 0.0
        else:
            at_step = _read_span(values, f"{name}.steps").weight(step)
        at_step *= float(values[MASTER]) * bool(values[f"{name}.on"])
        span = _read_span(values, f"{name}.layers")
        return tuple(at_step * weight for weight in span.weights(self.shape.layers))


def _read_span(values: Mapping[str, Value], name: str) -> Span:
    return Span(*(float(values[f"{name}.{part}"]) for part in ("center", "width", "feather")))


class _Place:
    """The heads and columns one bend holds, as weights on the device; rebuilt when its scope or the prompt changes."""

    def __init__(self, bend: Bend, sizes: tuple[int, int], device: torch.device) -> None:
        self.bend, self.sizes, self.device = bend, sizes, device
        self.heads = torch.zeros(sizes[0], device=device)  # nothing, until a scope could be read
        self.columns = torch.zeros(sizes[1], device=device)
        self.version = 0
        self.notice = ""
        self._key: tuple | None = None

    def update(self, values: Mapping[str, Value], words: Words) -> None:
        name, lever = self.bend.name, self.bend.lever
        own = [values[f"{name}.{part}"] for part in _place_fields(lever)]
        key = (tuple(own), words.text if lever.columns == "tokens" else "")
        if key == self._key:
            return
        self._key = key
        try:
            heads, columns = self._weights(values, words)
        except ScopeError as error:  # typed live: the last scope that could be read stays
            self.notice = f"{name}: {error}"
            return
        self.heads, self.columns = self._tensor(heads), self._tensor(columns)
        self.version += 1

    def _weights(self, values: Mapping[str, Value], words: Words) -> tuple[list[float], list[float]]:
        name, lever = self.bend.name, self.bend.lever
        heads, columns = [1.0], [1.0]
        notice = ""
        if lever.heads:
            heads = scopes.ranges(str(values[f"{name}.heads"]), self.sizes[0], "head")
        if lever.columns == "tokens":
            text = str(values[f"{name}.tokens"])
            columns = scopes.tokens(text, words)
            absent = scopes.missing(text, words) if words.text else []
            if absent:
                notice = f"{name}: the prompt has no {', '.join(repr(word) for word in absent)}"
        elif lever.columns == "neurons":
            chosen = scopes.ranges(str(values[f"{name}.neurons"]), self.sizes[1], "neuron")
            soft = scopes.band(_read_span(values, f"{name}.band"), self.sizes[1])
            columns = [a * b for a, b in zip(chosen, soft, strict=True)]
        self.notice = notice
        return heads, columns

    def _tensor(self, weights: Sequence[float]) -> Tensor:
        return torch.tensor(weights, dtype=torch.float32).to(self.device)


def _place_fields(lever: Lever) -> tuple[str, ...]:
    fields = ("heads",) if lever.heads else ()
    if lever.columns == "tokens":
        return (*fields, "tokens")
    if lever.columns == "neurons":
        return (*fields, "neurons", "band.center", "band.width", "band.feather")
    return fields

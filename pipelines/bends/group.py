"""All bends of one lever, from values to folded buffers; refolded only when something they depend on has moved."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

import torch

from pipelines.bends import scope as scopes
from pipelines.bends.fold import BankShape, Use
from pipelines.bends.lever import Lever
from pipelines.bends.scope import ScopeError, Span, Words
from pipelines.spec import Value

if TYPE_CHECKING:
    from pipelines.bends.bank import Bend

MASTER = "master.mix"


class Group:
    """The bends of one form of one lever, and the buffers they fold into."""

    def __init__(self, form: Lever, bends: tuple[Bend, ...], shape: BankShape) -> None:
        self.form, self.bends = form, bends
        columns = {"tokens": shape.text_len, "neurons": shape.ffn_dim, None: 1}[form.columns]
        sizes = (shape.heads if form.heads else 1, columns)
        self.buffers = form.fold.allocate(shape, sizes, len(bends), zlib.crc32(form.id.encode()))
        self._hands = [_Hand(bend, sizes, shape.layers) for bend in bends]
        self._layers: list[Sequence[float]] = []
        self.working: frozenset[str] = frozenset()  # the bends that did something in the pass last folded

    def reset(self) -> None:
        self.buffers.reset()
        self._layers = []  # the next fold writes everything anew

    def fold(self, values: Mapping[str, Value], step: int | None, words: Words) -> None:
        """Bring the buffers up to date for one pass of this step (None: the cache pass)."""
        moved = [hand.update(values, words) for hand in self._hands]
        layers = [hand.layers(step) for hand in self._hands]
        if any(moved) or layers != self._layers:
            self._layers = layers
            pairs = list(zip(self._hands, layers, strict=True))
            self.working = frozenset(h.bend.name for h, weights in pairs if h.acts(weights))
            self.buffers.write([Use(h.amounts, weights, h.heads, h.columns, h.on) for h, weights in pairs])
        self.buffers.advance()

    def notices(self) -> list[str]:
        own = [hand.notice for hand in self._hands if hand.notice]
        return own + [f"{self.form.id}: {notice}" for notice in self.buffers.notices]

    def held_tokens(self) -> dict[str, list[int]]:
        if self.form.columns != "tokens":
            return {}
        return {hand.bend.name: hand.columns.nonzero().flatten().tolist() for hand in self._hands}

    def words_apart(self) -> dict[str, dict[str, bool]]:
        return {hand.bend.name: hand.apart for hand in self._hands if hand.apart}

    def holding_nothing(self) -> list[str]:
        return [hand.bend.name for hand in self._hands if not hand.holds]


class _Hand:
    """One bend's values, read: its amounts, its weights per step and layer, and the heads and columns it holds."""

    def __init__(self, bend: Bend, sizes: tuple[int, int], layers: int) -> None:
        self.bend, self._sizes, self._count = bend, sizes, layers
        self.heads, self.columns = torch.zeros(sizes[0]), torch.zeros(sizes[1])  # nothing, until a scope could be read
        self.amounts: dict[str, Value] = {}
        self.on, self.holds, self._neutral = True, False, True
        self.notice = ""
        self.apart: dict[str, bool] = {}  # see Bank.words_apart
        self._readable: Mapping[str, Value] | None = None  # the last values that the place could be read from
        name, lever = bend.name, bend.lever
        self._places = [f"{name}.{part}" for part in _place_fields(lever)]
        spans = [f"{name}.{axis}.{part}" for axis in ("steps", "layers") for part in ("center", "width", "feather")]
        amounts = [f"{name}.{amount}" for amount in lever.amounts]
        self._get = itemgetter(MASTER, f"{name}.on", f"{name}.persist", *spans, *amounts, *self._places)
        self._own: tuple = ()
        self._place: tuple = ()
        self._weights: dict[int | None, tuple[float, ...]] = {}

    def update(self, values: Mapping[str, Value], words: Words) -> bool:
        """Read the values that changed; whether any did."""
        own = self._get(values)
        place = (tuple(values[id] for id in self._places), words if self.bend.lever.columns == "tokens" else None)
        if own == self._own and place == self._place:
            return False
        if place != self._place:
            self._place = place
            self._read_place(values, words)
        self._own = own
        self.amounts = {amount: values[f"{self.bend.name}.{amount}"] for amount in self.bend.lever.amounts}
        self._values = values
        self.on = bool(values[f"{self.bend.name}.on"]) and float(values[MASTER]) > 0
        self._neutral = self.bend.lever.fold.is_neutral(self.amounts)
        self._weights.clear()
        return True

    def acts(self, weights: Sequence[float]) -> bool:
        """Whether the bend does anything in a pass that weighs the layers so."""
        return self.holds and not self._neutral and any(weights)

    def layers(self, step: int | None) -> tuple[float, ...]:
        """Weights in 0..1 per layer in a pass of this step."""
        if step not in self._weights:
            self._weights[step] = self._layers(step)
        return self._weights[step]

    def _layers(self, step: int | None) -> tuple[float, ...]:
        name, values = self.bend.name, self._values
        if step is None:
            at_step = 1.0 if values[f"{name}.persist"] == "cache" else 0.0
        else:
            at_step = _read_span(values, f"{name}.steps").weight(step)
        at_step *= float(values[MASTER]) * bool(values[f"{name}.on"])
        return tuple(at_step * weight for weight in _read_span(values, f"{name}.layers").weights(self._count))

    def _read_place(self, values: Mapping[str, Value], words: Words) -> None:
        """Find the heads and columns; what cannot be read leaves the last scope that could, in the prompt there is."""
        try:
            self.notice = self._find(values, words)
            self._readable = values
        except ScopeError as error:  # typed live
            if self._readable is not None:
                self._find(self._readable, words)
            self.notice = f"{self.bend.name}: {error}"

    def _find(self, values: Mapping[str, Value], words: Words) -> str:
        """Set the heads and columns; a notice for what is not in the prompt. Raises ScopeError; then nothing is set."""
        name, lever = self.bend.name, self.bend.lever
        heads, columns, notice, apart = [1.0], [1.0], "", {}
        if lever.heads:
            heads = scopes.ranges(str(values[f"{name}.heads"]), self._sizes[0], "head")
        if lever.columns == "tokens":
            text = str(values[f"{name}.tokens"])
            columns = scopes.tokens(text, words)
            absent = scopes.missing(text, words) if words.said else []
            loudest = words._replace(others=())
            apart = {word: word not in absent for word in scopes.missing(text, loudest)} if words.said else {}
            notice = f"{name}: the prompt has no {', '.join(repr(word) for word in absent)}" if absent else ""
        elif lever.columns == "neurons":
            chosen = scopes.ranges(str(values[f"{name}.neurons"]), self._sizes[1], "neuron")
            soft = scopes.band(_read_span(values, f"{name}.band"), self._sizes[1])
            columns = [a * b for a, b in zip(chosen, soft, strict=True)]
        self.heads, self.columns = torch.tensor(heads), torch.tensor(columns)
        self.holds = any(heads) and any(columns)
        self.apart = apart
        return notice


def _read_span(values: Mapping[str, Value], name: str) -> Span:
    return Span(*(float(values[f"{name}.{part}"]) for part in ("center", "width", "feather")))


def _place_fields(lever: Lever) -> tuple[str, ...]:
    fields = ("heads",) if lever.heads else ()
    if lever.columns == "tokens":
        return (*fields, "tokens")
    if lever.columns == "neurons":
        return (*fields, "neurons", "band.center", "band.width", "band.feather")
    return fields

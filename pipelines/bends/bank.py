"""The bank: every bend of a patch folded into fixed tensors that the network reads.

Values are written at any time from any thread (`write`); before each pass the stream folds them for that denoising
step (`fold`). Only which levers occur is structure, fixed when the bank is made. Amounts, scopes and words are data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from pipelines.bends.fold import BankShape
from pipelines.bends.group import MASTER, Group
from pipelines.bends.hooks import Act, LayerBends
from pipelines.bends.lever import Lever
from pipelines.bends.scope import Scope, Span, Words
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec, Value

CACHE_PASS = None  # the step of the clean pass that writes the cache


@dataclass(frozen=True)
class Bend:
    """One named use of a lever.

    `persist` "cache": it also acts in the cache pass, and later chunks remember it. `renormalize`: the map's rows are
    divided by their new sum. ValueError where the lever has no such form, or is only the name of one.
    """

    name: str
    lever: Lever
    scope: Scope = field(default_factory=Scope)
    persist: Literal["cache", "transient"] = "cache"
    renormalize: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.lever, Lever):
            wanted = self.lever if isinstance(self.lever, str) else "cross.map.gain"
            raise ValueError(f"bend '{self.name}': {self.lever!r} is not a Lever; give discover()['{wanted}']")
        if self.renormalize and self.lever.renormalised is None:
            raise ValueError(f"lever '{self.lever.id}' cannot renormalize; take that line away")

    @property
    def form(self) -> Lever:
        """The lever in the form that this bend uses."""
        return self.lever.renormalised if self.renormalize and self.lever.renormalised else self.lever

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
    """Every parameter of these bends on a network of so many layers, by id, and the master fader. Raises ValueError
    when two bends share a name."""
    names = [bend.name for bend in bends]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two bends are named '{name}'; a bend's name is its address, so make them differ")
    found: dict[str, Spec] = {}
    for bend in bends:
        found.update(bend.parameters(steps, layers))
    found[MASTER] = ControlSpec(0, 1, 1, doc="all bends toward neutral")
    return found


class Bank:
    """All bends of a patch, as the tensors one network reads."""

    def __init__(self, bends: Sequence[Bend], shape: BankShape, steps: int, like: Bank | None = None) -> None:
        """Levers whose bends are the same in `like`, a bank of the same shape, are taken over as they are: buffers and
        noise walks go on. Raises ValueError when two bends share a name, or when a lever does not fit the shape."""
        self.bends, self.shape, self.steps = tuple(bends), shape, steps
        self._values: Mapping[str, Value] = self.defaults()
        self._words = Words("", (), shape.text_len, said=False)
        by_form: dict[tuple[str, bool], list[Bend]] = {}
        for bend in bends:
            by_form.setdefault((bend.lever.id, bend.renormalize), []).append(bend)
        kept = like._groups if like is not None and like.shape == shape else ()
        self._groups = tuple(_group(tuple(group), shape, kept) for group in by_form.values())
        self.layers = tuple(self._slice(index) for index in range(shape.layers))
        for group in self._groups:
            if group not in kept:  # those may be playing
                group.fold(self._values, 0, self._words)

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
        values, words = self._values, self._words  # one state for all, whatever is written meanwhile
        for group in self._groups:
            group.fold(values, step, words)

    def report(self) -> list[str]:
        """What a player should know: words that the prompt does not have, scopes that cannot be read."""
        return [notice for group in self._groups for notice in group.notices()]

    def working(self) -> frozenset[str]:
        """The bends that do something in the pass last folded: off neutral, not muted, and in scope."""
        return frozenset().union(*(group.working for group in self._groups))

    def held_tokens(self) -> dict[str, list[int]]:
        """Per token-scoped bend, the indices of the prompt's tokens it holds."""
        held: dict[str, list[int]] = {}
        for group in self._groups:
            held.update(group.held_tokens())
        return held

    def words_apart(self) -> dict[str, dict[str, bool]]:
        """Per bend the words of its scope that the loudest prompt lacks, where there are any; True where another
        prompt that sounds has them."""
        found: dict[str, dict[str, bool]] = {}
        for group in self._groups:
            found.update(group.words_apart())
        return found

    def holding_nothing(self) -> list[str]:
        """The bends whose scope has no token, no neuron or no head in it, so that they do nothing."""
        return [name for group in self._groups for name in group.holding_nothing()]

    def scope_of(self, bend: str) -> str:
        """The token scope of a bend that has one, as it stands now."""
        return str(self._values[f"{bend}.tokens"])

    @property
    def nbytes(self) -> int:
        """What the bank keeps in memory, walks and matrices that levers do not read included."""
        storages: dict[int, int] = {}
        for group in self._groups:
            _gather(group.buffers, storages)
        return sum(storages.values())

    def _slice(self, layer: int) -> LayerBends:
        points: dict[str, list[Group]] = {}
        for group in self._groups:
            points.setdefault(group.form.point, []).append(group)
        acts = {
            point: tuple(_act(group, layer) for group in sorted(groups, key=_order)) for point, groups in points.items()
        }
        return LayerBends(acts, self.shape.fixed)


def _group(bends: tuple[Bend, ...], shape: BankShape, kept: Sequence[Group]) -> Group:
    """The one of these bends, out of `kept` if it is there."""
    return next((group for group in kept if group.bends == bends), None) or Group(bends[0].form, bends, shape)


def _order(group: Group) -> tuple[int, bool]:
    """Gain, threshold, noise; among equals those that renormalise last."""
    return group.form.fold.rank, group.bends[0].renormalize


def _act(group: Group, layer: int) -> Act:
    return Act(group.form.id, group.form.apply, group.buffers.layer(layer), group.buffers.awake, layer)


def _gather(thing: Any, storages: dict[int, int]) -> None:
    """Every tensor's storage in here, by address."""
    if isinstance(thing, Tensor):
        storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    elif isinstance(thing, dict):
        _gather(tuple(thing.values()), storages)
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            _gather(item, storages)
    elif type(thing).__module__.startswith("pipelines."):
        _gather(vars(thing), storages)

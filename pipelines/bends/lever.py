"""A lever: one kind of intervention, declared once.

Writing a lever is writing one function in one file of `pipelines/bends/levers/`. The decorator says where in the
network it acts, which amounts a hand can turn, what it can be scoped to, and how several bends of it fold into one
set of tensors. Address, patch key, control, docs row and tests follow from that declaration.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipelines.bends.fold import Fold
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec

Columns = Literal["tokens", "neurons"]
AmountSpec = ControlSpec | SwitchSpec | ChoiceSpec


@dataclass(frozen=True)
class Lever:
    """One kind of intervention at one site.

    `point` is where `apply` is called: `<site>.q|v|share|columns|map|out` at the attention sites, `ffn.in|hidden|out`.
    `columns` says what its scope can select beyond steps and layers; `heads` whether it can be scoped to heads.
    `renormalised` is the same lever for bends that ask for rows which still sum to one; None where that means nothing.
    """

    id: str
    point: str
    apply: Callable[..., Any]
    fold: Fold
    amounts: dict[str, AmountSpec]
    columns: Columns | None
    heads: bool
    doc: str
    renormalised: Lever | None = None

    @property
    def site(self) -> str:
        return self.id.split(".", 1)[0]

    @property
    def main(self) -> str:
        """The amount a controller's first knob turns."""
        return next(iter(self.amounts))


def lever(
    name: str,
    *,
    at: dict[str, str],
    fold: Fold,
    amounts: dict[str, AmountSpec],
    columns: dict[str, Columns] | None = None,
    heads: bool = False,
    renormalised: tuple[str, Callable[..., Any]] | None = None,
) -> Callable[[Callable[..., Any]], tuple[Lever, ...]]:
    """Declare a function as the lever `<site>.<name>` at every site of `at` (site -> hook point).

    `columns` says, per site, what the scope can select: the prompt's tokens or the hidden neurons. `renormalised`,
    a hook point and a function, takes the function's place in bends with `renormalize: true`.
    """
    per_site = columns or {}

    def declare(apply: Callable[..., Any]) -> tuple[Lever, ...]:
        doc = " ".join((apply.__doc__ or "").split())
        made = []
        for site, point in at.items():
            plain = Lever(f"{site}.{name}", point, apply, fold, amounts, per_site.get(site), heads, doc)
            other = replace(plain, point=renormalised[0], apply=renormalised[1]) if renormalised else None
            made.append(replace(plain, renormalised=other))
        return tuple(made)

    return declare


def discover() -> dict[str, Lever]:
    """Every lever declared in `pipelines/bends/levers/`, by id, in a stable order."""
    from pipelines.bends import levers

    found: dict[str, Lever] = {}
    for module in sorted(pkgutil.iter_modules(levers.__path__), key=lambda info: info.name):
        declared = vars(importlib.import_module(f"{levers.__name__}.{module.name}")).values()
        for family in declared:
            if isinstance(family, tuple) and family and all(isinstance(item, Lever) for item in family):
                found.update((item.id, item) for item in family)
    return dict(sorted(found.items()))

"""A lever: one kind of intervention, declared once.

Writing a lever is writing one function in one file of `pipelines/bends/levers/`. The decorator says where in the
network it acts, which amounts a hand can turn, what it can be scoped to, and how several bends of it fold into one
set of tensors. Address, patch key, control, docs row and tests follow from that declaration.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipelines.bends.fold import Fold
from pipelines.refusal import Refusal
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec

Columns = Literal["tokens", "neurons"]
POINTS = (  # where the network calls its bends, in this order
    *(f"{site}.{part}" for site in ("self", "cross") for part in ("q", "v", "share", "columns", "map", "out")),
    *("ffn.in", "ffn.hidden", "ffn.out"),
)
AmountSpec = ControlSpec | SwitchSpec | ChoiceSpec
Stamps = dict[str, tuple[int, int] | None]  # by file: what tells that it was saved since; None where it cannot be told
_left_out: dict[str, tuple[Stamps, str]] = {}  # by file: how all files stood when it could not be used, and why


class LeverError(Refusal, ValueError):
    """A lever declared wrong; the message names it, what is wrong, and the remedy."""


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
    a hook point and a function, takes the function's place in bends with `renormalize: true`. LeverError where a bend
    of the lever could not play, or would act before anyone has touched it.
    """
    per_site = columns or {}
    _check_amounts(name, fold, amounts)

    def declare(apply: Callable[..., Any]) -> tuple[Lever, ...]:
        doc = " ".join((apply.__doc__ or "").split())
        made = []
        for site, point in at.items():
            for form in ((point, apply), *([renormalised] if renormalised else [])):
                _check_form(name, *form, fold)
            plain = Lever(f"{site}.{name}", point, apply, fold, amounts, per_site.get(site), heads, doc)
            other = replace(plain, point=renormalised[0], apply=renormalised[1]) if renormalised else None
            made.append(replace(plain, renormalised=other))
        return tuple(made)

    return declare


def _check_amounts(name: str, fold: Fold, amounts: dict[str, AmountSpec]) -> None:
    """LeverError unless the fold reads these amounts, all of them, and their defaults do nothing."""
    for amount in fold.reads:
        if amount not in amounts:
            raise LeverError(f"lever '{name}': its fold is of '{amount}', which is none of {list(amounts)}")
    for amount in amounts:
        if amount not in fold.reads:
            raise LeverError(
                f"lever '{name}': no fold reads '{amount}', so the function would never get it; "
                f"give every amount one, such as Each({type(fold).__name__}(...), Sum('{amount}'))"
            )
    for amount, neutral in fold.neutral.items():
        begins = amounts[amount].default
        if begins != neutral:
            raise LeverError(
                f"lever '{name}': '{amount}' is {begins} by default, but its fold does nothing at {neutral}; make that "
                f"its default, or take another fold: Product does nothing at 1, Sum and Maximum at 0"
            )


def _check_form(name: str, point: str, apply: Callable[..., Any], fold: Fold) -> None:
    """LeverError unless there is such a hook point, and the function can be called there."""
    if point not in POINTS:
        raise LeverError(f"lever '{name}': no hook point '{point}'; there are: {', '.join(POINTS)}")
    tensors = ("x", "attention") if point.endswith(".map") else ("x",)
    try:
        inspect.signature(apply).bind(*tensors, **dict.fromkeys(fold.gives))
    except TypeError as problem:
        call = f"{apply.__name__}({', '.join(tensors)}, *, {', '.join(fold.gives)})"
        raise LeverError(f"lever '{name}': its function is called as {call}: {problem}") from None


def discover() -> dict[str, Lever]:
    """Every lever declared in `pipelines/bends/levers/`, by id, in a stable order; without those of a file that has a
    mistake in it, see `mistakes`."""
    return _read()[0]


def mistakes() -> list[str]:
    """The files of `pipelines/bends/levers/` that cannot be used: where, and why, in a line each."""
    return _read()[1]


def _read() -> tuple[dict[str, Lever], list[str]]:
    from pipelines.bends import levers

    found: dict[str, Lever] = {}
    wrong: list[str] = []
    infos = sorted(pkgutil.iter_modules(levers.__path__), key=lambda info: info.name)
    files = {f"{info.module_finder.path}/{info.name}{'/__init__' if info.ispkg else ''}.py": info for info in infos}
    stamps = {file: _stamp(file) for file in files}
    for file, info in files.items():
        then, why = _left_out.get(file, (None, ""))
        if then == stamps:  # not run again for nothing: a show that plays may wait for it
            wrong.append(why)
            continue
        try:
            found |= _declared(f"{levers.__name__}.{info.name}", found)
        except Exception as error:  # whatever a file under work can throw: the others are read all the same
            wrong.append(_told(file, error))
            _left_out[file] = stamps, wrong[-1]
    return dict(sorted(found.items())), wrong


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:  # in an archive, say
        return None
    return stat.st_mtime_ns, stat.st_size


def _declared(module: str, others: dict[str, Lever]) -> dict[str, Lever]:
    """The levers of one file, by id. Raises whatever the file does, and LeverError for an id that is taken."""
    own: dict[str, Lever] = {}
    for family in vars(importlib.import_module(module)).values():
        if isinstance(family, tuple) and family and all(isinstance(item, Lever) for item in family):
            for item in family:
                if (others | own).get(item.id, item) is not item:
                    raise LeverError(f"two levers are declared as '{item.id}'; give one another name")
                own[item.id] = item
    return own


def _told(file: str, error: Exception) -> str:
    """The file, the line, and what is wrong there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    what = str(error) if isinstance(error, LeverError) else f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename == file:
        lines, what = [error.lineno or 1], f"{type(error).__name__}: {error.msg}"
    return f"{file}, line {lines[-1]}: {what}" if lines else f"{file}: {what}"

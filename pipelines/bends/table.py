"""The table of levers as Markdown, from their declarations: what the README shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.bends.lever import AmountSpec, Lever
from pipelines.spec import ChoiceSpec, ControlSpec


def table(levers: Iterable[Lever]) -> str:
    """One row per kind of lever: its sites, what it does, its amounts with their ranges, and its scopes."""
    kinds: dict[str, list[Lever]] = {}
    for lever in levers:
        kinds.setdefault(lever.id.split(".", 1)[1], []).append(lever)
    rows = ["| lever | at | does | amounts | scope |", "|---|---|---|---|---|"]
    rows += [_row(name, family) for name, family in sorted(kinds.items())]
    return "\n".join(rows)


def _row(name: str, family: list[Lever]) -> str:
    does = " ".join(dict.fromkeys(lever.doc for lever in family))
    amounts = ", ".join(f"`{amount}` {span(spec)}" for amount, spec in family[0].amounts.items())
    return f"| `{name}` | {', '.join(lever.site for lever in family)} | {does} | {amounts} | {_scopes(family)} |"


def _scopes(family: list[Lever]) -> str:
    """The scopes, with the site where not every one has it, and whether rows may be renormalised."""
    return ", ".join(["steps", "layers", *_partly(family)])


def _partly(family: list[Lever]) -> Iterator[str]:
    for what in ("tokens", "neurons", "heads", "renormalize"):
        sites = [lever.site for lever in family if what in _own(lever)]
        if sites:
            yield what if len(sites) == len(family) else f"{what} ({', '.join(sites)})"


def _own(lever: Lever) -> set[str]:
    found = {lever.columns} if lever.columns else set()
    found |= {"heads"} if lever.heads else set()
    return found | ({"renormalize"} if lever.renormalised else set())


def span(spec: AmountSpec) -> str:
    """A range in few letters, the neutral value in brackets."""
    if isinstance(spec, ControlSpec):
        unit = {"x": "×", "degrees": "°"}.get(spec.unit, "")
        return f"{spec.lo:g}…{spec.hi:g}{unit} ({spec.default:g})"
    return "/".join(spec.options) if isinstance(spec, ChoiceSpec) else "on/off"

"""The commands of `bender` that list what there is: models, patches, mappings, ports, outputs, levers, parameters."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from instrument import outputs
from instrument.engine.loading import declared
from instrument.mapping import mapping as mappings
from instrument.midi.driver import list_ports
from instrument.parameters.params import ParamSet
from instrument.setup import open_patch
from instrument.state import patch as patches
from instrument.state.patch import Patch
from pipelines.bends.lever import LeverError, discover, mistakes
from pipelines.bends.table import table
from pipelines.files import places, report, survey
from pipelines.recipes import RECIPES, Recipe, recipe
from pipelines.spec import ChoiceSpec, ControlSpec, Spec, SwitchSpec, TextSpec


def list_everything(options: argparse.Namespace) -> None:
    """Models, patches, mappings, MIDI ports and outputs."""
    _section("models", (_model(row) for row in RECIPES.values()))
    _section("patches", (f"{name:14} {patches.load(name).description}" for name in patches.available()))
    _section("mappings", (f"{name:14} {mappings.load(name).description}" for name in mappings.available()))
    _section("MIDI ports", list_ports())
    _section("outputs", (f"{kind:14} {_first_line(made.__doc__)}" for kind, made in outputs.KINDS.items()))


def _model(row: Recipe) -> str:
    """One model in a line: what it is, its licence, and whether it can be played now."""
    _, missing = survey(row)
    lack = f"; NOT INSTALLED: missing its {', '.join(need.part for need in missing)}" if missing else ""
    return f"{row.name:18} {row.doc}; {row.licence}{lack}"


def list_models(options: argparse.Namespace) -> None:
    """Every model with its parts, those that are missing, and what gets them."""
    for row in RECIPES.values():
        lines = report(row, options.models_dir) or ["ships with the instrument"]
        missing = survey(row, options.models_dir)[1]
        print(f"{row.name}: {row.doc}; {row.licence}; {'NOT INSTALLED' if missing else 'installed'}")
        for line in lines:
            print(f"  {line}")
    folder, hub = places(options.models_dir)
    print(f"looked in {folder} (--models-dir) and {hub}")


def list_levers(options: argparse.Namespace) -> None:
    """The table of levers, from their declarations. LeverError for files that could not be read."""
    if options.markdown:
        print(table(discover().values()))
    else:
        _tell_levers()
    if wrong := mistakes():
        raise LeverError("; ".join(wrong))


def _tell_levers() -> None:
    for lever in discover().values():
        reach = ", ".join(["steps", "layers", *([lever.columns] if lever.columns else []), *["heads"] * lever.heads])
        print(f"{lever.id}\n    {lever.doc}\n    scope: {reach}")
        for name, spec in lever.amounts.items():
            print(f"    {name:12} {_range(spec)}")


def list_params(options: argparse.Namespace) -> None:
    """Every parameter of a patch, by the id that OSC, mappings and patches use."""
    for parameter in params_of(open_patch(options)):
        print(f"{parameter.id:32} {_range(parameter.spec):44} {parameter.spec.doc}")


def params_of(patch: Patch) -> ParamSet:
    """The parameters that the patch would play with, without loading its model."""
    row = recipe(patch.model)
    return declared(patch, row.config, len(row.steps))


def _section(title: str, lines: Iterable[str]) -> None:
    print(title)
    for line in list(lines) or ["none"]:
        print(f"  {line}")


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0]


def _range(spec: Spec) -> str:
    """A spec in one line of text."""
    if isinstance(spec, ControlSpec):
        unit = f" {spec.unit}" if spec.unit else ""
        return f"{spec.lo:g} ... {spec.hi:g}{unit}, neutral {spec.default:g}"
    if isinstance(spec, ChoiceSpec):
        return f"{' | '.join(spec.options)}, at first {spec.default}"
    if isinstance(spec, SwitchSpec):
        return f"on | off, at first {'on' if spec.default else 'off'}"
    return f"text, at first '{spec.default}'" if isinstance(spec, TextSpec) else "trigger"

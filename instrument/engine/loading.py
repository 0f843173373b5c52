"""From a patch to what plays: its bends and their bank, its parameters, modulators and snapshots, all checked before
anything that sounds is touched.

Knows the model's sizes and the levers; no time and no thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from instrument.engine import chunks, console, curtain, prompts, videoin
from instrument.mapping import rigdesk
from instrument.modulation.modspec import MOMENTARY, ModulatorSpec, named, own_parameters
from instrument.modulation.modulators import problems_of
from instrument.outputs import desk as outdesk
from instrument.parameters.params import ParamSet, shorten, suggest
from instrument.state import patchdesk, snapshots
from instrument.state.patch import MOST_SEED, BendSpec, Patch, set_values
from instrument.state.snapshots import Snapshot
from pipelines.bends.bank import Bank, Bend, parameters_of
from pipelines.bends.lever import Lever, discover, mistakes
from pipelines.bends.scope import ALL, Scope, ScopeError, Span, ranges
from pipelines.recipes import RECIPES
from pipelines.spec import ControlSpec, Spec, SwitchSpec, TextSpec, TriggerSpec
from pipelines.stream import Stream
from pipelines.wan import WanConfig

SEED = "engine.seed"
MODEL, SIZE, FADE = "engine.model", "engine.size", "engine.fade"
ADD, DUPLICATE, REMOVE = "bend.add", "bend.duplicate", "bend.remove"
MOD_ADD, MOD_DUPLICATE, MOD_REMOVE = "modulator.add", "modulator.duplicate", "modulator.remove"
PANIC, FORGET, RESEED = "panic", "cache.reset", "engine.reseed"
RESERVED = (  # not for bends or modulators
    *("audio", "bend", "bender", "cache", "clock", "engine", "learn", "mapping", "master", "modulator", "morph"),
    *("out", "panic", "patch", "prompt", "random", "redo", "snapshot", "status", "undo", "video"),
)
_BY_PLACE = re.compile(r"bend\.\d+\.")
_TAKEN = "no {} can be named '{}': the instrument itself uses it; choose another name"


@dataclass(frozen=True)
class Prepared:
    """A patch that can play at once."""

    patch: Patch
    bends: tuple[Bend, ...]
    bank: Bank
    modulators: dict[str, ModulatorSpec]
    snapshots: dict[int, Snapshot]


def prepare(patch: Patch, stream: Stream) -> Prepared:
    """Everything that loading can refuse, done beforehand. Raises PatchError; nothing that plays is touched."""
    config = stream.model.config
    bends = bends_of(patch, config)
    bank = stream.make_bank(bends)
    found = _rehearse(patch, config, stream.steps)
    return Prepared(patch, bends, bank, named(patch.modulators), found)


def declare(params: ParamSet) -> None:
    """The parameters of the engine itself."""
    noise = ControlSpec(0, MOST_SEED, 0, step=1, doc="the noise everything starts from")
    params.add(SEED, noise, group="engine", glide=0, kept=False)
    models = TextSpec("", f"plays this model: {', '.join(RECIPES)}", listed=True)
    params.add(MODEL, models, "engine", kept=False)
    params.add(SIZE, TextSpec("", "plays at this picture size, such as 384x224"), "engine", kept=False)
    fade = ControlSpec(0, 10, 0.5, unit="s", doc="cross-fade from the held picture to another system's; 0 cuts")
    params.add(FADE, fade, "engine", glide=0, kept=False)
    params.add(RESEED, TriggerSpec("start again from the seed", once=True), group="engine")
    params.add(FORGET, TriggerSpec("forget the past; the next chunk starts anew", once=True), group="engine")
    params.add(PANIC, TriggerSpec("all bends neutral, cache empty, fresh noise", once=True), group="engine")
    chunks.declare(params)
    videoin.declare(params)
    texts = {
        ADD: "adds a bend: a lever such as cross.map.gain, and a name for it if you like",
        DUPLICATE: "a copy of the bend of this name, switched off, and a name for it if you like",
        REMOVE: "takes the bend of this name away; undo brings it back",
        MOD_ADD: "adds a modulator, written as in a patch: lfo: sine, period: 8 beats, to: petals.gain, depth: 0.3",
        MOD_DUPLICATE: "a copy of the modulator of this name, switched off, and a name for it if you like",
        MOD_REMOVE: "takes the modulator of this name away; undo brings it back",
    }
    for id, doc in texts.items():
        params.add(id, TextSpec("", doc), id.split(".", 1)[0], kept=False)


def declare_bends(params: ParamSet, bends: tuple[Bend, ...], steps: int, layers: int) -> list[str]:
    """Add what is not there yet of the bends' parameters, and names by position (`bend.1.amount`,
    `bend.1.layers.center`, ...) for mappings that fit any patch; the ids added."""
    specs: dict[str, Spec] = dict(parameters_of(bends, steps, layers))
    solo = {f"{bend.name}.solo": SwitchSpec(False, "only bends that are solo are heard") for bend in bends}
    added = [
        params.add(id, spec, group=id.split(".", 1)[0], kept=id not in solo).id
        for id, spec in (specs | solo).items()
        if id not in params
    ]
    for alias in [name for name in params.aliases() if _BY_PLACE.match(name)]:
        params.remove(alias)
    for number, bend in enumerate(bends, 1):
        params.alias(f"bend.{number}.amount", f"{bend.name}.{bend.lever.main}")
        for id in specs | solo:
            name, _, field = id.partition(".")
            if name == bend.name:
                params.alias(f"bend.{number}.{field}", id)
    return added


def declare_patch(params: ParamSet, patch: Patch, bends: tuple[Bend, ...], steps: int, layers: int) -> list[str]:
    """Add all parameters that come of a patch and of the model it plays; their ids. Raises PatchError where a name is
    taken."""
    ids = [*declare_bends(params, bends, steps, layers)]
    ids.append(params.add(chunks.STEPS, chunks.steps_spec(steps), "engine", glide=0).id)
    for index, name in enumerate(named(patch.modulators)):
        if name in RESERVED:
            raise patch.error(_TAKEN.format("modulator", name), "modulators", index, "name")
    for name, spec in named(patch.modulators).items():
        ids += declare_modulator(params, name, spec)
    return ids


def declare_modulator(params: ParamSet, name: str, spec: ModulatorSpec) -> list[str]:
    """Add the parameters of one modulator; their ids."""
    return [
        params.add(id, made, group=name, kept=not id.endswith(MOMENTARY)).id
        for id, made in own_parameters(name, spec).items()
    ]


def set_all(params: ParamSet, patch: Patch) -> None:
    """Everything that belongs to the picture as the patch has it; what it does not name is at its default. Raises
    PatchError."""
    for parameter in params:
        if parameter.kept:
            params.set(parameter.id, parameter.spec.default, "patch")
    params.set(SEED, patch.seed, "patch")
    prompts.set_prompts(params, patch)
    set_values(patch, params)


def declared(patch: Patch, config: WanConfig, steps: int) -> ParamSet:
    """The parameters that the patch plays with, at its values, without its model. Raises PatchError."""
    params = ParamSet(notices=lambda text: None)
    declare(params)
    console.declare(params)
    patchdesk.declare(params)
    prompts.declare(params)
    curtain.declare(params)
    outdesk.declare(params)
    rigdesk.declare(params)
    declare_patch(params, patch, bends_of(patch, config), steps, config.num_layers)
    set_all(params, patch)
    return params


def _rehearse(patch: Patch, config: WanConfig, steps: int) -> dict[int, Snapshot]:
    """Everything the patch says, tried on parameters of its own, so that a broken patch changes nothing that plays;
    its snapshots."""
    trial = declared(patch, config, steps)
    modulators = named(patch.modulators)
    for index, spec in enumerate(modulators.values()):
        for field, problem in problems_of(spec, trial, modulators):
            raise patch.error(problem, "modulators", index, field)
    return snapshots.read(patch, trial)


def bends_of(patch: Patch, config: WanConfig) -> tuple[Bend, ...]:
    """The patch's bends with their levers. PatchError for a lever that does not exist, a name that is taken, or a
    scope that the lever or the network does not have."""
    levers = discover()
    bends = []
    for index, spec in enumerate(patch.bends):
        lever = levers.get(spec.lever)
        if lever is None:
            raise patch.error(no_lever(spec.lever, levers), "bends", index, "lever")
        if spec.name in RESERVED:
            raise patch.error(_TAKEN.format("bend", spec.name), "bends", index, "name")
        for field, problem in _scope_problems(spec, lever, config):
            raise patch.error(problem, "bends", index, "scope", field)
        if spec.renormalize and lever.renormalised is None:
            problem = f"lever '{lever.id}' cannot renormalize; take that line away"
            raise patch.error(problem, "bends", index, "renormalize")
        bends.append(Bend(spec.name, lever, _scope(spec), spec.persist, spec.renormalize))
    return tuple(bends)


def no_lever(name: str, levers: Mapping[str, Lever]) -> str:
    """What to say of a lever that is not there: others like it, and the files that could not be read."""
    left_out = [f"; left out was {mistake}" for mistake in mistakes()]
    return f"no lever '{shorten(name)}'; {suggest(name, list(levers))}{''.join(left_out)}"


def _scope_problems(spec: BendSpec, lever: Lever, config: WanConfig) -> Iterator[tuple[str, str]]:
    """What is wrong with a bend's scope: the field, and the remedy. A scope without effect is a mistake worth telling,
    not a silent nothing."""
    scope = spec.scope
    wrong = {
        "tokens": scope.tokens != ALL and lever.columns != "tokens",
        "neurons": scope.neurons is not None and lever.columns != "neurons",
        "band": scope.band is not None and lever.columns != "neurons",
        "heads": scope.heads is not None and not lever.heads,
    }
    for field in (field for field, is_wrong in wrong.items() if is_wrong):
        yield field, f"lever '{lever.id}' cannot be scoped to {field}; take that line away"
    for field, count, what in (("neurons", config.ffn_dim, "neuron"), ("heads", config.num_heads, "head")):
        try:
            ranges(getattr(scope, field) or ALL, count, what)
        except ScopeError as problem:
            yield field, str(problem)
    if scope.layers and scope.layers[0] > config.num_layers - 1:
        yield "layers", f"layers {list(scope.layers)} lie beyond this model's 0-{config.num_layers - 1}"


def _scope(spec: BendSpec) -> Scope:
    scope = spec.scope
    tokens = scope.tokens if isinstance(scope.tokens, str) else ", ".join(scope.tokens)
    band = scope.band
    return Scope(
        steps=Span.of(*scope.steps, scope.feather) if scope.steps else None,
        layers=Span.of(*scope.layers, scope.feather) if scope.layers else None,
        tokens=tokens,
        neurons=scope.neurons or ALL,
        band=Span(band.center, band.width, band.feather) if band else Span(0.5, 1.0),
        heads=scope.heads or ALL,
    )

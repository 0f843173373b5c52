"""Many held-back captions at once, each with its own seed, unbent or under knobs: what every study looks at.

A word stands at other places in other captions, but a bend holds the same tokens in every row of a batch. So captions
are played in groups in which the word's tokens are the same ones; as every row has a seed of its own, a caption plays
the same whatever group it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipelines.bends import scope as scopes
from pipelines.bends.bank import Bend
from pipelines.bends.lever import discover
from pipelines.bends.scope import Scope, Span
from pipelines.house import world
from pipelines.house.model import WEIGHTS, House, describe, load
from pipelines.house.names import COLOURS, MOTIONS, PLACES, SUBJECTS
from pipelines.recipes import HOUSE, Recipe
from pipelines.stream import Stream
from pipelines.text import Prompt

SEEDS_APART = 100_000  # between the seeds of two studies' captions
TOGETHER = {"cuda": 64}  # captions played at once; a processor's caches hold fewer
DECODED = 4  # latent frames decoded at once
ARTICLES = ("a", "an")
Thing = Literal["colour", "subject", "motion", "place"]  # what a caption has a phrase for
Word = Thing | Literal["article"]
Past = Literal["kept", "reset", "disabled"]


@dataclass(frozen=True)
class Knob:
    """One bend and where its amounts stand. `words` of the caption by what they tell, none for levers without tokens;
    `layers` and `steps` are inclusive ranges, `band` a range in 0..1 of the hidden neurons."""

    lever: str
    amounts: Mapping[str, float]
    words: tuple[Word, ...] = ()
    layers: tuple[int, int] | None = None
    steps: tuple[int, int] | None = None
    band: tuple[float, float] | None = None
    renormalize: bool = False
    persist: Literal["cache", "transient"] = "cache"

    def bend(self, tokens: str) -> Bend:
        """The bend, holding these tokens."""
        scope = Scope(
            steps=None if self.steps is None else Span.of(*self.steps),
            layers=None if self.layers is None else Span.of(*self.layers),
            tokens=tokens,
            band=Span(0.5, 1.0) if self.band is None else Span.of(*self.band),
        )
        return Bend("knob", discover()[self.lever], scope, self.persist, self.renormalize)


@dataclass(frozen=True)
class Cast:
    """The captions of a study: their scenes, their texts, and a seed for each."""

    scenes: world.Scenes
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def phrase(self, thing: Thing, index: int) -> str:
        """What a caption says for a thing, "drifting left" for its motion."""
        return _phrases(self.scenes, index)[thing]

    def without(self, thing: Thing) -> Cast:
        """The same scenes and seeds, told without it."""
        told = [
            " ".join(p.replace(f" {self.phrase(thing, i)} ", " ", 1).split())
            if f" {self.phrase(thing, i)} " in p
            else p.removeprefix(f"{self.phrase(thing, i)} ")
            for i, p in enumerate(self.prompts)
        ]
        return replace(self, prompts=tuple(told))

    def reseeded(self) -> Cast:
        """The same captions from other noise."""
        return replace(self, seeds=tuple(seed + SEEDS_APART // 2 for seed in self.seeds))


def _phrases(scenes: world.Scenes, index: int) -> dict[str, str]:
    first = int(scenes.subject[index, 0])
    return {
        "colour": list(COLOURS.values())[int(scenes.colour[index, 0])][0],
        "subject": list(SUBJECTS.values())[first][0],
        "motion": list(MOTIONS.values())[int(scenes.motion[index, 0])][0],
        "place": list(PLACES.values())[int(scenes.place[index])][0],
    }


def cast(count: int, seed: int) -> Cast:
    """So many held-back captions with one subject, nothing left out, in plain light before a still camera: what a word
    moves is to be seen, not what a light or a camera moves besides."""
    scenes = world.sample(count, seed, "heldback", pairs=0.0)
    scenes = scenes.alter(light=torch.zeros_like(scenes.light), camera=torch.zeros_like(scenes.camera))
    prompts = world.captions(scenes, seed, full=True)
    return Cast(scenes, tuple(prompts), tuple(seed * SEEDS_APART + index for index in range(count)))


class Take(NamedTuple):
    """What was played: pixels [N, T, 3, H, W] in 0..1, in half precision (bytes would add a grain of their own to small
    changes), and latents [N, F, C, h, w]; on the device."""

    pixels: Tensor
    latents: Tensor


class Plan(NamedTuple):
    """How long a take is, in latent frames; the chunk from which the knob stands where it is told, neutral before; and
    what becomes of the past: kept, forgotten at that chunk, or never there."""

    frames: int
    turned: int = 0
    past: Past = "kept"


class Player:
    """The house model and a cast. Everything it plays is fixed by them, the knob and the plan."""

    def __init__(self, house: House, recipe: Recipe, cast: Cast, tell: Callable[[], None] = lambda: None) -> None:
        """`tell` is called after every take."""
        self.house, self.recipe, self.cast, self._tell = house, recipe, cast, tell
        self.device = house.dit.patch_embedding.weight.device
        self.read = [house.text.encode(prompt) for prompt in cast.prompts]

    def told(self, cast: Cast) -> Player:
        """The same model with another cast."""
        return Player(self.house, self.recipe, cast, self._tell)

    @torch.inference_mode()
    def play(self, plan: Plan, knob: Knob | None = None) -> Take:
        """Every caption's take, in the order of the cast."""
        latents: list[Tensor] = [torch.empty(0)] * len(self.cast)
        for tokens, members in self._groups(knob):
            for index, own in zip(members, self._batch(plan, knob, tokens, members), strict=True):
                latents[index] = own
        made = torch.stack(latents)
        take = Take(self._pixels(made), made)
        self._tell()
        return take

    def _groups(self, knob: Knob | None) -> Iterator[tuple[str, list[int]]]:
        """The tokens a knob holds, as a token scope, and the captions in which it holds these."""
        groups: dict[str, list[int]] = {}
        for index in range(len(self.cast)):
            groups.setdefault(self._tokens(knob, index), []).append(index)
        most = TOGETHER.get(self.device.type, 8)
        for tokens, members in groups.items():
            for at in range(0, len(members), most):
                yield tokens, members[at : at + most]

    def _tokens(self, knob: Knob | None, index: int) -> str:
        if knob is None or not knob.words:
            return scopes.ALL
        held: set[int] = set()
        for word in knob.words:
            if word == "article":  # the first one alone: a place has its own
                held |= {0} if self.read[index].tokens[0] in ARTICLES else set()
            else:
                weights = scopes.tokens(self.cast.phrase(word, index), self.read[index].words)
                held |= {place for place, weight in enumerate(weights) if weight}
        return ", ".join(str(place) for place in sorted(held))

    def _batch(self, plan: Plan, knob: Knob | None, tokens: str, members: list[int]) -> Tensor:
        """Latents [B, F, C, h, w] of some captions."""
        bends = () if knob is None else (knob.bend(tokens),)
        seeds = [self.cast.seeds[index] for index in members]
        stream = Stream(self.house.dit, self.house.vae, self.recipe, bends, seeds, len(members))
        rows = torch.cat([self.read[index].embeddings for index in members])
        stream.read_prompt(Prompt("", rows, (), ()))
        stream.alone = plan.past == "disabled"
        made = []
        for chunk in range(plan.frames):
            if knob is not None and chunk == plan.turned:
                stream.bank.write({f"knob.{name}": value for name, value in knob.amounts.items()})
            if chunk == plan.turned and plan.past == "reset":
                stream.forget()
            for _ in stream.denoise():
                pass
            done = stream.commit()
            if done is None:
                raise RuntimeError(f"{knob}: {stream.notice}")
            made.append(done.latents.transpose(1, 2))
        return torch.cat(made, dim=1)

    def _pixels(self, latents: Tensor) -> Tensor:
        most, rows = TOGETHER.get(self.device.type, 8), []
        for part in latents.split(most):
            memory = self.house.vae.decoder.fresh()
            pieces = [self.house.vae.decode(piece, memory) for piece in part.split(DECODED, dim=1)]
            rows.append(torch.cat(pieces, dim=1).clamp(0, 1).half())
        return torch.cat(rows)


def open_player(
    count: int, seed: int, device: torch.device, weights: Path = WEIGHTS, tell: Callable[[], None] = lambda: None
) -> Player:
    """The house model of a weights file with a cast of held-back captions; in float32, as studies count small
    changes. `tell` is called after every take. LoadError as `model.load`."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    config, _ = describe(weights)
    recipe = replace(HOUSE, config=config.dit, width=config.width, height=config.height, window=config.window)
    return Player(load(weights, device), recipe, cast(count, seed), tell)

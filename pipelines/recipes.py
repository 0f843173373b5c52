"""The real-time systems as data: a row says everything in which one differs from another.

Positions: every system rotates keys by their absolute latent-frame position, except where `positions` is "window".
Attention only feels differences of positions, so a rolling window without a sink is endless with absolute ones (the
house model); a pinned sink drifts ever further away from the stream, which "window" avoids by counting positions from
the oldest frame held.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pipelines.schedule import Schedule
from pipelines.wan import WanConfig


@dataclass(frozen=True)
class Recipe:
    """One system. Lengths are in latent frames, `steps` on the 0..1000 grid before warping, sizes in pixels."""

    name: str
    doc: str
    config: WanConfig
    steps: tuple[float, ...]
    shift: float
    warped: bool
    renoise: Literal["fresh", "predicted"]  # noise put back between steps: new, or the one the model just predicted
    chunk: int
    window: int
    sink: int
    positions: Literal["absolute", "window"]
    context_timestep: float  # what the cache pass tells the model about its clean latents
    latent_limit: float | None  # latents are held within +- this; None leaves them alone
    width: int
    height: int
    fps: float
    weights: str  # file name, or the folder of a model on the hub
    licence: str

    def __post_init__(self) -> None:
        if self.window < self.sink + self.chunk:
            raise ValueError(f"{self.name}: window {self.window} cannot hold sink {self.sink} and chunk {self.chunk}")

    @property
    def schedule(self) -> Schedule:
        return Schedule.of(self.steps, self.shift, self.warped)


HOUSE = Recipe(
    name="house",
    doc="the model that ships: a small world of its own, playable on a laptop CPU",
    config=WanConfig(dim=256, ffn_dim=768, num_heads=4, num_layers=12, text_dim=128, text_len=24, freq_dim=256),
    steps=(1000, 600, 250),
    shift=5.0,
    warped=True,
    renoise="predicted",
    chunk=1,
    window=6,
    sink=0,
    positions="absolute",
    context_timestep=0.0,
    latent_limit=4.0,
    width=256,
    height=144,
    fps=20.0,
    weights="house.safetensors",
    licence="MIT, trained on pictures this project draws itself",
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (HOUSE,)}


def recipe(name: str) -> Recipe:
    """The row of that name; KeyError with the nearest names otherwise."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(RECIPES)}"
        raise UnknownModel(f"no model '{name}'; {hint}")
    return RECIPES[name]


class UnknownModel(LookupError):
    """No recipe of that name."""

"""The real-time systems as data: a row says everything in which one differs from another.

Positions: every system rotates keys by their absolute latent-frame position, except where `positions` is "window".
Attention only feels differences of positions, so a rolling window without a sink is endless with absolute ones (the
house model); a pinned sink drifts ever further away from the stream, which "window" avoids by counting positions from
the oldest frame held.

Cache rules (`cache`): "roll" lets the oldest frames fall out, all but the sink. "restart" fills the window once, then
begins again at position 0 with the last `context` frames. "rebuild" empties the cache before every chunk and fills it
from the latents of the last `context` frames, with no clean pass after a chunk. Where a cache is begun again, the
oldest of those frames is encoded anew from its picture: in the middle of a video it was one of four that shared a
latent frame, at a beginning it stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from pipelines.refusal import Refusal
from pipelines.schedule import Schedule
from pipelines.taehv import TIME_SCALE
from pipelines.wan import WanConfig

LARGEST = 1920 * 1088  # pixels; maps of larger pictures would not fit into memory


@dataclass(frozen=True)
class Recipe:
    """One system. Lengths are in latent frames, `steps` on the 0..1000 grid before warping, sizes in pixels.

    Raises ValueError for lengths that contradict each other.
    """

    name: str
    doc: str
    config: WanConfig
    steps: tuple[float, ...]
    shift: float
    warped: bool
    renoise: Literal["fresh", "predicted"]  # noise put back between steps: new, or the one the model just predicted
    first_chunk: int  # length of a stream's first chunk
    chunk: int
    window: int
    sink: int
    cache: Literal["roll", "restart", "rebuild"]
    context: int  # frames that a cache begun again is made from; 0 where it never is
    keep_first: bool  # the oldest of them is always the stream's first frame
    recache: Literal["no", "behind sink", "all"]  # what a new prompt writes again of the cache that holds the old one
    prompt_chunks: int  # over how many chunks a new prompt comes in; 1 is at once
    past_weight: float  # of past frames in attention, all but the oldest held; 1 leaves them alone
    positions: Literal["absolute", "window"]
    context_timestep: float  # what the cache pass tells the model about its clean latents
    latent_limit: float | None  # latents are held within +- this; None leaves them alone
    width: int
    height: int
    fps: float
    parts: Literal["own", "wan", "taehv"]  # text encoder and decoder: in its own file; Wan's; Wan's and a small decoder
    weights: str  # a file that ships, or owner/name/path of one on the hub
    lora: str  # the same of a LoRA to merge, or ""
    licence: str

    def __post_init__(self) -> None:
        if self.window < self.sink + self.chunk:
            raise ValueError(f"{self.name}: window {self.window} cannot hold sink {self.sink} and chunk {self.chunk}")
        if not 1 <= self.first_chunk <= self.chunk:
            raise ValueError(f"{self.name}: first_chunk {self.first_chunk} must be 1 to {self.chunk}")
        if (self.cache == "roll") != (self.context == 0) or self.context > self.window - self.chunk:
            room = self.window - self.chunk
            raise ValueError(f"{self.name}: context {self.context} must be 0 to roll, else 1 to {room}")

    @property
    def restricted(self) -> bool:
        """Whether its licence forbids some uses."""
        return "not for commercial use" in self.licence

    @property
    def frames(self) -> int:
        """Pictures of a chunk, once the stream is under way."""
        return TIME_SCALE * self.chunk

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
    first_chunk=1,
    chunk=1,
    window=6,
    sink=0,
    cache="roll",
    context=0,
    keep_first=False,
    recache="no",
    prompt_chunks=1,
    past_weight=1.0,
    positions="absolute",
    context_timestep=0.0,
    latent_limit=4.0,
    width=256,
    height=144,
    fps=20.0,
    parts="own",
    weights="house.safetensors",
    lora="",
    licence="MIT, trained on pictures this project draws itself",
)

# What the real-time systems made from Wan2.1 share; each row below says in what it differs.
SELF_FORCING = replace(
    HOUSE,
    name="self-forcing",
    doc="Wan2.1 1.3B, chunks of three latent frames; trained on 21 of them",
    config=WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30),
    steps=(1000, 750, 500, 250),
    shift=5.0,
    warped=True,
    renoise="fresh",
    first_chunk=3,
    chunk=3,
    window=21,
    latent_limit=None,
    width=832,
    height=480,
    fps=16.0,
    parts="wan",
    weights="gdhe17/Self-Forcing/checkpoints/self_forcing_dmd.pt",
    licence="Apache-2.0",
)

CAUSVID = replace(
    SELF_FORCING,
    name="causvid",
    doc="Wan2.1 1.3B in three steps; begins again every 21 latent frames, from the last three",
    steps=(1000, 757, 522),
    shift=8.0,
    warped=False,
    cache="restart",
    context=3,
    weights="tianweiy/CausVid/autoregressive_checkpoint/model.pt",
    licence="CC BY-NC-SA 4.0: not for commercial use",
)

LONGLIVE = replace(
    SELF_FORCING,
    name="longlive",
    doc="Wan2.1 1.3B with a pinned beginning, for minutes of play; rewrites its memory for a new prompt",
    window=12,
    sink=3,
    recache="behind sink",
    weights="Efficient-Large-Model/LongLive-1.3B/models/longlive_base.pt",
    lora="Efficient-Large-Model/LongLive-1.3B/models/lora.pt",
)

LONGLIVE_ENDLESS = replace(
    LONGLIVE,
    name="longlive-endless",
    doc="the same weights with positions counted in the window, for any length of play",
    positions="window",
)

KREA = replace(
    SELF_FORCING,
    name="krea",
    doc="Wan2.1 14B; makes its memory anew before every chunk",
    config=WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40),
    steps=(1000, 750, 500, 250, 0),
    window=6,
    cache="rebuild",
    context=3,
    prompt_chunks=4,
    weights="krea/krea-realtime-video/krea-realtime-video-14b.safetensors",
    licence="CC BY-NC-SA 4.0: not for commercial use",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (HOUSE, SELF_FORCING, CAUSVID, LONGLIVE, LONGLIVE_ENDLESS, KREA)
}


def recipe(name: str) -> Recipe:
    """The row of that name; KeyError with the nearest names otherwise."""
    if name not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(RECIPES)}"
        raise UnknownModel(f"no model '{name}'; {hint}")
    return RECIPES[name]


def sized(recipe: Recipe, width: int, height: int) -> Recipe:
    """The recipe at another picture size; ValueError unless both are multiples of 16."""
    if width % 16 or height % 16 or width <= 0 or height <= 0:
        raise ValueError(f"size {width}x{height}: both must be multiples of 16, for example 256x144")
    if width * height > LARGEST:
        raise ValueError(f"size {width}x{height} is more than {LARGEST} pixels; choose a smaller one")
    return replace(recipe, width=width, height=height)


class UnknownModel(Refusal, LookupError):
    """No recipe of that name."""

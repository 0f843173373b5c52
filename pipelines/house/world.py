"""The procedural world the project's own model learns from: sample scenes, tell them in English, render them.

    scenes = sample(8, seed=1)
    words = captions(scenes, seed=1)          # "a purple tulip swaying over a dark sea"
    clips = render(scenes, frames=40)         # [8, 40, 3, 144, 256] in 0..1, 20 frames per second, endless

The parts: `names` (attributes and words), `scenes`, `captions`, `motions`, `subjects` and `figures`, `places`, `light`,
`render`. Knows nothing of models or training.
"""

from pipelines.house.captions import VOCABULARY, captions
from pipelines.house.render import FPS, render, render_masks
from pipelines.house.scenes import Scenes, is_held_back, sample, scenes_from_attributes

__all__ = [
    "FPS",
    "VOCABULARY",
    "Scenes",
    "captions",
    "is_held_back",
    "render",
    "render_masks",
    "sample",
    "scenes_from_attributes",
]

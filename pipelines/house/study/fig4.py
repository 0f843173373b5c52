"""Noise at three depths of the network, and bands of its hidden neurons. (The paper's Figure 4.)

Above: the same noise in the feed-forward layers of each third, and the spatial frequencies of what it changes. Below:
gain on bands of hidden neurons in the first third: how far the results lie apart, and whether a band does the same
thing whatever the caption.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house.judge import look
from pipelines.house.study import measures
from pipelines.house.study.looks import Eyes, strip
from pipelines.house.study.play import Knob, Plan, Player, Take
from pipelines.house.study.report import Findings, Row, Verdict, mean
from pipelines.taehv import TIME_SCALE

THIRDS = ("early", "middle", "late")
SIGMAS = (0.5, 1.0, 2.0)
SHOWN_SIGMA = 1.0  # the one whose spectra are kept
BANDS, GAIN = 8, 3.0
SHORT, FRAMES = 4, 8  # latent frames of the takes with noise, and with bands (the judge needs eight)
COARSE, FINE = 6.0, 18.0  # cycles per picture height; a patch is a ninth of it
ROWS = 4  # captions in the pictures


def study(player: Player, eyes: Eyes) -> Findings:
    """Both halves."""
    above, below = depths(player), bands(player, eyes)
    return Findings(above.tables | below.tables, above.verdicts + below.verdicts, above.pictures | below.pictures)


def depths(player: Player) -> Findings:
    """The spectrum of the change that noise makes, by third of the layers and strength: in the first chunk, where the
    past has no part in it yet, and in the last."""
    unbent, rows, spectra, centres = player.play(Plan(SHORT)), [], [], {}
    takes, third = [unbent], player.recipe.config.num_layers // 3
    for depth, name in enumerate(THIRDS):
        for sigma in SIGMAS:
            knob = Knob("ffn.hidden.noise", {"noise": sigma}, layers=(depth * third, (depth + 1) * third - 1))
            take = player.play(Plan(SHORT), knob)
            for when, part in (("first chunk", slice(0, TIME_SCALE)), ("last chunk", slice(-TIME_SCALE, None))):
                change = take.pixels[:, part].float() - unbent.pixels[:, part].float()
                found = measures.spectrum(change)
                rows.append({"third": name, "noise": sigma, "when": when, **_numbers(change, found)})
                if sigma == SHOWN_SIGMA:
                    centres[name, when] = found.centre
                    spectra += _curve(found, name, when)
            if sigma == SHOWN_SIGMA:
                takes.append(take)
    return Findings({"depths": rows, "spectra": spectra}, _order(centres), {"depths": strip(takes, ROWS)})


def _numbers(change: Tensor, found: measures.Spectrum) -> Row:
    return {
        "n": len(change),
        "rms": mean(measures.rms(change)),
        "centre": mean(found.centre),
        "coarse": mean(found.share[:, found.frequency <= COARSE].sum(1)),
        "fine": mean(found.share[:, found.frequency >= FINE].sum(1)),
    }


def _curve(found: measures.Spectrum, third: str, when: str) -> list[Row]:
    share = found.share.mean(0)
    return [
        {"third": third, "when": when, "frequency": float(f), "share": float(s)}
        for f, s in zip(found.frequency, share, strict=True)
    ]


def _order(centres: dict[tuple[str, str], Tensor]) -> list[Verdict]:
    made = []
    for when in ("first chunk", "last chunk"):
        early, middle, late = (centres[name, when] for name in THIRDS)
        rising = float(((early < middle) & (middle < late)).float().mean())
        means = [float(one.mean()) for one in (early, middle, late)]
        made.append(
            Verdict(
                f"noise {SHOWN_SIGMA:g}, {when}: the later the layers, the finer the change",
                f"centres {means[0]:.1f}, {means[1]:.1f}, {means[2]:.1f} cycles per height; "
                f"late over early {means[2] / means[0]:.2f}; in this order in {rising:.0%} of captions",
                means[0] < means[1] < means[2],
            )
        )
    return made


def bands(player: Player, eyes: Eyes) -> Findings:
    """What gain on each band of hidden neurons in the first third does, against the unbent takes and each other."""
    plan, last = Plan(FRAMES), player.recipe.config.num_layers // 3 - 1
    unbent = player.play(plan)
    knobs = [
        Knob("ffn.hidden.gain", {"gain": GAIN}, layers=(0, last), band=(i / BANDS, (i + 1) / BANDS))
        for i in range(BANDS)
    ]
    takes = [player.play(plan, knob) for knob in knobs]
    spaces = {"latents": [_pooled(t) for t in (unbent, *takes)], "judge": [_felt(t, eyes) for t in (unbent, *takes)]}
    likeness = {
        space: measures.likeness(torch.stack([bent - found[0] for bent in found[1:]]))
        for space, found in spaces.items()
        if len(player.cast) > 1
    }
    apart, rows = _apart([unbent, *takes]), []
    for i in range(BANDS):
        others = [float(apart[i + 1, j + 1]) for j in range(BANDS) if j != i]
        seen = eyes.judged(takes[i], player.cast)
        rows.append(
            {"band": i, "from unbent": float(apart[i + 1, 0]), "from others": sum(others) / len(others), **seen}
        )
    alike = [{"space": space, **found._asdict()} for space, found in likeness.items()]
    tables = {"bands": rows, "likeness": alike}
    return Findings(tables, _verdicts(rows, likeness), {"bands": strip([unbent, *takes], ROWS)})


def _pooled(take: Take) -> Tensor:
    """Latents averaged over time and over a grid of 3 x 4 places, [N, C * 12]."""
    return F.adaptive_avg_pool2d(take.latents.float().mean(1), (3, 4)).flatten(1)


@torch.inference_mode()
def _felt(take: Take, eyes: Eyes) -> Tensor:
    """What the judge reads its answers from, [N, 384]."""
    return torch.cat([eyes.judge.features(look(part)) for part in take.pixels.split(16)])


def _apart(takes: list[Take]) -> Tensor:
    """Mean rms distances of the last pictures, [takes, takes]."""
    last = [take.pixels[:, -1].float() for take in takes]
    return torch.tensor([[mean(measures.rms(a - b)) for b in last] for a in last])


def _verdicts(rows: list[Row], likeness: dict[str, measures.Likeness]) -> list[Verdict]:
    own = sum(float(row["from unbent"]) for row in rows) / len(rows)
    others = sum(float(row["from others"]) for row in rows) / len(rows)
    made = [
        Verdict(
            f"gain {GAIN:g} on different bands gives different results (further from each other than from the unbent)",
            f"rms {others:.3f} from each other, {own:.3f} from the unbent",
            others > own,
        )
    ]
    for space, found in likeness.items():
        made.append(
            Verdict(
                f"a band does the same thing in other captions ({space}): told in twice as many as by chance",
                f"cosine {found.within:.2f} within a band, {found.between:.2f} between bands; "
                f"told in {found.told:.0%}, by chance {1 / BANDS:.0%}",
                found.told >= 2 / BANDS and found.within > found.between,
            )
        )
    return made

"""A colour word's attention turned down and up: does the colour move, and nothing else? (The paper's Figure 3.)

Every take is held against the unbent one of the same caption and seed. Beside the knob's travel there are controls
(words that tell no colour), other ways to turn the same word down, and two takes without a knob that give the numbers a
scale: the caption told without its colour, and the same caption from other noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.house.names import COLOURS, HUES
from pipelines.house.study import measures
from pipelines.house.study.looks import Eyes, Look, kept_place, strip
from pipelines.house.study.play import Knob, Plan, Player, Take
from pipelines.house.study.report import Findings, Row, Verdict, mean, median

FRAMES, LOOKED_AT = 8, 4  # latent frames: the judge needs eight
GAINS = (2.0, 1.5, 0.75, 0.5, 0.25, 0.0)
MOVED, OVERLAP, BACKGROUND = 60.0, 0.8, 0.05  # the goal: degrees, IoU, share of full range
REACHED = 0.75  # of the way to the colour without a word
GREY = 0.03  # strength of colour below which there is no hue
SHOWN = 6  # captions in the picture
TRAVEL = "the colour word"
LIVE, TURNED, WHILE = 16, 4, ", turned while playing"  # latent frames: six are seen, four are looked at


def _map(gain: float, **changes) -> Knob:
    return Knob("cross.map.gain", {"gain": gain}, **{"words": ("colour",), **changes})


def knobs(layers: int, steps: int) -> dict[tuple[str, float], Knob]:
    """What is turned from the first chunk on: (name, gain) -> the knob."""
    third = layers // 3
    found = {(TRAVEL, gain): _map(gain) for gain in GAINS}
    for word in ("motion", "place", "subject", "article"):
        found |= {(f"the {word}", gain): _map(gain, words=(word,)) for gain in (2.0, 0.5, 0.0)}
    ways = {
        "rows renormalised": _map(0.0, renormalize=True),
        "with its article": _map(0.0, words=("article", "colour")),
        "with its article, renormalised": _map(0.0, words=("article", "colour"), renormalize=True),
        "first third of layers": _map(0.0, layers=(0, third - 1)),
        "middle third of layers": _map(0.0, layers=(third, 2 * third - 1)),
        "last third of layers": _map(0.0, layers=(2 * third, layers - 1)),
        "without the first third of layers": _map(0.0, layers=(third, layers - 1)),
        "first step": _map(0.0, steps=(0, 0), persist="transient"),
        "all steps but the first": _map(0.0, steps=(1, steps - 1)),
        "not remembered": _map(0.0, persist="transient"),
        "values": Knob("cross.value.gain", {"gain": 0.0}, ("colour",)),
    }
    found |= {(f"{TRAVEL}, {name}", 0.0): knob for name, knob in ways.items()}
    found[f"{TRAVEL}, four times", 4.0] = _map(4.0)
    return found


def live_knobs(layers: int) -> dict[tuple[str, float], Knob]:
    """What is turned while a picture plays, whose past then holds the subject where it is."""
    third = layers // 3
    late = {(f"{TRAVEL}, last two thirds of layers", 0.0): _map(0.0, layers=(third, layers - 1))}
    article = {(f"{TRAVEL}, with its article", 0.0): _map(0.0, words=("article", "colour"))}
    control = {("the motion", 0.0): _map(0.0, words=("motion",))}
    return {(TRAVEL, gain): _map(gain) for gain in (2.0, 0.5, 0.0)} | late | article | control


def study(player: Player, eyes: Eyes) -> Findings:
    """Every knob's numbers against the unbent take."""
    judgement = _Judgement(player, eyes, FRAMES)
    config = player.recipe.config
    takes: dict[float, Take] = {1.0: judgement.unbent}
    rows = [judgement.row("unbent", 1.0, judgement.unbent)]
    for (name, gain), knob in knobs(config.num_layers, len(player.recipe.steps)).items():
        take = player.play(Plan(FRAMES), knob)
        rows.append(judgement.row(name, gain, take))
        if name == TRAVEL:
            takes[gain] = take
    rows.append(judgement.row("the text without the colour word", 1.0, judgement.free))
    rows.append(judgement.row("other noise", 1.0, player.told(player.cast.reseeded()).play(Plan(FRAMES))))
    rows += _live(player, eyes)
    ordered = [takes[gain] for gain in sorted(takes, reverse=True)]
    return Findings({"rows": rows}, verdicts(rows), {"travel": strip(ordered, SHOWN)})


def _live(player: Player, eyes: Eyes) -> list[Row]:
    """The rows of knobs turned while playing, looked at when all that attention sees has been played under them."""
    judgement, rows = _Judgement(player, eyes, LIVE), []
    for (name, gain), knob in live_knobs(player.recipe.config.num_layers).items():
        take = player.play(Plan(LIVE, TURNED), knob)
        rows.append(judgement.row(f"{name}{WHILE}", gain, take))
    return rows


class _Judgement:
    """Holds what every take is measured against."""

    def __init__(self, player: Player, eyes: Eyes, frames: int) -> None:
        self.cast, self.eyes = player.cast, eyes
        self.unbent = player.play(Plan(frames))
        self.free = player.told(player.cast.without("colour")).play(Plan(frames))
        self.look, self.bare = (eyes.look(take, LOOKED_AT) for take in (self.unbent, self.free))
        self.start, self.wanted = eyes.first(self.unbent), _wanted(player)

    def row(self, name: str, gain: float, take: Take) -> Row:
        """The table's row for a take."""
        bent = self.eyes.look(take, LOOKED_AT)
        overlap, background = kept_place(bent, self.look)
        hue, before = (_hue(look) for look in (bent, self.look))
        moved = measures.hue_away(hue, before)
        way = progress(self.look.colour, bent.colour, self.bare.colour)
        told = way.isfinite() & overlap.isfinite()  # captions with a subject, and a colour that the word gave it
        done = ((moved.nan_to_num(0) >= MOVED) | (way.nan_to_num(0) >= REACHED))[told]
        stayed = ((overlap >= OVERLAP) & (background <= BACKGROUND))[told]
        strength = bent.colour.norm(dim=1) / self.look.colour.norm(dim=1).clamp(min=GREY)
        return {
            "knob": name,
            "gain": gain,
            "n": int(told.sum()),
            "hue from caption": median(measures.hue_away(hue, self.wanted)),
            "hue moved": median(moved),
            "to no colour": median(way),
            "strength": median(strength),
            "colour moved": mean(done),
            "iou": mean(overlap),
            "iou median": median(overlap),
            "iou at first": mean(kept_place(self.eyes.first(take), self.start)[0]),
            "background": mean(background),
            "rest stayed": mean(stayed),
            "both": mean(done & stayed),
            **self.eyes.judged(take, self.cast),
        }


def progress(before: Tensor, after: Tensor, goal: Tensor) -> Tensor:
    """How far colours [N, 2] have gone from `before` to `goal`: 1 is there, 0 as far away as at first; NaN where there
    is no way to go."""
    whole = (before - goal).norm(dim=1)
    way = 1 - (after - goal).norm(dim=1) / whole.clamp(min=GREY)
    return torch.where(whole > GREY, way, torch.nan)


def _hue(look: Look) -> Tensor:
    """The subject's hue [N] in degrees; NaN where it has no colour."""
    colour = look.colour
    return torch.where(colour.norm(dim=1) > GREY, measures.hue(colour), torch.nan)


def _wanted(player: Player) -> Tensor:
    """The hues of the captions' colour words, in degrees; NaN for white."""
    names = list(COLOURS)
    told = [names[int(index)] for index in player.cast.scenes.colour[:, 0]]
    return torch.tensor([360 * HUES.get(name, float("nan")) for name in told], device=player.device)


def verdicts(rows: list[Row]) -> list[Verdict]:
    """The paper's claim and its control, and which way of turning a colour down separates best."""
    by = {(str(row["knob"]), float(row["gain"])): row for row in rows}
    off, other = by[TRAVEL, 0.0], by["the motion", 0.0]
    free, noise = by["the text without the colour word", 1.0], by["other noise", 1.0]
    ways = [row for (name, gain), row in by.items() if name.startswith(TRAVEL) and gain == 0.0]
    best, live = max(ways, key=lambda row: float(row["both"])), by[f"{TRAVEL}{WHILE}", 0.0]
    moved = float(off["hue moved"]) >= MOVED or float(off["to no colour"]) >= REACHED
    still = float(other["hue moved"]) <= 15
    return [
        Verdict(
            f"colour word at gain 0: hue moves by {MOVED:g} degrees or goes {REACHED:.0%} of the way to no colour word",
            f"{off['hue moved']:.0f} degrees, {off['to no colour']:.0%} of the way (medians)",
            moved,
        ),
        Verdict(f"... while IoU >= {OVERLAP}", _iou(off), float(off["iou"]) >= OVERLAP),
        Verdict(f"... and the background changes by <= {BACKGROUND:.0%}", _ground(off), _quiet(off)),
        Verdict("... all three in one caption", f"{off['both']:.0%} of captions", None),
        Verdict(
            "control, the motion word at gain 0: hue moves by <= 15 degrees", f"{other['hue moved']:.0f} degrees", still
        ),
        Verdict("scale: the text without the colour word", f"{_iou(free)}, {_ground(free)}", None),
        Verdict("scale: the same caption from other noise", f"{_iou(noise)}, {_ground(noise)}", None),
        Verdict(
            f"gain 0 turned while playing, {LIVE - TURNED - LOOKED_AT} latent frames and more after",
            f"{live['hue moved']:.0f} degrees, {live['to no colour']:.0%} of the way; {_iou(live)}, {_ground(live)}; "
            f"all three in {live['both']:.0%}",
            None,
        ),
        Verdict(
            "the way that separates best at gain 0",
            f"{best['knob']}: both in {best['both']:.0%}, {_iou(best)}, {_ground(best)}",
            None,
        ),
    ]


def _iou(row: Row) -> str:
    return f"IoU {row['iou']:.2f} (median {row['iou median']:.2f})"


def _ground(row: Row) -> str:
    return f"background {row['background']:.1%}"


def _quiet(row: Row) -> bool:
    return float(row["background"]) <= BACKGROUND

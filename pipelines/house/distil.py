"""Few-step distillation of the house model: it learns from its own play, under a teacher and a critic.

The student plays clips in as few steps as a show does (`rollout.py`). Each step's clean estimate is held to where the
teacher's flow leads from the very same noisy latents in many steps (as in Sauer et al. 2023, "Adversarial Diffusion
Distillation", arXiv 2311.17042). The last step's, which is what is shown, must besides pass for a real clip before a
critic: a transformer that begins as a copy of the teacher and sees whole clips, real or made, under some noise, with
their captions (Lin et al. 2025, "Diffusion Adversarial Post-Training", arXiv 2501.08316, whose approximate penalty
keeps the critic's slope small). So that it listens to the words, it also learns to turn down real clips under the
caption of a sibling, which differs in one thing. Half of the streams go on from earlier play, some with a new caption.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.house.batches import SIBLING, Dice, one_caption, shots
from pipelines.house.data import LatentBank
from pipelines.house.diffusion import Learner, Teacher
from pipelines.house.loop import Session
from pipelines.house.model import HouseConfig
from pipelines.house.rollout import Played, Rollout
from pipelines.recipes import HOUSE as RECIPE
from pipelines.schedule import Schedule, resampled
from pipelines.wan import Wan

FRAMES = 8  # latent frames of a clip, as the bank's
PAST = 4  # of these, in streams that go on, how many are known
COUNTS = ((3, 0.6), (2, 0.25), (4, 0.15))  # numbers of steps that are played, and how often
LAST = 0.7  # share of clips whose last step is learned from
ODE_STEPS = 4  # in which the teacher walks from there to the end
GUIDANCE = 0.25  # how much further than the teacher's own its flow goes where the words lead
MISTOLD = 0.25  # real clips under a wrong caption, for each one under its own
RETOLD = 0.3  # share of streams that go on with another caption
OLDEST = 120  # latent frames after which a stream makes room for a new one
MOST_NOISE = 0.5  # on what the critic sees
NUDGE, STIFFNESS = 0.1, 100.0  # the critic's answer to a nudge of this size, squared, costs so much


@dataclass(frozen=True)
class Plan:
    """Streams per step (half of them begin, half go on), the weight of the critic's word against the teacher's, and
    how many of the critic's own steps come before it is listened to."""

    streams: int = 64
    critic: float = 0.1
    alone: int = 100


class Streams:
    """What half of the student's clips go on from: the last latents of earlier play, with the captions."""

    def __init__(self, bank: LatentBank, count: int, dice: Dice) -> None:
        self.bank, self.dice = bank, dice
        self.scene = dice.below(len(bank), count)
        self.tail = bank.latents[self.scene, :PAST].float().transpose(1, 2)
        self.age = dice.below(OLDEST, count)

    def captions(self) -> Tensor:
        """Tokens [N, text_len] for the next clip; some streams are told another scene, often a sibling's."""
        retold = self.dice.unit(len(self.scene)) < RETOLD
        other = torch.where(
            self.dice.unit(len(self.scene)) < SIBLING, self.scene ^ 1, self.dice.below(len(self.bank), len(self.scene))
        ).clamp(max=len(self.bank) - 1)
        self.scene = torch.where(retold, other, self.scene)
        return one_caption(self.bank, self.scene, self.dice)

    def advance(self, begun: Tensor, scenes: Tensor, gone_on: Tensor) -> None:
        """Keep the ends of the clips; old streams are replaced by those that have just begun."""
        self.age += FRAMES - PAST
        old = (self.age > OLDEST) | ~gone_on.isfinite().flatten(1).all(1)
        self.tail = torch.where(old[:, None, None, None, None], begun[:, :, -PAST:], gone_on[:, :, -PAST:])
        self.scene = torch.where(old, scenes, self.scene)
        self.age = torch.where(old, FRAMES, self.age)


class Clips(NamedTuple):
    """A step's play, streams that begin first: latents, their captions, and which frames were made now [N, F]."""

    played: Played
    tokens: Tensor
    made: Tensor


class Exam(NamedTuple):
    """What the critic is asked: clips [N, C, F, h, w] with captions, which of their frames count [N, F], the right
    answer's sign [N]; `kinds`: how many are real, made, and real under a wrong caption, in this order."""

    x: Tensor
    tokens: Tensor
    counts: Tensor
    sign: Tensor
    kinds: tuple[int, int, int]

    def parts(self, answers: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Answers [N, ...] and what counts, kind by kind."""
        return answers.split(self.kinds), self.counts.split(self.kinds)


class Players:
    """The student at play, in all numbers of steps that are learned from."""

    def __init__(self, student: Wan, config: HouseConfig) -> None:
        self.rollouts = {
            (count, past): Rollout(student, config, schedule(count), past, FRAMES - past)
            for count, _ in COUNTS
            for past in (0, PAST)
        }

    def play(self, count: int, past: Tensor, rows: Tensor, pick: Tensor, dice: Dice) -> Played:
        """In `count` steps, on from past [B, C, P, h, w]."""
        shape = (*past.shape[:2], FRAMES - past.shape[2], *past.shape[3:])
        noise = torch.randn(shape, generator=dice.generator, device=dice.device)
        return self.rollouts[count, past.shape[2]](rows, past, noise, pick)


def schedule(count: int) -> Schedule:
    """The house model's steps, in another number."""
    return Schedule.of(resampled(RECIPE.steps, count), RECIPE.shift, RECIPE.warped)


class Learners(NamedTuple):
    """Who learns and who is learned from, on one device."""

    student: Learner
    critic: Learner
    teacher: Learner


class Distillation:
    """Computes both losses; holds the teacher, the streams and what stays the same from step to step."""

    def __init__(
        self,
        learners: Learners,
        config: HouseConfig,
        bank: LatentBank,
        plan: Plan,
        generator: torch.Generator,
    ) -> None:
        self.student, self.critic, self.teacher = learners
        self.plan, self.bank = plan, bank
        self.dice = dice = Dice(generator, bank.latents.device)
        self.forced = Teacher(config, FRAMES, dice.device)
        self.whole = Teacher(config, FRAMES, dice.device, past=False)
        self.players = Players(self.student.dit, config)
        self.streams = Streams(bank, plan.streams // 2, dice)
        self._counts = torch.Generator().manual_seed(0)  # on the CPU: what it says decides which passes are launched

    def play(self) -> tuple[Clips, Tensor]:
        """A step's clips, and for each which of its steps was picked, as whether that is the last [N]."""
        half, dice = self.plan.streams // 2, self.dice
        count = self._count()
        pick = torch.where(dice.unit(2 * half) < LAST, count - 1, dice.below(count, 2 * half))
        scene = dice.below(len(self.bank), half)
        tokens = torch.cat([one_caption(self.bank, scene, dice), self.streams.captions()])
        with torch.no_grad():
            rows = self.student.text(tokens)
        nothing = self.streams.tail[:, :, :0]
        begun = self.players.play(count, nothing, rows[:half], pick[:half], dice)
        gone_on = self.players.play(count, self.streams.tail, rows[half:], pick[half:], dice)
        self.streams.advance(begun.clean, scene, gone_on.clean)
        played = Played(*(torch.cat(pair) for pair in zip(begun, gone_on, strict=True)))
        return Clips(played, tokens, played.sigma > 0), pick == count - 1

    def criticised(self, clips: Clips) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss on real clips, on these, and on real ones under wrong captions; and its parts."""
        exam = self._exam(clips)
        x, sigma = self._spoiled(exam.x)
        nudged = x + NUDGE * self.dice.noise(x)
        word, nudged_word = self.word(torch.cat([x, nudged]), sigma.repeat(2), exam.tokens.repeat(2, 1)).chunk(2)
        agreed = exam.sign[:, None, None, None] * word
        wrong, slope = _mean(F.softplus(-agreed), exam.counts), _mean((word - nudged_word).square(), exam.counts)
        right = [_mean((part > 0).float(), counts) for part, counts in zip(*exam.parts(agreed), strict=True)]
        told = dict(zip(("real", "made", "mistold"), right, strict=True))
        return wrong + STIFFNESS * slope, {"slope": slope, **told}

    def _exam(self, clips: Clips) -> Exam:
        count = len(clips.tokens)
        real, few = shots(self.bank, count, self.dice), max(1, int(MISTOLD * count))
        frames = real.frames.transpose(1, 2)
        sibling = (real.clip[:few] ^ 1).clamp(max=len(self.bank) - 1)
        mistold = one_caption(self.bank, sibling, self.dice)
        return Exam(
            torch.cat([frames, clips.played.clean, frames[:few]]),
            torch.cat([real.tokens, clips.tokens, mistold]),
            torch.cat([real.told, clips.made, real.told[:few]]).float(),
            torch.cat([frames.new_ones(count), -frames.new_ones(count + few)]),
            (count, count, few),
        )

    def taught(self, clips: Clips, last: Tensor, listening: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The student's loss on its own clips, and its parts."""
        played, made = clips.played, clips.made.float()
        clean = self.estimate(self.student, played, clips.tokens)
        goal = self.goal(played, clips.tokens)
        off = _mean((clean - goal).square().mean(1), made)
        parts = {"teacher": off}
        if not listening:
            return off, parts
        shown = torch.where((made[:, None, :, None, None] > 0), clean, played.clean)
        word = self.word(*self._spoiled(shown), clips.tokens)
        doubt = _mean(F.softplus(-word), made * last[:, None].float())
        parts["doubt"] = doubt
        return off + self.plan.critic * doubt, parts

    def estimate(self, learner: Learner, played: Played, tokens: Tensor) -> Tensor:
        """The clean latents the picked step points at, all frames at once behind the clean ones before them."""
        return played.noisy - _wide(played.sigma) * self._flow(learner, played, played.noisy, played.sigma, tokens)

    @torch.no_grad()
    def goal(self, played: Played, tokens: Tensor) -> Tensor:
        """Where the teacher's flow leads from there."""
        x, share = played.noisy, [1 - i / ODE_STEPS for i in range(ODE_STEPS)]
        for at, following in zip(share, (*share[1:], 0.0), strict=True):
            flow = self._flow(self.teacher, played, x, at * played.sigma, tokens)
            wordless = self._flow(self.teacher, played, x, at * played.sigma, torch.zeros_like(tokens))
            flow = flow + GUIDANCE * (flow - wordless)
            x = x + _wide((following - at) * played.sigma) * flow
        return x

    def word(self, x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        """What the critic says of clips under noise sigma [B], per frame and place [B, F, h, w]: above 0 is real."""
        t = 1000 * sigma[:, None].expand(-1, x.shape[2])
        return self.whole.flow(self.critic, x, t, tokens)[:, 0]

    def _flow(self, learner: Learner, played: Played, x: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        t = torch.cat([torch.zeros_like(sigma), 1000 * sigma], 1)
        return self.forced.flow(learner, torch.cat([played.clean, x], 2), t, tokens)

    def _count(self) -> int:
        u = float(torch.rand((), generator=self._counts))
        for count, share in COUNTS:
            u -= share
            if u < 0:
                return count
        return COUNTS[0][0]

    def _spoiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Clips under noise, mostly little, so that detail counts; and how much [B]."""
        sigma = MOST_NOISE * self.dice.unit(len(x)).square()
        return torch.lerp(x, self.dice.noise(x), sigma[:, None, None, None, None]), sigma


def make_critic(student: Learner, config: HouseConfig) -> Learner:
    """A copy of the model with a head of its own: one answer per latent pixel."""
    critic = Learner(Wan(replace(config.dit, out_dim=1)), copy.deepcopy(student.text))
    fresh = critic.dit.state_dict()
    known = {k: v for k, v in student.dit.state_dict().items() if not k.startswith("head.head")}
    critic.dit.load_state_dict({**fresh, **known})
    critic.text.requires_grad_(False)
    return critic


def compile_blocks(distillation: Distillation) -> None:
    """Compile the blocks of all three transformers, for passes over whole clips."""
    for learner in (distillation.student, distillation.critic, distillation.teacher):
        for block in learner.dit.blocks:
            block.compile(dynamic=False)


def train(
    session: Session, critic: Session, distillation: Distillation, show: Callable[[], None], every: float
) -> None:
    """Run both sessions to the end of the student's time; `show` is called every so many seconds."""
    shown = time.monotonic()
    while session.running():
        clips, last = distillation.play()
        critic.module.dit.requires_grad_(True)
        loss, parts = distillation.criticised(clips)
        critic.update(loss, parts)
        listening = critic.step > distillation.plan.alone
        critic.module.dit.requires_grad_(False)
        loss, parts = distillation.taught(clips, last, listening)
        session.update(loss, parts)
        if time.monotonic() - shown > every:
            show()
            shown = time.monotonic()


def _wide(sigma: Tensor) -> Tensor:
    return sigma[:, None, :, None, None]


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Of values [B, F, h, w] with a weight per frame [B, F]."""
    return (values.mean((-2, -1)) * weight).sum() / weight.sum().clamp(min=1)

"""Few-step distillation at toy size: play for learning is the play of a show, and both losses rest on it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipelines.house import distil, model, sampler, train, world
from pipelines.house.batches import Dice
from pipelines.house.data import LatentBank
from pipelines.house.diffusion import Learner
from pipelines.house.distil import FRAMES, PAST, Clips, Distillation, Learners, Plan, Streams, make_critic, schedule
from pipelines.house.rollout import Rollout

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def toy() -> SimpleNamespace:
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    house = model.build(config)
    student = Learner(house.dit, house.text).eval().requires_grad_(False)
    shape = (6, FRAMES, config.dit.in_dim, config.height // 8, config.width // 8)
    words = torch.zeros(6, 2, config.text.text_len, dtype=torch.int16)
    words[:, :, :5] = torch.randint(2, 50, (6, 2, 5), dtype=torch.int16)
    masks = torch.zeros(6, FRAMES, *shape[-2:], dtype=torch.uint8)
    bank = LatentBank(torch.randn(shape).bfloat16(), words, masks)
    return SimpleNamespace(config=config, house=house, student=student, bank=bank)


def lessons(toy: SimpleNamespace, streams: int = 4) -> Distillation:
    critic = make_critic(toy.student, toy.config)
    learners = Learners(toy.student, critic, toy.student)
    return Distillation(learners, toy.config, toy.bank, Plan(streams), torch.Generator().manual_seed(1))


def _rows(toy: SimpleNamespace) -> torch.Tensor:
    return toy.student.text(toy.bank.tokens[:2, 0].long())


@pytest.mark.parametrize("count", [2, 3])
def test_a_rollout_is_what_a_stream_plays(toy: SimpleNamespace, count: int) -> None:
    steps = {2: distil.resampled(distil.RECIPE.steps, 2), 3: distil.RECIPE.steps}[count]
    plan, rows = sampler.SamplePlan(FRAMES, seed=4, steps=steps), _rows(toy)
    expected = sampler.sample_latents(toy.house, toy.config, rows, plan).transpose(1, 2)
    dice = torch.Generator().manual_seed(4)
    one = (2, toy.config.dit.in_dim, 1, *expected.shape[-2:])
    noise = torch.cat([torch.randn(one, generator=dice) for _ in range(FRAMES)], 2)
    rollout = Rollout(toy.house.dit, toy.config, schedule(count), 0, FRAMES)
    played = rollout(rows, expected[:, :, :0], noise, torch.tensor([0, count - 1]))
    torch.testing.assert_close(played.clean, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(played.noisy[0], noise[0]) and not torch.equal(played.noisy[1], noise[1])
    assert (played.sigma[0] == 1).all() and (played.sigma[1] == schedule(count).sigmas[-1]).all()


@pytest.mark.parametrize("past", [0, PAST])
def test_the_estimate_at_the_last_step_is_the_clip(toy: SimpleNamespace, past: int) -> None:
    """All frames at once behind the clean ones are what one frame after another was."""
    known = toy.bank.latents[:2, :past].float().transpose(1, 2)
    size = toy.bank.latents.shape[-2:]
    noise = torch.randn(2, toy.config.dit.in_dim, FRAMES - past, *size)
    rollout = Rollout(toy.house.dit, toy.config, schedule(3), past, FRAMES - past)
    played = rollout(_rows(toy), known, noise, torch.tensor([2, 2]))
    assert torch.equal(played.clean[:, :, :past], known) and (played.sigma[:, :past] == 0).all()
    estimate = lessons(toy).estimate(toy.student, played, toy.bank.tokens[:2, 0].long())
    torch.testing.assert_close(estimate, played.clean, rtol=1e-3, atol=1e-4)


def test_the_goal_is_where_the_teachers_own_flow_leads(toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = lessons(toy)
    clips, _ = taught.play()
    monkeypatch.setattr(distil, "GUIDANCE", 0.0)
    monkeypatch.setattr(distil, "ODE_STEPS", 1)
    estimate = taught.estimate(toy.student, clips.played, clips.tokens)
    torch.testing.assert_close(taught.goal(clips.played, clips.tokens), estimate)
    monkeypatch.setattr(distil, "ODE_STEPS", 8)
    near = taught.goal(clips.played, clips.tokens)
    monkeypatch.setattr(distil, "ODE_STEPS", 32)
    far = taught.goal(clips.played, clips.tokens)
    assert (near - far).norm() < (estimate - far).norm(), "more steps are nearer the flow's end"


def test_a_student_that_is_its_teacher_has_only_the_way_to_learn(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil, "GUIDANCE", 0.0)
    monkeypatch.setattr(distil, "ODE_STEPS", 1)
    taught = lessons(toy)
    clips, last = taught.play()
    loss, parts = taught.taught(clips, last, listening=False)
    assert float(loss) < 1e-8 and set(parts) == {"teacher"}


def test_the_critics_word_moves_the_last_step_alone(toy: SimpleNamespace) -> None:
    taught = lessons(toy)
    clips, _ = taught.play()
    for parameter in taught.student.dit.parameters():
        parameter.requires_grad_(True)
    _, parts = taught.taught(clips, torch.zeros(4, dtype=torch.bool), listening=True)
    assert float(parts["doubt"].detach()) == 0.0
    _, parts = taught.taught(clips, torch.ones(4, dtype=torch.bool), listening=True)
    parts["doubt"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in taught.student.dit.parameters())


def test_the_critic_learns_to_tell_noise_from_clips(toy: SimpleNamespace) -> None:
    taught = lessons(toy)
    critic = taught.critic.dit.requires_grad_(True)
    optimiser = torch.optim.Adam(critic.parameters(), lr=2e-3)
    torch.manual_seed(3)
    shape = (4, toy.config.dit.in_dim, FRAMES, *toy.bank.latents.shape[-2:])
    played = distil.Played(4 * torch.randn(shape), torch.zeros(shape), torch.ones(4, FRAMES))
    clips = Clips(played, toy.bank.tokens[:4, 0].long(), torch.ones(4, FRAMES, dtype=torch.bool))
    for _ in range(40):
        loss, parts = taught.criticised(clips)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(parts["real"]) > 0.9 and float(parts["made"]) > 0.9


def test_a_critic_begins_as_the_model_with_a_head_of_its_own(toy: SimpleNamespace) -> None:
    critic, own = make_critic(toy.student, toy.config).dit.state_dict(), toy.house.dit.state_dict()
    differ = [name for name in own if own[name].shape != critic[name].shape]
    assert differ == ["head.head.weight", "head.head.bias"] and critic["head.head.bias"].shape == (4,)
    assert all(torch.equal(critic[name], own[name]) for name in own if name not in differ)


def test_old_and_broken_streams_make_room(toy: SimpleNamespace) -> None:
    streams = Streams(toy.bank, 3, Dice(torch.Generator().manual_seed(0), CPU))
    streams.age[:] = torch.tensor([0, distil.OLDEST, 0])
    shape = (3, toy.config.dit.in_dim, FRAMES, *toy.bank.latents.shape[-2:])
    begun, gone_on = torch.zeros(shape), torch.ones(shape)
    gone_on[2, 0, -1, 0, 0] = float("nan")
    scenes = torch.tensor([0, 1, 2])
    streams.advance(begun, scenes, gone_on)
    assert [float(tail.mean()) for tail in streams.tail] == [1.0, 0.0, 0.0]
    assert streams.age.tolist() == [FRAMES - PAST, FRAMES, FRAMES]
    assert streams.scene[1:].tolist() == [1, 2]


def test_from_the_command_line_in_two_calls(toy: SimpleNamespace, tmp_path: Path) -> None:
    before = tmp_path / "before.safetensors"
    model.export(before, toy.config, {name: part.state_dict() for name, part in toy.house._asdict().items()}, {})
    run = ["--run", str(tmp_path / "run"), "--toy", "--init", str(before)]
    quick = ["--device", "cpu", "--batch", "4", "--log-every", "1", "--clips", "8", "--block", "4", "--frames", "2"]
    for _ in range(2):
        budget = ["--minutes", "0.03", "--total-minutes", "0.5", "--alone", "1", "--no-compile"]
        train.main(["distil", *run, *quick, *budget])
    lines = [json.loads(line) for line in (tmp_path / "run" / "distil.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "teacher" in line]
    assert len(steps) >= 2 and steps == sorted(set(steps)), "the second call went on"
    after = tmp_path / "after.safetensors"
    train.main(["export", *run, "--out", str(after)])
    assert model.describe(after)[1]["distil"]["steps"] == steps[-1]
    old, new = model.read_states(before), model.read_states(after)
    assert all(torch.equal(old[part][name], new[part][name]) for part in ("text", "vae") for name in old[part])
    assert any(not torch.equal(old["dit"][name], new["dit"][name]) for name in old["dit"])

"""What a training step learns from: noise levels, splices, weights, hidden words, guidance; and where it comes from."""

from types import SimpleNamespace

import pytest
import torch

from pipelines.house import batches, diffusion, model, world
from pipelines.house.data import BankPlan, LatentBank, Size, make_bank
from pipelines.recipes import HOUSE

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def toy():
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    return SimpleNamespace(config=config, house=model.build(config))


def random_bank(config, clips=4, frames=8) -> LatentBank:
    words = torch.zeros(clips, 2, config.text.text_len, dtype=torch.int16)
    words[:, :, :5] = torch.randint(2, 50, (clips, 2, 5), dtype=torch.int16)
    shape = (clips, frames, config.dit.in_dim, config.height // 8, config.width // 8)
    masks = torch.zeros(clips, frames, *shape[-2:], dtype=torch.uint8)
    return LatentBank(torch.randn(shape).bfloat16(), words, masks)


def test_a_batch(toy):
    bank = random_bank(toy.config, clips=64)
    batch = batches.draw(bank, 512, torch.Generator().manual_seed(0))
    past, noisy = batch.t.split(8, dim=1)
    assert not past.any() and noisy.min() >= 0 and noisy.max() == 1000
    assert 0.12 < float((noisy == 1000).float().mean()) < 0.18
    played = [1000 * sigma for sigma in HOUSE.schedule.sigmas[1:]]
    assert 0.16 < float(sum((noisy == level).float().mean() for level in played)) < 0.24
    assert 0.05 < float((batch.tokens == 0).all(1).float().mean()) < 0.12
    pure = batch.x[:, :, 8:].transpose(1, 2)[noisy == 1000]
    assert abs(float(pure.std()) - 1) < 0.02
    assert not batch.weight[:, :, 0].any() and 0.6 < float((batch.weight[:, :, 1:] > 0).float().mean()) < 1


def clean_frames(batch) -> torch.Tensor:
    """[B, F, C, h, w]: flow is noise minus clean."""
    sigma = (batch.t[:, 8:] / 1000)[:, None, :, None, None]
    return (batch.x[:, :, 8:] - sigma * batch.target).transpose(1, 2)


def test_a_spliced_clip_turns_into_its_sibling_where_it_is(toy):
    bank = random_bank(toy.config, clips=2)
    batch = batches.draw(bank, 256, torch.Generator().manual_seed(0))
    clean, told = clean_frames(batch), batch.weight[:, 0, 1:].amax(dim=(-1, -2)) > 0
    wanted, other = (bank.latents.float()[order] for order in ([0, 1], [1, 0]))
    same = [(clean - which[:, None]).abs().amax(dim=(-1, -2, -3)) < 1e-3 for which in (wanted, other)]  # [2, B, F]
    spliced = 0
    for one in range(256):
        index = 0 if same[0][0][one, -1] or same[1][1][one, -1] else 1
        if told[one].all():
            continue
        cut = int(told[one].float().argmax()) + 1
        if same[0][index][one, cut:].all():  # the sibling's own frames at the same moments
            assert same[0][1 - index][one, :cut].all()
            spliced += 1
    assert 20 < spliced < 80


def test_errors_weigh_more_where_the_subject_is(toy):
    bank = random_bank(toy.config)
    bank.masks[:, :, :2] = 255
    weight = batches.draw_stills(bank, 4, torch.Generator().manual_seed(0)).weight
    assert bool((weight[:, :, :, :2] == 1 + batches.SUBJECT).all()) and bool((weight[:, :, :, 2:] == 1).all())


def test_drop_words():
    tokens = torch.tensor([[5, 6, 0], [7, 8, 9]])
    word = torch.tensor([[0.9, 0.01, 0.01], [0.9, 0.9, 0.9]])
    assert batches.drop_words(tokens, word, torch.tensor([[0.5], [0.01]])).tolist() == [[5, 1, 0], [0, 0, 0]]


def test_guidance_moves_the_target_by_what_the_words_change(toy):
    learner, teacher = (
        diffusion.Learner(toy.house.dit, toy.house.text),
        diffusion.Teacher(toy.config, 1, CPU, past=False),
    )
    batch = batches.draw_stills(random_bank(toy.config), 4, torch.Generator().manual_seed(3))
    with torch.no_grad():
        told = teacher.flow(learner, batch.x, batch.t, batch.tokens)
        wordless = teacher.flow(learner, batch.x, batch.t, torch.zeros_like(batch.tokens))
        moved = batch.target.clone()
        moved[:2] += 0.8 * (told - wordless)[:2]
        assert teacher.loss(learner, batch, 0.4) == pytest.approx(float((told - moved).square().mean()), rel=1e-4)
    assert [diffusion.guided(p) for p in (0.0, 0.4, 0.45, 0.5, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_bank_of_siblings(toy):
    plan = BankPlan(clips=12, seconds=60.0, frames=2, captions=2, block=12, siblings=True)
    bank = make_bank(toy.house.vae, toy.house.text, plan, Size(0, 32, 64), CPU)
    assert bank.latents.shape == (12, 2, 16, 4, 8) and bank.masks.shape == (12, 2, 4, 8)
    assert 0 < float((bank.masks > 128).float().mean()) < 0.6
    one, other = bank.masks[::2].float(), bank.masks[1::2].float()
    assert float((one - other).abs().mean()) < 0.5 * float((one - other.roll(1, 0)).abs().mean())

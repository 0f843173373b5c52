"""Training the house model at toy size: every stage from the command line, resuming, and what the losses rest on."""

import json
import struct
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from pipelines.attention import attend
from pipelines.checkpoint import LoadError
from pipelines.house import (
    autoencoder,
    batches,
    diffusion,
    endurance,
    evaluate,
    judge,
    model,
    sampler,
    shards,
    train,
    world,
)
from pipelines.house.data import BankPlan, ClipPool, Size, make_bank
from pipelines.house.loop import Session, Settings
from pipelines.house.png import sheet, write_png
from pipelines.recipes import HOUSE, Recipe
from pipelines.stream import Stream
from tests.test_house_batches import random_bank

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
QUICK = ["--toy", "--device", "cpu", "--batch", "2", "--log-every", "5"]
BANK = ["--clips", "8", "--stills", "8", "--block", "4"]
LEARN = ["--still-batch", "3", "--no-compile", "--frames", "7"]


@pytest.fixture
def toy():
    torch.manual_seed(0)
    config = model.toy_config(world.VOCABULARY)
    house = model.build(config)
    for module in house:
        module.eval()
    return SimpleNamespace(config=config, house=house)


def settings(folder, **changes) -> Settings:
    return replace(Settings(folder, CPU, 5.0, 0.0, 2, 1e-3, (0.9, 0.95), warmup=2, log_every=2), **changes)


def test_every_stage_from_the_command_line(tmp_path):
    run = ["--run", str(tmp_path / "run")]
    weights = tmp_path / "house.safetensors"
    train.main(["autoencoder", *run, *QUICK, "--minutes", "0.03"])
    for _ in range(2):
        budget = ["--minutes", "0.04", "--total-minutes", "0.2"]
        train.main(["diffusion", *run, *QUICK, *BANK, *LEARN, *budget, "--bank-cache"])
    train.main(["export", *run, "--toy", "--out", str(weights), "--shard-mib", "0.1", "--shards", str(tmp_path / "s")])
    pieces = sorted(str(piece) for piece in (tmp_path / "s").glob("*.part*"))
    train.main(["join", *reversed(pieces), "--out", str(tmp_path / "joined.safetensors")])
    assert (tmp_path / "joined.safetensors").read_bytes() == weights.read_bytes()
    train.main(["sample", *run, "--device", "cpu", "--weights", str(weights), "--frames", "2", "--prompt", "a moon"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "diffusion.jsonl").read_text().splitlines()]
    banks = [line["kept"] for line in lines if "kept" in line]
    assert banks == [False, False, True, True]
    assert max(line["step"] for line in lines) > min(line["step"] for line in lines if "loss" in line)
    assert (tmp_path / "run" / "sample.png").is_file() and (tmp_path / "run" / "autoencoder.png").is_file()
    house = model.load(weights)
    assert house.text.encode("a purple tulip").notices == ()
    assert model.describe(weights)[1]["autoencoder"]["steps"] > 0
    (tmp_path / "run" / "autoencoder.pt").unlink()
    later = tmp_path / "later.safetensors"
    train.main(["export", *run, "--toy", "--init", str(weights), "--out", str(later)])
    assert model.describe(later)[1] == model.describe(weights)[1]  # what was known of the parts that are kept


@pytest.mark.parametrize("matrix_lr", [0.0, 2e-3])
def test_a_session_goes_on_where_it_stopped(toy, tmp_path, matrix_lr):
    bank, teacher = random_bank(toy.config), diffusion.Teacher(toy.config, 8, CPU)

    def session() -> Session:
        house = model.build(toy.config)
        plan = settings(tmp_path, matrix_lr=matrix_lr)
        return Session("diffusion", diffusion.Learner(house.dit, house.text), plan, {"a": (1, 2)})

    def steps(one: Session, count: int) -> None:
        for _ in range(count):
            one.update(teacher.loss(one.module, batches.draw(bank, 2, one.generator)))

    first = session()
    steps(first, 3)
    first.save()
    second = session()
    assert second.step == 3
    for one in (first, second):
        one.rate = lambda: 1.0  # the budget's clock differs between the two
        steps(one, 2)
    for ours, theirs in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(first.ema.parameters(), second.ema.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_another_configuration_is_refused(toy, tmp_path):
    module = torch.nn.Linear(2, 2)
    Session("x", module, settings(tmp_path), {"a": 1}).save()
    with pytest.raises(ValueError, match="another configuration"):
        Session("x", module, settings(tmp_path), {"a": 2})
    assert Session("x", module, settings(tmp_path, fresh=True), {"a": 2}).step == 0


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_state(tmp_path):
    session = Session("x", torch.nn.Linear(2, 2), settings(tmp_path), {})
    session.save()
    with pytest.raises(RuntimeError, match=r"x\.pt holds the last good state"):
        for _ in range(2):
            session.update(session.module(torch.full((1, 2), float("nan"))).sum())


def test_the_budget_and_the_rate(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pipelines.house.loop.time.monotonic", lambda: now[0])
    session = Session("x", torch.nn.Linear(2, 2), settings(tmp_path, minutes=10.0, total_minutes=20.0, began=0.0), {})
    now[0] = 100.0
    assert session.running() and session.progress() == 0
    now[0] = 574.0
    session.step = 500
    assert session.running() and 0.3 < session.progress() < 0.5
    now[0] = 576.0
    assert not session.running()
    session.save()
    reached = session.progress()
    again = Session("x", torch.nn.Linear(2, 2), settings(tmp_path, minutes=10.0, total_minutes=20.0, began=600.0), {})
    now[0] = 620.0
    assert again.running() and again.progress() > reached
    now[0] = 1170.0 + 25.0
    assert again.progress() > 0.98 and again.rate() < 0.03


@pytest.mark.parametrize(("frames", "window"), [(8, 6), (3, 6), (5, 1)])
def test_framewise_attention_is_the_masked_one(frames, window):
    q, k, v = (torch.randn(2, 2 * frames * 6, 2, 8) for _ in range(3))
    masked = attend(q, k, v, diffusion.teacher_mask(frames, 6, window))
    assert torch.allclose(diffusion.framewise(q, k, v, frames, window), masked, atol=1e-5)


def test_the_mask_says_what_the_stream_does():
    mask = diffusion.teacher_mask(8, 1, 6)
    assert mask[7].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert mask[8 + 7].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6, 15]
    assert mask[8].nonzero()[:, 0].tolist() == [8]


def test_teacher_forcing_is_what_the_rolling_cache_computes(toy):
    """The flow of every noisy frame, learned from at once, equals that of a stream that reaches it frame by frame."""
    from pipelines.cache import KVCache
    from pipelines.rope import Rope

    dit, config = toy.house.dit, toy.config
    batch = batches.draw(random_bank(config), 2, torch.Generator().manual_seed(1))
    teacher = diffusion.Teacher(config, 8, CPU)
    text = dit.read_text(toy.house.text(batch.tokens))
    cache = KVCache((config.dit.num_layers, 2, config.dit.num_heads, config.dit.head_dim), config.window, 8)
    rope = Rope(config.dit.head_dim, 2, 4)
    with torch.no_grad():
        together = dit(batch.x, batch.t, text, teacher.turn, None, None, teacher.bends)[:, :, 8:]
        for i in range(8):
            placement, turn = cache.place(i, 1), rope.turn([i])
            memory = tuple(cache.layer(layer, placement) for layer in range(config.dit.num_layers))
            flow = dit(batch.x[:, :, 8 + i : 9 + i], batch.t[:, 8 + i : 9 + i], text, turn, memory)
            dit(batch.x[:, :, i : i + 1], batch.t[:, i : i + 1], text, turn, memory)
            assert torch.allclose(flow, together[:, :, i : i + 1], atol=1e-4), i


def test_dense_and_framewise_give_one_loss(toy):
    learner = diffusion.Learner(toy.house.dit, toy.house.text)
    batch = batches.draw(random_bank(toy.config), 2, torch.Generator().manual_seed(1))
    losses = [diffusion.Teacher(toy.config, 8, CPU, dense).loss(learner, batch) for dense in (True, False)]
    assert torch.allclose(*losses, rtol=1e-5)
    losses[1].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


def test_stills_are_learned_as_the_stream_begins(toy):
    """The flow of a still is that of a stream's first frame, before anything is remembered."""
    batch = batches.draw_stills(random_bank(toy.config), 3, torch.Generator().manual_seed(1))
    assert batch.x.shape[2] == 1 and bool((batch.weight == 1).all())
    learner = diffusion.Learner(toy.house.dit, toy.house.text)
    with torch.no_grad():
        flow = diffusion.Teacher(toy.config, 1, CPU, past=False).flow(learner, batch.x, batch.t, batch.tokens)
        past = torch.cat([torch.randn_like(batch.x), batch.x], dim=2)
        times = torch.cat([torch.zeros_like(batch.t), batch.t], dim=1)
        forced = diffusion.Teacher(toy.config, 1, CPU).flow(learner, past, times, batch.tokens)
    assert torch.allclose(flow, forced, atol=1e-5)


def test_the_autoencoder_learns(toy):
    vae, generator = toy.house.vae.train(), torch.Generator().manual_seed(0)
    pool = ClipPool(Size(8, 32, 64), CPU, 2, 0, blocks=1, uses=4)
    optimiser = torch.optim.Adam(vae.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        losses = autoencoder.reconstruction(vae, pool.draw(generator), generator, 0.05)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        seen.append(float(losses.total.detach()))
    assert sum(seen[-5:]) < 0.7 * sum(seen[:5])


def test_spread_is_zero_for_standard_latents():
    latents = torch.randn(8, 3, 16, 18, 32).clamp(-3, 3)
    assert float(autoencoder.spread(latents)) < 1e-3 < float(autoencoder.spread(2 * latents + 1))


def test_streaming_quality(toy):
    result = autoencoder.quality(toy.house.vae, 3, Size(8, 32, 64), CPU)
    assert result.worst <= result.psnr < 40 and result.pair.shape == (6, 8, 3, 32, 64)


def test_the_bank_keeps_to_its_time(toy):
    plan = BankPlan(clips=1000, seconds=0.0, frames=2, captions=3, block=4)
    bank = make_bank(toy.house.vae, toy.house.text, plan, Size(0, 32, 64), CPU)
    assert bank.latents.shape == (4, 2, 16, 4, 8) and bank.tokens.shape == (4, 3, 24)
    assert bank.latents.dtype == torch.bfloat16


def test_the_sampler_makes_what_the_stream_plays(toy):
    """Same model, same noise, one prompt: latents of the contact sheets equal those of the instrument."""
    recipe: Recipe = replace(HOUSE, config=toy.config.dit, width=64, height=32, latent_limit=None)
    stream = Stream(toy.house.dit, toy.house.vae, recipe, seed=3)
    prompt = toy.house.text.encode("a purple tulip")
    stream.read_prompt(prompt)
    plan = sampler.SamplePlan(frames=8, seed=3)
    latents = sampler.sample_latents(toy.house, toy.config, prompt.embeddings, plan)
    for i in range(8):
        for _ in stream.denoise():
            pass
        # The last step differs by the grid's smallest sigma at most.
        assert torch.allclose(stream._latents[0, :, 0], latents[0, i], atol=1e-3), i
        list(stream.commit())


def test_a_roll_follows_its_captions(toy):
    """A programme's rows change where it says, and the same caption on and on is what the sampler makes."""
    programme = endurance.Programme(toy.house.text, 2, 16, 1)
    first, scenes = programme.rows(0), programme.scenes
    assert programme.rows(15) is first and programme.rows(16) is not first
    assert not torch.equal(programme.scenes.jitter, scenes.jitter)
    plan = sampler.SamplePlan(frames=4, seed=3)
    other = toy.house.text(toy.house.text.batch(["a moon", "a red star"])).detach()
    same = sampler.sample_latents(toy.house, toy.config, first, plan)
    turned = list(sampler.roll(toy.house, toy.config, lambda at: first if at < 2 else other, plan))
    assert torch.equal(torch.cat(turned[:2], dim=1), same[:, :2]) and not torch.equal(turned[2], same[:, 2:3])
    with pytest.raises(ValueError, match="too short"):
        endurance.Programme(toy.house.text, 2, 9, 1)


def test_weights_file_is_strict(toy, tmp_path):
    states = {name: module.state_dict() for name, module in toy.house._asdict().items()}
    path = model.export(tmp_path / "a" / "w.safetensors", toy.config, states, {"steps": 3})
    assert model.describe(path) == (toy.config, {"steps": 3})
    again = model.load(path)
    assert torch.allclose(again.dit.blocks[0].ffn[0].weight, toy.house.dit.blocks[0].ffn[0].weight, atol=1e-3)
    del states["dit"]["head.head.bias"]
    states["vae"]["extra"] = torch.zeros(1)
    path = model.export(tmp_path / "w.safetensors", toy.config, states, {})
    with pytest.raises(LoadError, match=r"part 'dit'.*missing head\.head\.bias; unexpected nothing"):
        model.load(path)
    with pytest.raises(LoadError, match="gone"):
        model.load(tmp_path / "gone.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(model.BadWeights, match="not a house weights file"):
        model.load(tmp_path / "other.safetensors")


def test_the_file_that_ships_is_small(tmp_path):
    config = model.full_config(world.VOCABULARY)
    states = {name: module.state_dict() for name, module in model.build(config)._asdict().items()}
    path = model.export(tmp_path / "w.safetensors", config, states, {})
    assert path.stat().st_size < 30e6


def test_pieces_that_do_not_fit_are_noticed(tmp_path):
    (tmp_path / "w").write_bytes(bytes(range(256)) * 20)
    pieces = shards.split(tmp_path / "w", tmp_path / "s", 0.001)
    assert len(pieces) == 5
    with pytest.raises(ValueError, match="4 pieces"):
        shards.join(pieces[:4], tmp_path / "v")


def test_png(tmp_path):
    clips = torch.rand(2, 6, 3, 8, 12)
    picture = sheet(clips, 3, gap=1)
    assert picture.shape == (18, 39, 3)
    write_png(tmp_path / "x.png", picture)
    data = (tmp_path / "x.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (39, 18)
    size = struct.unpack(">I", data[33:37])[0]
    rows = torch.frombuffer(bytearray(zlib.decompress(data[41 : 41 + size])), dtype=torch.uint8).view(18, 118)
    assert bool((rows[:, 0] == 2).all())  # every row is told as what is added to the one above
    assert torch.equal(rows[:, 1:].cumsum(0).to(torch.uint8).reshape(18, 39, 3), picture)
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "x.png", picture.float())


def test_hue_of_what_stands_out():
    rows = [{"colour": colour, "subject": "moon", "place": "darkness"} for colour in ("red", "green", "purple")]
    pixels = world.render(world.scenes_from_attributes(rows), frames=1, height=72, width=128)
    wanted = torch.tensor([0.992, 0.365, 0.760])
    assert bool((evaluate.hue_distance(evaluate.dominant_hue(pixels), wanted) < 0.04).all())
    assert float(evaluate.hue_distance(torch.tensor(0.95), torch.tensor(0.05))) == pytest.approx(0.1)


def test_evaluation_from_the_command_line(toy, tmp_path, capsys):
    states = {name: module.state_dict() for name, module in toy.house._asdict().items()}
    path = model.export(tmp_path / "w.safetensors", toy.config, states, {})
    school = ["--minutes", "0.03", "--clips", "32", "--n", "8", "--device", "cpu", "--out", str(tmp_path / "judge")]
    judge.main(school)
    words = ["--weights", str(path), "--device", "cpu", "--n", "3", "--frames", "8", "--steps", "1000,500"]
    evaluate.main([*words, "--judge", str(tmp_path / "judge"), "--out", str(tmp_path / "r.json")])
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result) == {"real", "sampled"} and result["real"]["hue_right"] > 0.6
    assert set(result["real"]["answers"]) == set(judge.ANSWERS)
    assert "subject right" in capsys.readouterr().out
    long = ["--weights", str(path), "--device", "cpu", "--streams", "3", "--minutes", "0.11", "--seconds", "3.2"]
    endurance.main([*long, "--judge", str(tmp_path / "judge"), "--out", str(tmp_path / "e.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [line["when"] for line in lines] == 2 * [endurance.AFTER, endurance.END]
    assert "at the end" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="school one"):
        judge.load(tmp_path / "gone", CPU)


def both_lessons(toy) -> list[diffusion.Lesson]:
    clips, stills = random_bank(toy.config), random_bank(toy.config, frames=1)
    return diffusion.lessons(toy.config, clips, stills, diffusion.Counts(2, 4), dense=False)


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(toy):
    learner = diffusion.Learner(toy.house.dit, toy.house.text)
    assert diffusion.compile_blocks(learner, both_lessons(toy)) == "compiled"


def test_a_compiler_that_fails_is_done_without(toy, monkeypatch):
    learner, taught = diffusion.Learner(toy.house.dit, toy.house.text), both_lessons(toy)
    plain = [lesson.loss(learner, torch.Generator().manual_seed(0), 1.0).detach() for lesson in taught]

    def refuse(graph, inputs):
        raise RuntimeError("no compiler here")

    def compile_(block, **options):
        torch.nn.Module.compile(block, backend=refuse, **options)

    for block in learner.dit.blocks:
        monkeypatch.setattr(block, "compile", lambda block=block, **options: compile_(block, **options))
    try:
        assert "no compiler here" in diffusion.compile_blocks(learner, taught)
        again = [lesson.loss(learner, torch.Generator().manual_seed(0), 1.0).detach() for lesson in taught]
        assert torch.equal(torch.stack(again), torch.stack(plain))
    finally:
        torch.compiler.set_stance("default")


def test_crops_keep_to_the_grid():
    pieces = torch.rand(2, 12, 3, 144, 256)
    part = autoencoder.crop(pieces)
    assert part.shape == (2, 8, 3, 96, 128)
    assert autoencoder.crop(torch.rand(2, 4, 3, 32, 64)).shape == (2, 4, 3, 32, 64)

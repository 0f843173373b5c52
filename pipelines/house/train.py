"""Train the house model:  python -m pipelines.house.train autoencoder | bank | compile | diffusion | distil | ...

    python -m pipelines.house.train autoencoder --minutes 7
    python -m pipelines.house.train bank & python -m pipelines.house.train compile; wait     # saves the first call time
    python -m pipelines.house.train diffusion --minutes 9 --total-minutes 15     # again until the total is used up
    python -m pipelines.house.train export
    python -m pipelines.house.train distil --init pipelines/house/weights/house.safetensors --minutes 9
    python -m pipelines.house.train export
    python -m pipelines.house.train sample

Each stage resumes from its checkpoint in the run's folder; logs and contact sheets lie beside it.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.house import autoencoder, diffusion, distil, shards, world
from pipelines.house.data import BankPlan, LatentBank, Size, make_bank, read_bank, write_bank
from pipelines.house.loop import Session, Settings, read_checkpoint
from pipelines.house.model import (
    WEIGHTS,
    House,
    HouseConfig,
    build,
    describe,
    export,
    full_config,
    load,
    read_states,
    toy_config,
)
from pipelines.house.png import sheet, write_png
from pipelines.house.sampler import SamplePlan, sample_clips
from pipelines.load import fill

PROMPTS = (
    "a purple tulip swaying over a dark sea",
    "a red tulip swaying over a dark sea",
    "a gold jellyfish rising underwater, neon glow",
    "a blue butterfly and a red flame in a cave",
)


def train_autoencoder(args: argparse.Namespace) -> None:
    config, house = _begin(args)
    session = Session("autoencoder", house.vae, _settings(args, 1e-3, (0.9, 0.99)), _plain(config.vae))
    size = Size(autoencoder.PIECE, config.height, config.width)
    _finish_autoencoder(session, size) if args.measure else autoencoder.train(session, size, args.jitter)
    if not args.measure:
        _finish_autoencoder(session, size)
        session.save()


def _finish_autoencoder(session: Session, size: Size) -> None:
    frames = Size(24, size.height, size.width)
    result = autoencoder.quality(session.ema, 32, frames, session.device)
    session.facts |= {"psnr": round(result.psnr, 2), "psnr_worst": round(result.worst, 2)}
    session.log(**session.facts)
    write_png(session.settings.run / "autoencoder.png", sheet(result.pair[:12], 5))


def train_diffusion(args: argparse.Namespace) -> None:
    config, house = _begin(args)
    house.vae.to(args.device).eval().requires_grad_(False)
    if not args.init_has_vae:
        house.vae.load_state_dict(read_checkpoint(args.run / "autoencoder.pt")["ema"])
    learner = diffusion.Learner(house.dit, house.text)
    session = Session("diffusion", learner, _settings(args, 1e-3, (0.9, 0.95)), _plain(config))
    clips, stills = (_bank(args, plan, config, house, session.log) for plan in _plans(args))
    session.facts |= {"clips": len(clips), "stills": len(stills)}
    taught = diffusion.lessons(config, clips, stills, _counts(args), args.attention == "dense")
    if args.compile:
        began = time.monotonic()
        outcome = diffusion.compile_blocks(learner, taught)
        session.log(compile=outcome, took=round(time.monotonic() - began, 1))

    def show() -> None:
        _sheet(args, config, House(session.ema.dit, house.vae, session.ema.text), f"diffusion-{session.step:06d}")

    diffusion.train(session, taught, show, 60 * args.sheet_minutes)
    session.save()
    show()
    if args.device.type == "cuda":
        session.log(peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 1))


def train_distil(args: argparse.Namespace) -> None:
    config, house = _begin(args)
    learner = diffusion.Learner(house.dit, house.text)
    learner.text.requires_grad_(False)
    teacher = copy.deepcopy(learner).to(args.device).eval().requires_grad_(False)
    session = Session("distil", learner, _settings(args, 5e-5, (0.0, 0.99)), _plain(config))
    critic = Session("critic", distil.make_critic(learner, config), _settings(args, 1e-4, (0.0, 0.99)), _plain(config))
    bank = _bank(args, _plans(args)[0], config, house._replace(vae=house.vae.to(args.device).eval()), session.log)
    plan = distil.Plan(args.batch, args.critic, args.alone)
    lessons = distil.Distillation(
        distil.Learners(session.module, critic.module, teacher), config, bank, plan, session.generator
    )
    if args.compile:
        distil.compile_blocks(lessons)

    def show() -> None:
        _sheet(args, config, House(session.ema.dit, house.vae, session.ema.text), f"distil-{session.step:06d}")

    distil.train(session, critic, lessons, show, 60 * args.sheet_minutes)
    session.save()
    critic.save()
    show()


def fill_banks(args: argparse.Namespace) -> None:
    """Render and encode what the diffusion stage reads, and keep it for that stage."""
    config, house = _begin(args)
    house.vae.to(args.device).eval().requires_grad_(False)
    args.run.mkdir(parents=True, exist_ok=True)
    for plan in _plans(args):
        _bank(args, plan, config, house, lambda **entries: print(entries, flush=True))


def warm_up(args: argparse.Namespace) -> None:
    """Compile what the diffusion stage compiles, on noise; with the cache on disk that stage starts faster."""
    config, house = _begin(args)
    learner = diffusion.Learner(house.dit, house.text).to(args.device).train()
    height, width = config.height // 8, config.width // 8

    def noise(frames: int) -> LatentBank:
        words = torch.randint(2, 50, (64, 1, config.text.text_len), dtype=torch.int16, device=args.device)
        latents = torch.randn(64, frames, config.dit.in_dim, height, width, device=args.device).bfloat16()
        return LatentBank(latents, words, torch.zeros(64, frames, height, width, dtype=torch.uint8, device=args.device))

    began = time.monotonic()
    taught = diffusion.lessons(config, noise(BankPlan(0, 0).frames), noise(1), _counts(args), args.attention == "dense")
    print(diffusion.compile_blocks(learner, taught), round(time.monotonic() - began, 1), flush=True)


def _plans(args: argparse.Namespace) -> tuple[BankPlan, BankPlan]:
    """Of the clips and of the stills."""
    clips = BankPlan(args.clips, args.bank_seconds, block=args.block, captions=args.captions, siblings=True)
    stills = BankPlan(args.stills, args.bank_seconds, 1, args.captions, seed=2, block=8 * args.block)
    return clips, stills


def _counts(args: argparse.Namespace) -> diffusion.Counts:
    return diffusion.Counts(args.batch, args.still_batch)


def _bank(
    args: argparse.Namespace, plan: BankPlan, config: HouseConfig, house: House, log: Callable[..., None]
) -> LatentBank:
    """From disk when it is there and may be, else made."""
    digest = hashlib.sha256(repr((config, plan)).encode())
    for value in house.vae.state_dict().values():
        digest.update(value.float().cpu().contiguous().numpy().tobytes())
    path, began = args.run / f"bank{plan.frames}.pt", time.monotonic()
    bank = read_bank(path, digest.hexdigest(), args.device) if args.bank_cache else None
    kept = bank is not None
    if bank is None:
        bank = make_bank(house.vae, house.text, plan, Size(0, config.height, config.width), args.device)
        if args.bank_cache:
            write_bank(path, digest.hexdigest(), bank)
    some = bank.latents[:2000].float()
    spread = {"mean": round(float(some.mean()), 3), "std": round(float(some.std()), 3)}
    channels = [round(float(value), 2) for value in some.std(dim=(0, 1, 3, 4))]
    took = round(time.monotonic() - began, 1)
    log(clips=len(bank), frames=plan.frames, kept=kept, took=took, **spread, channel_std=channels)
    return bank


def export_weights(args: argparse.Namespace) -> None:
    """What the run has so far, as one file; without a diffusion checkpoint only the autoencoder."""
    config = _config(args)
    first = read_checkpoint(args.run / "autoencoder.pt") if (args.run / "autoencoder.pt").is_file() else None
    states: dict[str, dict[str, Tensor]] = {"vae": first["ema"]} if first else read_states(args.init)
    facts: dict[str, Any] = describe(args.init)[1] if args.init else {}
    if first:
        facts["autoencoder"] = {"steps": first["step"], **first["facts"]}
    if (args.run / "diffusion.pt").is_file():
        second = read_checkpoint(args.run / "diffusion.pt")
        for key, value in second["ema"].items():
            part, name = key.split(".", 1)
            states.setdefault(part, {})[name] = value
        facts["diffusion"] = {"steps": second["step"], **second["facts"]}
    if (args.run / "distil.pt").is_file():
        third = read_checkpoint(args.run / "distil.pt")
        states["dit"] = {key[4:]: value for key, value in third["ema"].items() if key.startswith("dit.")}
        facts["distil"] = {"steps": third["step"], **third["facts"]}
    path = export(args.out, config, states, facts)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, parts {', '.join(states)}")
    if args.shard_mib:
        for piece in shards.split(path, args.shards or path.parent, args.shard_mib):
            print(piece)


def sample(args: argparse.Namespace) -> None:
    house, (config, _) = load(args.weights, args.device), describe(args.weights)
    _sheet(args, config, house, args.name)


def _sheet(args: argparse.Namespace, config: HouseConfig, house: House, name: str) -> None:
    prompts = list(args.prompt or PROMPTS)
    if not args.prompt:
        prompts += world.captions(world.sample(4, seed=5, split="heldback"), seed=5, full=True)
    plan = SamplePlan(args.frames, args.seed, tuple(float(step) for step in args.steps.split(",")))
    clips = sample_clips(house, config, prompts, plan)
    folder = args.sheets or args.run
    write_png(folder / f"{name}.png", sheet(clips, 6))
    (folder / f"{name}.txt").write_text("\n".join(prompts) + "\n")
    print(f"{folder / name}.png", flush=True)


def join(args: argparse.Namespace) -> None:
    print(shards.join(args.pieces, args.out))


def _begin(args: argparse.Namespace) -> tuple[HouseConfig, House]:
    """Fresh modules, with the parts of --init in them."""
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    config = _config(args)
    house = build(config)
    states = read_states(args.init) if args.init else {}
    for part, state in states.items():
        fill(getattr(house, part), state, f"{args.init}, part '{part}'")
    args.init_has_vae = "vae" in states
    return config, house


def _config(args: argparse.Namespace) -> HouseConfig:
    return (toy_config if args.toy else full_config)(world.VOCABULARY)


def _settings(args: argparse.Namespace, lr: float, betas: tuple[float, float]) -> Settings:
    return Settings(
        args.run,
        args.device,
        args.minutes,
        args.total_minutes,
        args.batch,
        args.lr or lr,
        betas,
        matrix_lr=args.matrix_lr,
        warmup=args.warmup,
        seed=args.seed,
        log_every=args.log_every,
        fresh=args.fresh,
        began=args.began,
    )


def _plain(config: Any) -> dict[str, Any]:
    return asdict(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.house.train", description=__doc__.split("\n")[0])
    parser.set_defaults(prompt=None, matrix_lr=0.0)  # where a verb has no such words
    verbs = parser.add_subparsers(required=True)
    first = _verb(verbs, "autoencoder", train_autoencoder, "pixels to latents and back")
    _training(first, minutes=7, batch=16)
    first.add_argument("--jitter", type=float, default=0.05, help="noise on the latents while training")
    first.add_argument("--measure", action="store_true", help="only measure what the checkpoint holds")
    second = _verb(verbs, "diffusion", train_diffusion, "the transformer and the text encoder")
    _training(second, minutes=9, batch=32)
    second.add_argument("--matrix-lr", type=float, default=1.5e-3, help="of the blocks' matrices; 0: the same as all")
    second.add_argument("--sheet-minutes", type=float, default=3.0)
    _banking(second)
    _compiling(second)
    _sampling(second)
    third = _verb(verbs, "distil", train_distil, "the transformer again, on its own play in few steps")
    _training(third, minutes=9, batch=64)
    third.add_argument("--critic", type=float, default=0.1, help="weight of the critic's word")
    third.add_argument("--alone", type=int, default=100, help="steps of the critic before it is listened to")
    third.add_argument("--sheet-minutes", type=float, default=4.0)
    _banking(third)
    _compiling(third)
    _sampling(third)
    _more_verbs(verbs)
    return parser


def _more_verbs(verbs) -> None:
    """Those that train nothing."""
    fill = _verb(verbs, "bank", fill_banks, "render and encode what the diffusion stage reads")
    _banking(fill)
    fill.set_defaults(bank_cache=True)
    warm = _verb(verbs, "compile", warm_up, "compile what the diffusion stage compiles, for its cache")
    warm.add_argument("--batch", type=int, default=32)
    _compiling(warm)
    out = _verb(verbs, "export", export_weights, "write the weights file")
    out.add_argument("--out", type=Path, default=WEIGHTS)
    out.add_argument("--shard-mib", type=float, default=0.0, help="also write pieces of at most this size")
    out.add_argument("--shards", type=Path, help="folder of the pieces")
    show = _verb(verbs, "sample", sample, "a contact sheet from the weights file")
    show.add_argument("--weights", type=Path, default=WEIGHTS)
    show.add_argument("--prompt", action="append")
    show.add_argument("--name", default="sample")
    _sampling(show)
    put = _verb(verbs, "join", join, "put the pieces of a split file together")
    put.add_argument("pieces", type=Path, nargs="+")
    put.add_argument("--out", type=Path, default=WEIGHTS)


def _verb(verbs, name: str, run, doc: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=doc)
    parser.set_defaults(do=run)
    parser.add_argument("--run", type=Path, default=Path("runs/house"), help="folder of checkpoints, logs and sheets")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(default))
    parser.add_argument("--toy", action="store_true", help="a tiny model on tiny pictures, to try the programme out")
    parser.add_argument("--init", type=Path, help="start from the parts in this weights file")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _training(parser: argparse.ArgumentParser, minutes: float, batch: int) -> None:
    parser.add_argument("--minutes", type=float, default=minutes, help="wall-clock minutes of this call, all included")
    parser.add_argument("--total-minutes", type=float, default=0.0, help="of all calls; default: until this one's end")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=0.0)
    parser.add_argument("--warmup", type=int, default=300, help="steps")
    parser.add_argument("--log-every", type=int, default=50, help="steps")
    parser.add_argument("--fresh", action="store_true", help="do not resume")


def _banking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=16_000, help="clips in the bank")
    parser.add_argument("--stills", type=int, default=64_000, help="first frames in the bank")
    parser.add_argument("--bank-seconds", type=float, default=110.0, help="stop filling either after this long")
    parser.add_argument("--bank-cache", action="store_true", help="keep the bank on disk for the next call")
    parser.add_argument("--block", type=int, default=128, help="clips rendered at once")
    parser.add_argument("--captions", type=int, default=4, help="captions per clip")


def _compiling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--still-batch", type=int, default=512, help="first frames per step, besides the clips")
    parser.add_argument("--attention", choices=("framewise", "dense"), default="framewise")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())


def _sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, default=10, help="latent frames per sampled clip")
    parser.add_argument("--steps", default="1000,750,500,250", help="denoising steps before warping")
    parser.add_argument("--sheets", type=Path, help="folder of contact sheets; default: the run's")


def main(words: list[str] | None = None) -> None:
    began = time.monotonic()
    args = _parser().parse_args(words)
    args.began = began
    args.do(args)


if __name__ == "__main__":
    main()

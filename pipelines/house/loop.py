"""One stage of training as a resumable session: time budget, learning rate, moving average, checkpoint, log.

A session may be spread over several calls. What it has learned so far lies in one checkpoint file, written whole or not
at all. Knows nothing of what is trained.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.house.muon import Muon
from pipelines.whole import beside


@dataclass(frozen=True)
class Settings:
    """How a stage is trained. Minutes are wall-clock: this call's, and those of all calls together (0 = this call).

    `matrix_lr`: the learning rate of the matrices inside the transformer's blocks, by Muon; 0 leaves all to AdamW.
    `hold`: share of the budget at the full learning rate, before it falls.
    """

    run: Path
    device: torch.device
    minutes: float
    total_minutes: float
    batch: int
    lr: float
    betas: tuple[float, float]
    matrix_lr: float = 0.0
    decay: float = 0.01
    warmup: int = 300
    hold: float = 0.2
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    log_every: int = 50
    save_every: float = 120.0  # seconds
    fresh: bool = False
    began: float = field(default_factory=time.monotonic)  # preparing counts against the budget, too


class Session:
    """Trains one module. Use: `while session.running(): session.update(loss)`, then `session.save()`."""

    def __init__(self, name: str, module: nn.Module, settings: Settings, config: dict[str, Any]) -> None:
        """Resumes from `<run>/<name>.pt` when it is there; ValueError when that was trained with another config."""
        self.name, self.settings, self.config = name, settings, json.loads(json.dumps(config))
        self.module = module.to(settings.device).train()
        self.ema = copy.deepcopy(self.module).eval().requires_grad_(False)
        self.optimisers = _optimisers(self.module, settings)
        self.generator = torch.Generator(device=settings.device).manual_seed(settings.seed)
        self.step, self.used, self.looped, self.facts = 0, 0.0, 0.0, {}
        self.path = settings.run / f"{name}.pt"
        settings.run.mkdir(parents=True, exist_ok=True)
        if self.path.is_file() and not settings.fresh:
            self._resume()
        self._tail = min(25.0, 6.0 * settings.minutes)  # seconds kept back for saving and sheets
        self._started: float | None = None  # when the loop began
        self._saved = self._logged = time.monotonic()
        self._logged_step, self._first = self.step, self.step
        self._sums: dict[str, Tensor] = {}
        self._parameters = list(self.module.parameters())
        self._shadows = list(self.ema.parameters())

    @property
    def device(self) -> torch.device:
        return self.settings.device

    def running(self) -> bool:
        """Whether there is time for another step (always for a call's first); saves a checkpoint now and then."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        if now - self._saved > self.settings.save_every:
            self.save()
        in_time = now - self.settings.began < 60 * self.settings.minutes - self._tail
        left = self._remaining() > 0
        return (left and in_time) or (self.step == self._first and (left or not self.settings.total_minutes))

    def progress(self) -> float:
        """0 at the first step of the first call, 1 when the whole budget is spent."""
        done = self.looped + self._in_loop()
        return min(1.0, done / max(done + self._remaining(), 1e-9))

    def rate(self) -> float:
        """The learning rate now, as a share of the full one: a linear warm-up, level, then a line to a hundredth."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup)
        fall = max(0.0, self.progress() - self.settings.hold) / (1 - self.settings.hold)
        return warm * (1 - 0.99 * fall)

    def update(self, loss: Tensor, parts: dict[str, Tensor] | None = None) -> None:
        """One step down the loss's gradient; `parts` are averaged into the log."""
        rate = self.rate()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = rate * optimiser.defaults["lr"]
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.settings.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._shadows, self._parameters, 1 - decay)
        self._note({"loss": loss, "norm": norm, **(parts or {})})

    def save(self) -> None:
        """Write the checkpoint: complete, or the old one stays."""
        state = {
            "config": self.config,
            "module": self.module.state_dict(),
            "ema": self.ema.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "generator": self.generator.get_state(),
            "step": self.step,
            "used": self.used + time.monotonic() - self.settings.began,
            "looped": self.looped + self._in_loop(),
            "facts": self.facts,
        }
        with beside(self.path) as partial:
            torch.save(state, partial)
        self._saved = time.monotonic()

    def log(self, **entries: Any) -> None:
        """A line of JSON to `<run>/<name>.jsonl` and to standard output."""
        line = json.dumps({"stage": self.name, "step": self.step, "seconds": round(self._wall(), 1), **entries})
        with (self.settings.run / f"{self.name}.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def _note(self, values: dict[str, Tensor]) -> None:
        for key, value in values.items():
            value = value.detach().float()
            self._sums[key] = self._sums[key] + value if key in self._sums else value
        since = self.step - self._logged_step
        if since < self.settings.log_every and self.step - self._first not in (1, 5):
            return
        means = {key: float(total) / since for key, total in self._sums.items()}  # waits for the device
        now = time.monotonic()
        rounded = {key: float(f"{mean:.5g}") for key, mean in means.items()}
        speed = round(since / max(now - self._logged, 1e-9), 3)
        self.log(
            **rounded, rate=float(f"{self.rate():.4g}"), progress=round(self.progress(), 4), steps_per_second=speed
        )
        self._sums, self._logged, self._logged_step = {}, now, self.step
        if not math.isfinite(means["loss"]):
            raise RuntimeError(
                f"{self.name}: the loss is {means['loss']} at step {self.step}; "
                f"{self.path} holds the last good state: resume from it with a lower --lr"
            )

    def _resume(self) -> None:
        # On the CPU: a generator's state must stay there, and the rest is copied where it belongs.
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if state["config"] != self.config:
            raise ValueError(f"{self.path} was trained with another configuration; use another --run, or --fresh")
        self.module.load_state_dict(state["module"])
        self.ema.load_state_dict(state["ema"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.generator.set_state(state["generator"])
        self.step, self.used, self.looped = state["step"], state["used"], state["looped"]
        self.facts = state["facts"]

    def _in_loop(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started

    def _wall(self) -> float:
        return self.used + time.monotonic() - self.settings.began

    def _remaining(self) -> float:
        total = self.settings.total_minutes * 60 or self.used + 60 * self.settings.minutes
        return max(0.0, total - self._wall() - self._tail)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A stage's checkpoint, on the CPU; FileNotFoundError saying which stage to train first."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}; train the stage '{path.stem}' first")
    return torch.load(path, map_location="cpu", weights_only=True)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device is fast at it; on the CPU everything stays float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def _optimisers(module: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices inside blocks where there is a rate for them."""
    named = list(module.named_parameters())
    turned = [p for name, p in named if settings.matrix_lr and p.ndim == 2 and ".blocks." in name]
    taken = {id(p) for p in turned}
    large = [p for name, p in named if p.ndim >= 2 and "modulation" not in name and id(p) not in taken]
    taken |= {id(p) for p in large}
    small = [p for _, p in named if id(p) not in taken]
    groups = [{"params": large, "weight_decay": settings.decay}, {"params": small, "weight_decay": 0.0}]
    fused = settings.device.type == "cuda"
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=fused),
    ]
    if turned:
        made.append(Muon(turned, settings.matrix_lr, weight_decay=settings.decay))
    return made

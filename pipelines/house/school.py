"""How small networks that judge pictures learn, in so many seconds that begin with drawing lessons; and how they are
kept, in half precision, with what is known of them. Knows nothing of what they are asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipelines.checkpoint import LoadError
from pipelines.load import fill

Paper = tuple[Tensor, ...]  # so many lessons: pictures, and whatever is right of them, each [N, ...]


@dataclass(frozen=True)
class Schooling:
    """How long a network learns, and on how many lessons at most; `block` of them are drawn at a time."""

    seconds: float
    lessons: int
    block: int
    batch: int
    log_every: int
    lr: float = 2e-3


def school(
    network: nn.Module, plan: Schooling, draw: Callable[[int], Paper], losses: Callable[..., dict[str, Tensor]]
) -> None:
    """Train the network where it lies. `draw(number)` makes a block of lessons, `losses(*lessons)` of a batch are what
    their sum is to lower."""
    began = time.monotonic()
    lessons = _lessons(plan, draw)
    count, device = len(lessons[0]), lessons[0].device
    print(f"{count} lessons drawn in {time.monotonic() - began:.0f} s", flush=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.lr, weight_decay=0.02)
    halfway, step = time.monotonic(), 0
    while (now := time.monotonic()) - began < plan.seconds:
        left = 1 - (now - halfway) / max(plan.seconds - (halfway - began), 1e-9)
        for group in optimiser.param_groups:
            group["lr"] = plan.lr * max(left, 0.01)
        index = torch.randint(count, (plan.batch,), device=device)
        parts = losses(*(each[index] for each in lessons))
        optimiser.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        optimiser.step()
        step += 1
        if step % plan.log_every == 0:
            words = ", ".join(f"{name} {float(loss.detach()):.3f}" for name, loss in parts.items())
            print(f"step {step}, {now - began:.0f} s of {plan.seconds:.0f}: loss {words}", flush=True)
    network.eval()


def _lessons(plan: Schooling, draw: Callable[[int], Paper]) -> Paper:
    """As many as are wanted; at most a third of the time goes to drawing them, and one block is always drawn."""
    began, papers = time.monotonic(), [draw(0)]
    while len(papers) * plan.block < plan.lessons and time.monotonic() - began < plan.seconds / 3:
        papers.append(draw(len(papers)))
        if papers[-1][0].device.type == "cuda":
            torch.cuda.synchronize(papers[-1][0].device)
    return tuple(torch.cat(part) for part in zip(*papers, strict=True))


def save(network: nn.Module, path: Path, facts: dict[str, float]) -> None:
    """The network in half precision, with what is known of it."""
    state = {name: _half(value).contiguous() for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"facts": json.dumps(facts)})
    path.chmod(0o644)


def load(network: nn.Module, path: Path, remedy: str) -> dict[str, float]:
    """Fill the network, in single precision, and set it to judging; what is known of it. FileNotFoundError, with this
    remedy, when there is no such file, LoadError when it is broken or another's."""
    if not path.is_file():
        raise FileNotFoundError(f"no {type(network).__name__.lower()} at {path}; school one: {remedy}")
    try:
        with safe_open(str(path), framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
    except (SafetensorError, ValueError) as error:
        raise LoadError(f"{path} cannot be read ({error}); school it again: {remedy}") from error
    if not isinstance(facts, dict):
        raise LoadError(f"{path} does not say what is known of it; school it again: {remedy}")
    fill(network, state, str(path))
    network.float().eval()
    return facts


def _half(value: Tensor) -> Tensor:
    return value.detach().cpu().half() if value.is_floating_point() else value.cpu()

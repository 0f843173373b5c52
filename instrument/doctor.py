"""`bender doctor`: whether this computer can play, part by part, and what to do where it cannot.

A check is one function that yields findings; add another to CHECKS. It imports what it looks at by itself, so that a
computer which lacks half of everything still gets its answers. A *fault* keeps the show, or something asked for, from
playing; a *note* is something that is not there and is not needed unless one wants it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

Level = Literal["ok", "note", "fault"]
PYTHONS = ((3, 10), (3, 12))
CORE = (
    *("torch", "numpy", "av", "aiohttp", "pydantic", "ruamel.yaml", "safetensors", "simplejpeg", "tokenizers"),
    *("einops", "mido", "psutil", "python-osc", "python-rtmidi", "zeroconf"),
)
EXTRAS = {  # module -> (the extra that brings it, what it is for)
    "pyvirtualcam": ("camera", "--out camera"),
    "cyndilib": ("ndi", "--out ndi"),
    "pygame": ("screen", "--out screen"),
    "sounddevice": ("audio", "--audio from a device"),
    "aalink": ("link", "Ableton Link"),
    "prometheus_client": ("metrics", "--metrics-port"),
    "huggingface_hub": ("gpu", "bender fetch, and the larger models"),
    **({"flash_attn.cute": ("flash", "faster attention on a card")} if sys.platform == "linux" else {}),
    "matplotlib": ("study", "the charts of bender study"),
    "selenium": ("bench", "bender bench page"),
    **({"SpoutGL": ("spout", "--out spout")} if sys.platform == "win32" else {}),
    **({"syphon": ("syphon", "--out syphon")} if sys.platform == "darwin" else {}),
}
ENCODERS = {"libx264": "mp4, mkv and streams", "prores_ks": "mov", "ffv1": "lossless mkv"}
LEAST_ROOM = 2 * 2**30  # bytes of disk, below which a recording is soon over
MARKS = {"ok": "+", "note": "o", "fault": "!"}


@dataclass(frozen=True)
class Finding:
    """What was seen of one part; the remedy of what is not ok."""

    part: str
    level: Level
    text: str
    remedy: str = ""


Check = Callable[[argparse.Namespace], Iterator[Finding]]


def doctor(options: argparse.Namespace) -> int:
    """Print every finding; the exit status is 1 where there is a fault."""
    findings = [finding for check in CHECKS for finding in examined(check, options)]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{MARKS[finding.level]} {finding.part:10} {finding.text}{remedy}")
        faults = sum(finding.level == "fault" for finding in findings)
        print(f"{faults} fault{'s' * (faults != 1)}" if faults else "ready to play")
    return int(any(finding.level == "fault" for finding in findings))


def examined(check: Check, options: argparse.Namespace) -> Iterator[Finding]:
    """The check's findings; one that fails itself is a fault like any other."""
    try:
        yield from check(options)
    except Exception as problem:  # a library that breaks when it is looked at must not end the examination
        part = check.__name__.strip("_")
        yield Finding(
            part,
            "fault",
            f"could not be checked: {type(problem).__name__}: {problem}",
            "install it again; if that does not help, report this line",
        )


def _python(options: argparse.Namespace) -> Iterator[Finding]:
    now, text = sys.version_info[:2], f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if PYTHONS[0] <= now <= PYTHONS[1]:
        yield Finding("python", "ok", text)
    else:
        wanted = " to ".join(".".join(map(str, version)) for version in PYTHONS)
        yield Finding("python", "fault", text, f"use Python {wanted}")


def _packages(options: argparse.Namespace) -> Iterator[Finding]:
    seen = []
    for name in CORE:
        try:
            seen.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding("packages", "fault", f"{name} is missing", "pip install attentionbender")
    yield Finding("packages", "ok", ", ".join(seen))


def _extras(options: argparse.Namespace) -> Iterator[Finding]:
    """Optional packages: there, and can be loaded."""
    for module, (extra, use) in EXTRAS.items():
        if not _is_there(module):
            remedy = f'for {use}: pip install "attentionbender[{extra}]"'
            yield Finding("extras", "note", f"{module} is not installed", remedy)
            continue
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as problem:
            remedy = f"for {use}: " + ("apt install libportaudio2" if module == "sounddevice" else "install it again")
            yield Finding("extras", "fault", f"{module} cannot be loaded ({problem})", remedy)
        else:
            yield Finding("extras", "ok", f"{module}, for {use}")


def _is_there(module: str) -> bool:
    """Whether it is installed. What finding it imports on the way may be broken: then it is."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor the package that it would be a part of
        return False
    except ImportError:
        return True


def _processor(options: argparse.Namespace) -> Iterator[Finding]:
    from instrument.engine.threads import cores, model_threads

    allowed, there = cores(), os.cpu_count() or 1
    text = f"{allowed} of {there} cores; the model plays with {model_threads(None)} threads"
    if allowed < 2:
        yield Finding("processor", "note", text, "decoding shares the model's core; give the process a second one")
    else:
        yield Finding("processor", "ok", text)


def _graphics(options: argparse.Namespace) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding("graphics", "ok", f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    elif torch.backends.mps.is_available():
        yield Finding("graphics", "ok", "Apple GPU (mps)")
    elif Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        text = f"there is an NVIDIA card, but torch {torch.__version__} does not see it"
        remedy = "install the CUDA wheel: pip install torch --index-url https://download.pytorch.org/whl/cu128"
        yield Finding("graphics", "fault", text, remedy)
    else:
        yield Finding("graphics", "note", "no GPU", "the house model plays on the CPU; the others need a card")


def _ports(options: argparse.Namespace) -> Iterator[Finding]:
    wanted = [("OSC", "udp", options.osc_port, "--osc-port"), ("OSC", "tcp", options.osc_port, "--osc-port")]
    wanted.append(("page", "tcp", options.page_port, "--page-port"))
    for name, kind, port, option in wanted:
        problem = taken(options.host, port, kind)
        text = f"{kind} {options.host}:{port} for {name}"
        if problem:
            yield Finding("ports", "fault", f"{text}: {problem}", f"close what uses it, or start with {option} 0")
        else:
            yield Finding("ports", "ok", f"{text} is free")


def taken(host: str, port: int, kind: str) -> str:
    """Why a port cannot be had now; empty if it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as made:
        if kind == "tcp" and os.name != "nt":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what just closed is free
        try:
            made.bind((host, port))
        except OSError as problem:
            return problem.strerror or str(problem)
    return ""


def _midi(options: argparse.Namespace) -> Iterator[Finding]:
    from instrument.midi.driver import choose_api, driver, list_ports

    missing = driver()[1]
    if missing:
        text, _, remedy = missing.rpartition("; ")
        yield Finding("midi", "fault", text, remedy)
        return
    api = choose_api()
    if api is None:
        yield Finding("midi", "note", "no driver runs", "load snd-seq (sudo modprobe snd-seq), or start JACK")
        return
    ports = list_ports()
    yield Finding("midi", "ok", f"{api}: {', '.join(ports) or 'no controller; it may be plugged in later'}")


def _camera(options: argparse.Namespace) -> Iterator[Finding]:
    from instrument.outputs.camera import remedy

    if sys.platform != "linux" or importlib.util.find_spec("pyvirtualcam") is None:
        return
    devices = sorted(path.name for path in Path("/sys/devices/virtual/video4linux").glob("video*"))
    if devices:
        yield Finding("camera", "ok", ", ".join(f"/dev/{name}" for name in devices))
    else:
        yield Finding("camera", "note", "no virtual camera", remedy())


def _encoders(options: argparse.Namespace) -> Iterator[Finding]:
    import av

    for name, use in ENCODERS.items():
        try:
            av.Codec(name, "w")
        except ValueError:
            yield Finding("encoders", "fault", f"no {name}, which {use} need", "pip install --force-reinstall av")
        else:
            yield Finding("encoders", "ok", f"{name}, for {use}")
    if shutil.which("ffmpeg"):
        yield Finding("encoders", "ok", "ffmpeg, for SRT")
    else:
        yield Finding("encoders", "note", "no program ffmpeg", "for SRT: sudo apt install ffmpeg, or from ffmpeg.org")


def _weights(options: argparse.Namespace) -> Iterator[Finding]:
    from safetensors import safe_open

    from pipelines.files import survey
    from pipelines.house.model import WEIGHTS
    from pipelines.recipes import RECIPES

    for row in RECIPES.values():
        if row.parts == "own":
            try:
                with safe_open(str(WEIGHTS), "pt") as stored:
                    yield Finding("weights", "ok", f"{row.name}: {len(list(stored.keys()))} tensors")
            except Exception as problem:  # the library raises its own kind of error, which it does not export
                text = f"{row.name}: {WEIGHTS} cannot be read ({problem})"
                yield Finding("weights", "fault", text, "install the package again")
            continue
        _, missing = survey(row, options.models_dir)
        if missing:
            parts = ", ".join(need.part for need in missing)
            yield Finding("weights", "note", f"{row.name}: missing its {parts}", "bender models says what gets it")
        else:
            yield Finding("weights", "ok", f"{row.name}: all files are there")


def _folders(options: argparse.Namespace) -> Iterator[Finding]:
    for name, folder in (("recordings", options.out_dir), ("patches", options.patches_dir)):
        if folder is None:
            continue
        place = Path(folder).expanduser().resolve()
        problem = unwritable(place)
        if problem:
            yield Finding("folders", "fault", f"{place} for {name}: {problem}", "make it, or name another")
            continue
        room = shutil.disk_usage(place).free
        text = f"{place} for {name}, {room / 2**30:.1f} GiB free"
        if room < LEAST_ROOM:
            yield Finding("folders", "note", text, "a recording will not last long; make room")
        else:
            yield Finding("folders", "ok", text)


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder; empty if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as problem:
        return problem.strerror or str(problem)


CHECKS: tuple[Check, ...] = (
    *(_python, _packages, _extras, _processor, _graphics, _ports, _midi, _camera, _encoders, _weights, _folders),
)

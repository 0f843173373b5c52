"""The command line: every refusal is one line and status 2, and every command does what it says.

Most of it calls `main` in this process, which is the command; where the process itself matters a real one is started.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from instrument import setup
from instrument.__main__ import main
from pipelines.bends import levers
from tests.playing import PATIENCE, QUICK, bender

SHORT = (*QUICK, "--seconds", "0.3", "--osc-port", "0", "--no-page")

FILES = {
    "cut.yaml": "version: 1\nprompt: [\n",
    "key.yaml": "version: 1\nprompt: a moon\nbends:\n  - {name: a, levr: ffn.out.gain}\n",
    "lever.yaml": "version: 1\nprompt: a moon\nbends:\n  - {name: a, lever: ffn.out.gian}\n",
    "value.yaml": "version: 1\nprompt: a moon\nvalues: {nope.gain: 1}\n",
    "knob.yaml": "bindings:\n  - {cc: 300, to: a.gain}\n",
    "row.yaml": "bindings:\n  - {cc: 0-7, to: hue}\n",
    "open.yaml": "bindings:\n  - {cc: 3, to: a.gain\n",
}

REFUSED = {
    ("--set", "colour.gian=2"): "no parameter 'colour.gian'; did you mean 'colour.gain'?",
    ("--set", "colour.gain=99"): "colour.gain cannot be 99; give 0 to 8",
    ("--set", "colour.gain=-1e400"): "give 0 to 8",
    ("--set", "colour.gain=nan"): "colour.gain cannot be nan",
    ("--set", "colour.gain=loud"): "colour.gain cannot be 'loud'; send a number",
    ("--set", "colour.gain"): "write it as ID=VALUE",
    ("--seed", "-1"): "--seed -1: choose 0 to 99999",
    ("--seed", "1" * 30): "choose 0 to 99999",
    ("--patch", "undertwo"): "undertwo: no such patch; did you mean 'undertow'?",
    ("--patch", "tides", "--patch", "undertwo"): "undertwo: no such patch; did you mean 'undertow'?",
    ("--setlist", "undertwo"): "undertwo: no such patch; did you mean 'undertow'?",
    ("--patch", "cut.yaml"): "cut.yaml:3: not valid YAML",
    ("--patch", "key.yaml"): "key.yaml:4: unknown key 'levr' in bends 1; did you mean 'lever'?",
    ("--patch", "lever.yaml"): "no lever 'ffn.out.gian'; did you mean 'ffn.out.gain'?",
    ("--patch", "value.yaml"): "value.yaml:3: no parameter 'nope.gain'",
    ("--mapping", "nanokontrol"): "did you mean 'nanokontrol2'?",
    ("--mapping", "knob.yaml"): "knob.yaml:2: bindings 1 cc",
    ("--mapping", "open.yaml"): "open.yaml:3: not valid YAML",
    ("--model", "huose"): "no model 'huose'; did you mean 'house'?",
    ("--model", "longlive"): "model 'longlive' is not installed: missing Efficient-Large-Model/LongLive-1.3B/models/",
    ("--weights", "/nonexistent"): "/nonexistent",
    ("--decoder", "wan"): "--decoder wan: model 'house' has only its own; leave the option away",
    ("--quantize", "fp9"): "--quantize fp9: there is no such kind; choose one of fp8, fp8-tensor",
    ("--offload", "-1"): "a whole number of blocks, 0 or more",
    ("--text-encoder", "dorp"): "--text-encoder dorp: did you mean 'drop'?",
    ("--device", "cdua"): "--device cdua: did you mean 'cuda'?",
    ("--device", "toaster"): "there are: auto, cpu, cuda, mps",
    ("--out", "caemra"): "did you mean 'camera'?",
    ("--out", "clip.xyz"): "cannot tell the format of '.xyz'",
    ("--out", "nowhere/clip.mp4"): "there is no folder 'nowhere'",
    ("--out", "dummy:nowhere/log"): "cannot write nowhere/log",
    ("--log", "nowhere/log"): "--log nowhere/log: cannot be written",
    ("--size", "100x100"): "multiples of 16",
    ("--size", "wide"): "'wide' is not a size; write for example 256x144",
    ("--size", "99999x16"): "too large",
    ("--fps", "0"): "frames per second, 0.1 to 240",
    ("--fps", "nan"): "frames per second, 0.1 to 240",
    ("--seconds", "-1"): "seconds, more than 0",
    ("--seconds", "inf"): "seconds, more than 0",
    ("--threads", "0"): "a whole number, 1 or more",
    ("--osc-port", "99999"): "a port, 1 to 65535",
    ("--page-port", "http"): "a port, 1 to 65535",
    ("--host", "203.0.113.9"): "203.0.113.9",
    ("--frames", "3"): "unrecognized arguments",
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)


def run(*words: object) -> int:
    """The exit status of `bender words...`, called in this process."""
    try:
        return main([str(word) for word in words])
    except SystemExit as leaving:
        return leaving.code


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which it refuses."""
    capsys.readouterr()
    assert run(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("bender"), lines
    return lines[0]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_play_refuses_in_one_line(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    assert REFUSED[words] in refusal(capsys, "play", *SHORT, *words)
    left = {thread.name for thread in threading.enumerate()} - threads
    assert not {name for name in left if not name.startswith(("decode", "beside"))}


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [(socket.SOCK_DGRAM, "--osc-port", "in use by another program"), (socket.SOCK_STREAM, "--page-port", "is taken")],
)
def test_a_busy_port_is_named_with_its_remedy(
    capsys: pytest.CaptureFixture[str], kind: int, option: str, message: str
) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        words = {"--osc-port": 0, "--page-port": 0, option: port}
        line = refusal(capsys, "play", *QUICK, "--seconds", 1, *(word for pair in words.items() for word in pair))
    assert str(port) in line and message in line and option in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("paly",), "no command 'paly'; did you mean 'play'?"),
        ((), "arguments are required: COMMAND"),
        (("render", "--seconds", "1"), "arguments are required: --out"),
        (("render", "--out", "x.xyz", *QUICK), "cannot tell the format"),
        (("render", "--out", "x.mp4", "--seconds", "nan", *QUICK), "seconds, more than 0"),
        (("params", "--patch", "cut.yaml"), "cut.yaml:3"),
        (("learn", "colour.gian"), "did you mean 'colour.gain'?"),
        (("mapping", "check", "nanokontrol"), "did you mean 'nanokontrol2'?"),
        (("mapping", "check", "knob.yaml"), "knob.yaml:2: bindings 1 cc"),
        (("mapping", "check", "row.yaml"), "row.yaml:2: cc 0: no parameter 'hue'; there are: "),
        (("mapping", "check", "row.yaml"), "... (and 7 more of this row)"),
        (("mapping", "show", "default", "--out", "nowhere/sheet.svg"), "--out nowhere/sheet.svg: cannot be written"),
        (("mapping", "draw", "default"), "invalid choice: 'draw'"),
        (("bench", "--chunks", "0"), "a whole number, 1 or more"),
    ],
)
def test_every_command_refuses_in_one_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert message in refusal(capsys, *words)


def test_a_refusal_of_the_real_process() -> None:
    done = subprocess.run(
        bender("play", *SHORT, "--set", "colour.gian=2"), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "bender: no parameter 'colour.gian'; did you mean 'colour.gain'?\n"


# --- play ---


def test_play_ends_after_the_time_given(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--set", "colour.gain=2", "--set", "prompt.text=7", "--log", "warnings.txt", "--prompt", "a green moon")
    assert run("play", *SHORT, "--seconds", "2", "--out", "clip.mp4", *words) == 0
    shown = capsys.readouterr()
    assert "outputs     file:clip.mp4" in shown.out and shown.err == ""
    with av.open("clip.mp4") as clip:
        assert len(list(clip.decode(video=0))) > 3
    assert Path("warnings.txt").exists()


# --- render ---


def rendered(*words: object) -> tuple[np.ndarray, float]:
    """The decoded frames [T, H, W, 3] of a short clip, and its rate."""
    assert run("render", *QUICK, "--out", "clip.mp4", "--seconds", "0.65", *words) == 0
    with av.open("clip.mp4") as clip:
        rate = float(clip.streams.video[0].average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]), rate


def test_render_makes_the_clip_asked_for_and_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    first, rate = rendered("--seed", "3")
    assert first.shape == (13, 48, 64, 3) and rate == 20.0
    assert "13 frames" in capsys.readouterr().out
    again, _ = rendered("--seed", "3")
    assert (again == first).all()
    other, _ = rendered("--seed", "4")
    assert (other != first).any()
    bent, _ = rendered("--seed", "3", "--set", "colour.gain=6")
    assert (bent != first).any()


@pytest.mark.parametrize(("words", "asks"), [(("play",), True), (("render",), False)])
def test_only_what_is_played_live_asks_the_machine_what_is_fast(monkeypatch, words, asks) -> None:
    """A render comes out the same every time, however busy the machine is."""
    asked = []
    monkeypatch.setattr(setup, "quickened", lambda system, cache: asked.append(torch.get_num_threads()) or system)
    torch.set_num_threads(2)
    quick = [word for word in (*QUICK, "--out", "dummy", "--seconds", "0.1") if word != "--plain"]
    live = ("--osc-port", "0", "--no-page", "--no-mdns") if asks else ()
    assert run(*words, *quick, *live) == 0
    assert asked == ([1] if asks else []), "with the threads that will play"


def test_render_writes_several_outputs_at_once() -> None:
    assert run("render", *QUICK, "--seconds", "0.2", "--out", "clip.mkv?lossless", "--out", "frames/##.png") == 0
    assert len(list(Path("frames").glob("*.png"))) == 4 and Path("clip.mkv").stat().st_size > 0


# --- what there is ---


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    for words in ("house", "longlive", "NOT INSTALLED", "all-levers", "undertow", "nanokontrol2"):
        assert words in shown
    for words in ("MIDI ports", "camera", "file", "dummy"):
        assert words in shown
    assert all(line.endswith(".") for line in shown.partition("outputs\n")[2].splitlines()), "cut in a sentence"


def test_models_says_what_is_here_and_what_gets_the_rest(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    vae = tmp_path / "mine" / "Wan2.1-T2V-1.3B" / "Wan2.1_VAE.pth"
    vae.parent.mkdir(parents=True)
    vae.write_bytes(b"")
    assert run("models", "--models-dir", tmp_path / "mine") == 0
    told = capsys.readouterr().out
    assert "house: " in told and "ships with the instrument" in told
    assert told.count(f"vae          {vae}") == 5
    assert "transformer  MISSING tianweiy/CausVid/autoregressive_checkpoint/model.pt" in told
    assert "hf download krea/krea-realtime-video krea-realtime-video-14b.safetensors" in told
    assert told.rstrip().endswith(f"looked in {tmp_path / 'mine'} (--models-dir) and {tmp_path / 'hub'}")


def test_a_mapping_is_checked_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "check", "push2"]) == 0
    assert "push2: 24 lines, 150 bindings, all of all-levers" in capsys.readouterr().out
    assert main(["mapping", "check", "default", "--patch", "citylights"]) == 0
    assert "all of citylights, but for 3 at bends beyond the last" in capsys.readouterr().out
    assert main(["mapping", "show", "lpd8"]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("<svg") and "knob.8" in drawn
    assert main(["mapping", "show", "lpd8", "--out", "sheet.svg"]) == 0
    assert Path("sheet.svg").read_text() == drawn.removesuffix("\n")


def test_levers_tells_every_lever_with_its_amounts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("levers") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^cross\.map\.gain$", shown, re.M)
    assert re.search(r"^ {4}gain +0 \.\.\. 8 x, neutral 1$", shown, re.M)
    assert re.search(r"^ {4}scope: steps, layers, tokens", shown, re.M)


THROWING = """
from pipelines.bends.fold import Product
from pipelines.bends.lever import lever
from pipelines.spec import ControlSpec

@lever("own.throw", at={"ffn": "ffn.out"}, fold=Product("gain"), amounts={"gain": ControlSpec(0, 2, 1)})
def own_throw(x, gain):
    "Reach too far."
    return x + gain[9]
"""


@pytest.fixture
def own_levers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which files are levers too."""
    folder = tmp_path / "own levers"
    folder.mkdir()
    monkeypatch.setattr(levers, "__path__", [*levers.__path__, str(folder)])
    return folder


def test_a_lever_file_with_a_mistake_is_named_and_the_show_plays_without_it(
    own_levers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = own_levers / "hidden_bias.py"
    file.write_text("hidden_bias = lever('hidden.bias')\n")
    mistake = f"{file}, line 1: NameError: name 'lever' is not defined"
    assert run("levers") == 2
    shown = capsys.readouterr()
    assert shown.err == f"bender: {mistake}\n" and "\nffn.hidden.gain\n" in shown.out
    assert run("play", *SHORT, "--seconds", "1") == 0
    assert f"left out: {mistake}" in capsys.readouterr().out
    Path("own.yaml").write_text("prompt: a moon\nbends: [{name: x, lever: ffn.hidden.bias}]\n")
    line = refusal(capsys, "render", *QUICK, "--out", "clip.mp4", "--patch", "own.yaml")
    assert "no lever 'ffn.hidden.bias'; did you mean" in line and line.endswith(f"; left out was {mistake}")


def test_a_lever_that_throws_ends_a_clip_with_its_name(own_levers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_levers / "own_throw.py").write_text(THROWING)
    Path("own.yaml").write_text("prompt: a moon\nbends: [{name: x, lever: ffn.own.throw}]\n")
    assert run("render", *QUICK, "--out", "clip.mp4", "--seconds", "0.2", "--patch", "own.yaml") == 0
    line = refusal(capsys, "render", *QUICK, "--out", "clip.mp4", "--patch", "own.yaml", "--set", "x.gain=2")
    assert "lever 'ffn.own.throw' cannot be played: IndexError in own_throw.py, line 9: index 9 is out" in line


def test_params_tells_every_parameter_of_a_patch(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("params", "--patch", "undertow") == 0
    shown = capsys.readouterr().out
    for id in ("hue.gain", "hue.tokens", "drift.layers.center", "prompt.text", "engine.seed", "panic"):
        assert re.search(rf"^{re.escape(id)} ", shown, re.M), id


def test_bench_reports_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", *QUICK, "--chunks", "1") == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("house 64x48") and [row.split()[0] for row in rows] == ["unbent", "neutral", "bent"]


def test_whoever_reads_may_stop_reading() -> None:
    """`bender levers | head -1`"""
    lister = subprocess.Popen(bender("levers"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lister.stdout.close()
    assert lister.stderr.read() == "" and lister.wait(PATIENCE) == 0
    lister.stderr.close()

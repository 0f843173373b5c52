"""Fetching from a hub over a real socket: whole, broken off and gone on with, damaged, refused, unreachable."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from instrument.__main__ import main
from pipelines import fetch, files
from pipelines.fetch import FetchError, Hub, Item, make_room, plan, told_size
from pipelines.recipes import HOUSE, KREA, LONGLIVE, RECIPES
from tests.hub import StandIn, digest, git_digest

pytest.importorskip("huggingface_hub")
WAN = "Wan-AI/Wan2.1-T2V-1.3B"
BIG = os.urandom(26 * 2**20)  # more than two of the portions that downloads are kept by
SMALL = os.urandom(2**20)
FILES = {
    LONGLIVE.weights: SMALL,
    LONGLIVE.lora: b"lora" * 999,
    KREA.weights: b"krea" * 999,
    f"{WAN}/models_t5_umt5-xxl-enc-bf16.pth": b"text" * 999,
    f"{WAN}/google/umt5-xxl/spiece.model": b"pieces" * 999,
    f"{WAN}/google/umt5-xxl/special_tokens_map.json": b"{}",
    f"{WAN}/google/umt5-xxl/tokenizer_config.json": b"{ }",
    f"{WAN}/Wan2.1_VAE.pth": b"vae" * 999,
    f"{WAN}/README.md": b"nobody needs this",
    f"{WAN}/diffusion_pytorch_model.safetensors": b"nor this" * 999,
    "Kijai/WanVideo_comfy/taew2_1.safetensors": b"small" * 999,
}
NEEDED = {name for name in FILES if "README" not in name and "diffusion" not in name and "Kijai" not in name}
NEEDED -= {KREA.weights}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    stand_in = StandIn(dict(FILES))
    monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    yield stand_in
    stand_in.close()


@pytest.fixture
def large(hub: StandIn) -> StandIn:
    hub.files[LONGLIVE.weights] = BIG
    return hub


def run(*words: object) -> int:
    return main([str(word) for word in words])


def _parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


def _terminal() -> tuple[int, int]:
    """A terminal of 100 columns: the end that sees, and the end that is written to."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    return ours, theirs


def _read(terminal: int) -> Iterator[bytes]:
    """All that is written to a terminal, until nobody writes any more."""
    try:
        while data := os.read(terminal, 2**16):
            yield data
    except OSError:  # how its end is told
        pass
    os.close(terminal)


def _here(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_into_a_folder_only_what_is_needed_and_nothing_twice(hub, tmp_path, capsys) -> None:
    assert run("fetch", "longlive", "--models-dir", "mine") == 0
    told = capsys.readouterr().out
    assert _here(tmp_path / "mine") == {name: FILES[name] for name in NEEDED}
    for words in (
        "longlive: Apache-2.0",
        "1.1 MB",
        "to come, to mine",
        "sha256 is right",
        "bender play --model longlive",
    ):
        assert words in told
    assert files.survey(LONGLIVE, Path("mine"))[1] == []
    asked = len(hub.asked)
    assert run("fetch", "longlive", "--models-dir", "mine") == 0
    assert "everything is here" in capsys.readouterr().out and len(hub.asked) == asked
    assert not (tmp_path / "hub").exists()


def test_into_the_hubs_own_cache_where_its_own_tools_find_them(hub, tmp_path, monkeypatch) -> None:
    import huggingface_hub

    assert run("fetch", "longlive") == 0
    found, missing = files.survey(LONGLIVE)
    assert missing == [] and found["transformer"].read_bytes() == SMALL
    owner, name, path = LONGLIVE.weights.split("/", 2)
    assert huggingface_hub.try_to_load_from_cache(f"{owner}/{name}", path, cache_dir=tmp_path / "hub") == str(
        tmp_path / "hub" / f"models--{owner}--{name}" / "snapshots" / "0123456789abcdef0123456789abcdef01234567" / path
    )
    assert hub.bytes_asked().count("") == len(NEEDED) and not _parts(tmp_path)  # each once, from the first byte


def test_the_small_decoder_comes_from_where_the_hub_has_it(hub, tmp_path) -> None:
    (tmp_path / "models" / "madebyollin" / "taehv").mkdir(parents=True)
    assert run("fetch", "longlive", "--decoder", "taehv", "--models-dir", "models") == 0
    row = files.with_decoder(LONGLIVE, "taehv")
    assert files.located(row, Path("models"))["vae"].read_bytes() == FILES["Kijai/WanVideo_comfy/taew2_1.safetensors"]
    assert not (tmp_path / "models" / WAN / "Wan2.1_VAE.pth").exists()


def test_what_is_here_already_is_not_fetched_again(hub, tmp_path) -> None:
    place = tmp_path / "mine" / "LongLive-1.3B" / "models" / "longlive_base.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    items = plan(LONGLIVE, Hub(Path("mine")), Path("mine"))
    assert LONGLIVE.weights not in [item.name for item in items] and LONGLIVE.lora in [item.name for item in items]
    checked = plan(LONGLIVE, Hub(Path("mine")), Path("mine"), check=True)
    assert Item("Efficient-Large-Model/LongLive-1.3B", "models/longlive_base.pt", len(SMALL), digest(SMALL)) in checked


@pytest.mark.parametrize("where", [(), ("--models-dir", "mine")])
def test_a_check_finds_a_damaged_file_and_fetches_it_again(hub, capsys, where) -> None:
    assert run("fetch", "longlive", *where) == 0
    lora = files.locate(LONGLIVE.lora, Path("mine") if where else None)
    lora.write_bytes(b"L" + FILES[LONGLIVE.lora][1:])
    assert run("fetch", "longlive", *where) == 0  # of the right size, so it is believed
    assert lora.read_bytes()[:1] == b"L"
    capsys.readouterr()
    assert run("fetch", "longlive", "--check", *where) == 0
    told = capsys.readouterr().out
    assert LONGLIVE.lora in told and "Wan2.1_VAE" not in told and lora.read_bytes() == FILES[LONGLIVE.lora]
    assert run("fetch", "longlive", "--check", *where) == 0
    assert "as the hub has it" in capsys.readouterr().out


def test_a_broken_connection_is_gone_on_with(large, tmp_path) -> None:
    large.trouble.cut_after, large.trouble.cuts = 12 * 2**20, 1
    assert run("fetch", "longlive", "--models-dir", "mine") == 0
    assert (tmp_path / "mine" / LONGLIVE.weights).read_bytes() == BIG
    begun = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in large.bytes_asked() if wanted]
    assert len(begun) == 1 and 0 < begun[0] <= 12 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_stopped_download_goes_on_where_it_was(large, tmp_path) -> None:
    """Another process each time, as a player would run it."""
    large.trouble.stall_after = 22 * 2**20
    command = [sys.executable, "-m", "instrument", "fetch", "longlive"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    ours, theirs = _terminal()  # so that there is a progress bar
    process = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=theirs, stdout=theirs)
    os.close(theirs)
    screen: list[bytes] = []
    reader = threading.Thread(target=lambda: screen.extend(_read(ours)))
    reader.start()
    assert large.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    reader.join()
    said = b"".join(screen).decode()
    assert "stopped; what has come is kept" in said
    assert re.search(r"longlive_base\.pt: +[37]\d%", said), said[-3000:]
    (part,) = _parts(tmp_path)
    kept = part.stat().st_size
    assert 0 < kept <= 22 * 2**20 and part.read_bytes() == BIG[:kept]
    large.trouble.stall_after = None
    large.trouble.go_on.set()
    large.asked.clear()
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert large.bytes_asked()[0] == f"bytes={kept}-" and not _parts(tmp_path)
    assert f"{told_size(sum(len(large.files[name]) for name in NEEDED) - kept)} to come" in done.stdout
    assert files.locate(LONGLIVE.weights).read_bytes() == BIG


def test_a_beginning_in_a_folder_is_gone_on_with(large) -> None:
    wanted = Hub(Path("mine"))
    item = next(item for item in plan(LONGLIVE, wanted, Path("mine")) if item.size == len(BIG))
    part = wanted._part(item)
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[: 2**20])
    assert wanted.begun(item) == 2**20 and wanted.get(item).read_bytes() == BIG
    assert large.bytes_asked() == [f"bytes={2**20}-"] and not part.exists()
    part.write_bytes(BIG + b"more")  # of another file, it seems
    assert wanted.get(item).read_bytes() == BIG


def test_damage_on_the_way_never_gets_into_place(hub, tmp_path, capsys) -> None:
    hub.trouble.damaged = True
    assert run("fetch", "longlive", "--models-dir", "mine") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 or "%" in said
    assert f"came damaged: its sha256 is not {digest(SMALL)[:12]}" in said and "run the same command again" in said
    assert not _here(tmp_path / "mine")
    hub.trouble.damaged = False
    assert run("fetch", "longlive", "--models-dir", "mine") == 0
    assert files.survey(LONGLIVE, Path("mine"))[1] == []


def test_a_damaged_beginning_is_found_out_too(large, tmp_path, capsys) -> None:
    item = next(item for item in plan(LONGLIVE, Hub(Path("mine")), Path("mine")) if item.size == len(BIG))
    part = Hub(Path("mine"))._part(item)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 2**20)
    with pytest.raises(FetchError, match="came damaged"):
        Hub(Path("mine")).get(item)
    assert not part.exists() and Hub(Path("mine")).get(item).read_bytes() == BIG


# --- refusals: one line, with the remedy ---


def _refusal(capsys, *words: object) -> str:
    capsys.readouterr()
    assert run("fetch", *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bender: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_file_or_repository_that_is_gone(hub, capsys) -> None:
    del hub.files[LONGLIVE.lora]
    assert "Efficient-Large-Model/LongLive-1.3B on the hub has no models/lora.pt" in _refusal(capsys, "longlive")
    hub.files[LONGLIVE.lora] = b""
    for name in [name for name in hub.files if "umt5-xxl/" in name]:
        del hub.files[name]
    assert "on the hub has no google/umt5-xxl/; it may have been renamed" in _refusal(capsys, "longlive")
    del hub.files[KREA.weights]
    said = _refusal(capsys, "krea")
    assert "krea/krea-realtime-video is not on the hub, or not for everybody" in said and "hf auth login" in said


def test_gated_repositories_and_tokens(hub, capsys, monkeypatch, tmp_path) -> None:
    hub.trouble.gated = True
    said = _refusal(capsys, "longlive")
    assert (
        "is gated: accept its terms on its page on the hub, then log in with `hf auth login`, or set HF_TOKEN" in said
    )
    hub.trouble.gated, hub.trouble.refused = False, "hf_right"
    assert "not for everybody" in _refusal(capsys, "longlive")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    said = _refusal(capsys, "longlive")
    assert "(401): your token is wrong or may not read it" in said and "hf_wrong" not in said
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert run("fetch", "longlive", "--models-dir", "mine") == 0
    assert (tmp_path / "mine" / LONGLIVE.weights).read_bytes() == SMALL


def test_a_hub_that_has_trouble_or_is_none(hub, capsys) -> None:
    hub.trouble.status = 403
    assert "the hub refuses" in _refusal(capsys, "longlive")
    hub.trouble.status = 500
    assert "the hub answers 500" in _refusal(capsys, "longlive")
    hub.trouble.status = 200  # as the page of a hotel's network does
    assert "does not come from http://127.0.0.1" in _refusal(capsys, "longlive")


def test_no_network(hub, capsys, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        said = _refusal(capsys, "longlive")
    assert "run the same command again" in said and "refused" in said


def test_a_hub_decides_no_place_outside(hub, tmp_path, monkeypatch) -> None:
    for path in ("../../escaped", "/escaped", "models/../../../escaped", "models/other.pt"):
        wanted = Hub(Path("mine"))
        entry = type("Entry", (), {"path": path, "size": 3, "lfs": None, "blob_id": "0" * 40})
        monkeypatch.setattr(wanted._api, "get_paths_info", lambda repo, paths, entry=entry: [entry])
        with pytest.raises(FetchError, match="not fetched"):
            wanted.items(LONGLIVE.lora)


def test_a_full_disk_is_seen_beforehand(hub, monkeypatch) -> None:
    wanted = Hub(Path("mine"))
    items = plan(LONGLIVE, wanted, Path("mine"))
    assert make_room(items, wanted) == sum(len(FILES[name]) for name in NEEDED)
    part = wanted._part(next(item for item in items if item.size == len(SMALL)))
    part.parent.mkdir(parents=True)
    part.write_bytes(SMALL[:99999])
    assert make_room(items, wanted) == sum(len(FILES[name]) for name in NEEDED) - 99999
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4 * 10**7))
    with pytest.raises(FetchError, match=r"966 kB are to come, and .*mine.* has 40\.0 MB free; make room, or choose"):
        make_room(items, wanted)


def test_a_place_that_cannot_be_written(hub, capsys, tmp_path) -> None:
    (tmp_path / "mine").write_text("a file")
    assert "cannot be made" in _refusal(capsys, "longlive", "--models-dir", "mine")


def test_a_licence_that_forbids_is_asked_about(hub, capsys, monkeypatch, tmp_path) -> None:
    assert KREA.restricted and not LONGLIVE.restricted
    assert "not for commercial use; say --yes if that will do" in _refusal(capsys, "krea")
    assert not hub.bytes_asked()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, status in (("n", 2), ("", 2), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda asked, answer=answer: answer)
        assert run("fetch", "krea", "--models-dir", "mine") == status
    assert (tmp_path / "mine" / KREA.weights).read_bytes() == FILES[KREA.weights]
    assert run("fetch", "krea", "--models-dir", "other", "--yes") == 0


def test_models_that_do_not_exist_or_ship(capsys) -> None:
    assert "no model 'kera'; did you mean 'krea'?" in _refusal(capsys, "kera")
    assert run("fetch", "house") == 0 and "ships with the instrument" in capsys.readouterr().out
    assert "model 'house' has only its own" in _refusal(capsys, "house", "--decoder", "taehv")
    assert "--decoder tahev: there is no such decoder; choose one of wan, taehv" in _refusal(
        capsys, "krea", "--decoder", "tahev"
    )


def test_every_row_can_be_fetched() -> None:
    for row in RECIPES.values():
        for need in files.needs(row):
            assert need.on_hub(need.fetched) and need.fetched in need.files
    assert files.needs(HOUSE) == ()


def test_checksums_are_what_the_hub_calls_them(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"what is up, doc?")
    item = Item("a/b", "x", 16, git_digest(b"what is up, doc?"))
    assert fetch.checksum(tmp_path / "x", item) == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    assert item.kind == "git sha1"

"""Set list, snapshots, undo, blackout and sound as they are played: the real command, OSC from another program."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import numpy as np

from tests.playing import PATIENCE, QUICK, SIZE, Playing, bender, crcs, wait_until
from tests.test_audio import clicks, write_wav

SECOND = """
version: 2
prompt: a purple tulip swaying over a dark sea
seed: 7
bends:
  - {name: words, lever: cross.map.gain}
  - {name: other, lever: self.out.gain}
modulators:
  - {audio: bass, to: other.gain, depth: 0.5, name: boom}
  - {lfo: saw, period: 1 s, to: words.gain, depth: 0.1}
snapshots:
  high: {other.gain: 3.5}
"""
BLACK = zlib.crc32(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))


def test_a_set_is_played_by_osc(tmp_path: Path) -> None:
    second, song, folder = tmp_path / "second.yaml", tmp_path / "song.wav", tmp_path / "mine"
    second.write_text(SECOND)
    write_wav(song, clicks(4))
    folder.mkdir()
    with Playing(tmp_path, "--patch", second, "--audio", song, "--patches-dir", folder) as show:
        assert show.plays_on()
        show.send(("/patch/next",))
        assert wait_until(lambda: "other.gain" in show.values()), show.errors
        show.send(("/snapshot/1/recall",), ("/words/gain", 2.0))
        assert wait_until(lambda: show.values()["other.gain"] == 3.5 and show.values()["words.gain"] == 2.0)
        show.send(("/undo",))
        assert wait_until(lambda: show.values()["words.gain"] == 1.0 or show.values()["other.gain"] == 1.0)
        show.send(("/redo",), ("/patch/name", "tonight"), ("/snapshot/2/store",), ("/patch/save",))
        assert wait_until(
            lambda: (folder / "tonight.yaml").exists() and "other" in (folder / "tonight.yaml").read_text()
        )
        show.send(("/out/blackout", 1))
        assert wait_until(lambda: show.frames()[-1][1] == BLACK)
        show.send(("/out/blackout", 0))
        assert wait_until(lambda: show.frames()[-1][1] != BLACK)
        show.send(("/patch/load", "../second"), ("/patch/previous",))
        assert wait_until(lambda: "loud.gain" in show.values())
        assert wait_until(lambda: any("no such patch" in text for text in show.notices()))
        show.send(("/patch/load", "tonight"))
        assert wait_until(lambda: "other.gain" in show.values() and show.values()["other.gain"] == 3.5)
        assert show.plays_on() and show.status()["tempo"] == 120 and show.status()["beat"] > 0
        assert not [text for text in show.status()["warnings"] if "Error" in text]


def test_a_render_with_modulators_and_sound_is_the_same_every_time(tmp_path: Path) -> None:
    patch, song = tmp_path / "second.yaml", tmp_path / "song.wav"
    patch.write_text(SECOND)
    write_wav(song, clicks(4))
    runs = []
    for name, sound in (("one", ("--audio", song)), ("two", ("--audio", song)), ("deaf", ())):
        log = tmp_path / f"{name}.jsonl"
        command = bender("render", "--patch", patch, *QUICK, "--seconds", 1.5, "--out", f"dummy:{log}", *sound)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=2 * PATIENCE)
        runs.append([crc for _, crc in crcs(log)])
    assert runs[0] == runs[1] != runs[2] and len(runs[0]) == 30


def test_sound_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    command = bender("render", *QUICK, "--audio", tmp_path / "no.wav", "--out", tmp_path / "x.mp4")
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 2 and done.stderr.startswith("bender: ") and done.stderr.count("\n") == 1

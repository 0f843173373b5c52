"""Video in: chunks that follow a clip, and a show that goes on without one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from instrument.__main__ import main
from instrument.engine.videoin import VideoIn
from instrument.state import saving
from instrument.state.patch import dump, load, loads
from pipelines.recipes import KREA
from tests.engine import PATCH
from tests.engine import Playing as Engine
from tests.playing import QUICK, Playing, wait_until
from tests.recorded import small
from tests.test_clips import write_clip
from tests.tiny import RECIPE, stream

RAMP = list(range(0, 240, 5))  # 48 pictures: 12 chunks of the tiny model


class Watching:
    """A VideoIn on the tiny stream, with what it told."""

    def __init__(self, source: object, playing=None) -> None:
        self.stream, self.told = playing or stream(), []
        self.video = VideoIn(self.stream, self.told.append)
        self.video.again = 0.05
        self.video.play(str(source))

    def chunks(self, count: int, strength: float = 0.5) -> list[torch.Tensor]:
        return [self.video.take(strength, wait=True)[0] for _ in range(count)]


@pytest.fixture
def watch() -> Iterator[type[Watching]]:
    made: list[Watching] = []

    def watch(*arguments: object) -> Watching:
        made.append(Watching(*arguments))
        return made[-1]

    yield watch
    for each in made:
        each.video.close()


def encoded(playing, shades: list[int]) -> list[torch.Tensor]:
    """The latents of these pictures as one stream of chunks, by the encoder directly."""
    pictures = np.zeros((len(shades), 64, 96, 3), np.float32)
    pictures[:] = np.array(shades, np.float32)[:, None, None, None] / 255
    pictures[:, :, :24] = 0
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)[None]
    memory = playing.decoder.fresh_encoder()
    with torch.inference_mode():
        playing.decoder.encode(pixels[:, :1], memory)
        return list(playing.decoder.encode(pixels, memory).transpose(1, 2).split(playing.recipe.chunk, dim=2))


def test_a_clip_comes_chunk_by_chunk_and_over_and_over(watch, tmp_path: Path) -> None:
    playing = watch(write_clip(tmp_path / "a.mkv", RAMP))
    latents = playing.chunks(24)
    for made, expected in zip(latents, encoded(playing.stream, RAMP * 2), strict=True):
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-3)
    assert playing.told == []


def test_a_clip_that_does_not_fill_its_last_chunk_goes_on_with_its_beginning(watch, tmp_path: Path) -> None:
    for shades in (RAMP[:7], RAMP[:1]):
        playing = watch(write_clip(tmp_path / f"{len(shades)}.mkv", shades))
        latents = playing.chunks(4)
        for made, expected in zip(latents, encoded(playing.stream, (shades * 16)[:16]), strict=True):
            torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("chunk", [1, 3])
def test_latents_fit_the_chunk_whatever_its_length(watch, tmp_path: Path, chunk: int) -> None:
    recipe = small(KREA, window=6, steps=(1000, 0)) if chunk == 3 else None
    playing = watch(write_clip(tmp_path / "a.mkv", RAMP), stream(recipe=recipe) if recipe else None)
    for _ in range(3):
        source, strength = playing.video.take(0.5, wait=True)
        assert source.shape[2] == chunk and list(playing.stream.denoise(source, strength))
        assert playing.stream.commit() is not None


def test_the_engine_never_waits_and_repeats_what_it_has(watch, tmp_path: Path) -> None:
    playing, go = watch(write_clip(tmp_path / "a.mkv", RAMP)), threading.Event()
    run = playing.video._now
    first = playing.chunks(1)[0]  # and the second is under way, or there
    encode = run.encode
    run.encode = lambda: go.wait(30) and encode()
    taken = [playing.video.take(0.5)[0] for _ in range(5)]
    assert all(latents is not None for latents in taken) and torch.equal(taken[3], taken[4])
    expected = encoded(playing.stream, RAMP)
    torch.testing.assert_close(first, expected[0], atol=1e-4, rtol=1e-3)
    go.set()
    assert wait_until(lambda: not torch.equal(playing.video.take(0.5)[0], taken[4]))


def test_full_strength_is_the_stream_without_video_bit_for_bit(tmp_path: Path) -> None:
    plain, other = Engine(), Engine()
    other.engine.watch(str(write_clip(tmp_path / "a.mkv", RAMP)))
    other.params.set("video.strength", 1.0)
    assert (plain.chunks(3) == other.chunks(3)).all()
    other.engine.video.close()


def test_the_weaker_the_closer_to_the_video(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "a.mkv", [180] * 48))
    distances = []
    for strength in (0.0, 0.3, 0.9):
        playing = Engine()
        playing.engine.keep_picture_time(20)
        playing.engine.watch(clip)
        playing.params.set("video.strength", strength)
        source = []
        denoise = playing.engine.stream.denoise
        playing.engine.stream.denoise = lambda *given, denoise=denoise, source=source: (
            source.append(given) or denoise(*given)
        )
        finished = []
        finish = playing.engine.stream.finish
        playing.engine.stream.finish = lambda finish=finish, finished=finished: (
            finished.append(finish()) or finished[-1]
        )
        playing.chunks(3)
        distances.append(float((finished[-1].latents - source[-1][0]).abs().mean()))
        playing.engine.video.close()
    assert distances == sorted(distances) and distances[0] < 0.2 * distances[2]


def test_a_missing_file_is_told_once_and_the_show_goes_on_until_it_is_there(tmp_path: Path) -> None:
    playing, told = Engine(), []
    playing.engine.tell = told.append
    playing.engine.video.again = 0.02
    playing.engine.watch(str(tmp_path / "late.mkv"))
    assert wait_until(lambda: len(playing.chunks(1)) == 4 and told)
    playing.chunks(4)
    assert told == [f"no video in: there is no file {tmp_path}/late.mkv"] and told[0] in playing.engine.notices
    part = write_clip(tmp_path / "part.mkv", RAMP)
    part.rename(tmp_path / "late.mkv")
    assert wait_until(lambda: len(playing.chunks(1)) == 4 and not playing.engine.video.notice)
    assert wait_until(lambda: playing.engine.video.take(0.5)[0] is not None)
    assert len(told) == 1 and not playing.engine.fault
    playing.engine.video.close()


def test_a_broken_clip_is_told_and_nothing_escapes(watch, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", RAMP)
    bad = bytearray(whole.read_bytes())
    bad[len(bad) // 3 :: 7] = b"\xff" * len(bad[len(bad) // 3 :: 7])
    (tmp_path / "bad.mkv").write_bytes(bytes(bad))
    (tmp_path / "none.mkv").write_bytes(b"not a video")
    for name in ("bad.mkv", "none.mkv"):
        playing = watch(tmp_path / name)
        for _ in range(8):
            source, strength = playing.video.take(0.5, wait=True)
            assert (source is None) == (strength == 1.0)
        assert playing.video._thread.is_alive()
    assert "none.mkv" in playing.told[0] and len(playing.told) == 1


def test_an_encoder_that_fails_is_told(watch, tmp_path: Path) -> None:
    playing = watch("")
    playing.stream.decoder.encode = lambda *given: (_ for _ in ()).throw(RuntimeError("out of memory"))
    playing.video.play(str(write_clip(tmp_path / "a.mkv", RAMP)))
    assert playing.video.take(0.5, wait=True) == (None, 1.0)
    assert playing.told == ["no video in: RuntimeError: out of memory"]
    del playing.stream.decoder.encode
    assert wait_until(lambda: playing.video.take(0.5)[0] is not None)


def test_another_source_and_another_stream_begin_anew(watch, tmp_path: Path) -> None:
    playing = watch(write_clip(tmp_path / "a.mkv", RAMP))
    playing.chunks(2)
    playing.video.play(str(write_clip(tmp_path / "b.mkv", [200] * 8)))
    torch.testing.assert_close(playing.chunks(1)[0], encoded(playing.stream, [200] * 4)[0], atol=1e-4, rtol=1e-3)
    larger = stream(recipe=replace(RECIPE, width=128, height=96))
    playing.video.use(larger)
    assert playing.chunks(1)[0].shape == (1, 16, 1, 12, 16)
    playing.video.play("")
    assert playing.video.take(0.5) == (None, 1.0)


def test_a_patch_brings_its_video_and_is_saved_with_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", RAMP)
    (tmp_path / "song.yaml").write_text(
        f"{PATCH}\nvideo: clip.mkv\n".replace("values: {", "values: {video.strength: 0.4, ")
    )
    song = load(tmp_path / "song.yaml")
    assert song.video_source == str(tmp_path / "clip.mkv")
    playing = Engine()
    playing.engine.load(song)
    assert wait_until(lambda: playing.engine.video.take(0.5)[0] is not None)
    saved = loads(dump(saving.as_patch(song, playing.params, {})))
    assert saved.video_source == song.video_source and saved.values["video.strength"] == pytest.approx(0.4)
    playing.engine.load(loads(PATCH))
    assert playing.engine.video.source == "" and playing.params["video.strength"].base == 0.7
    playing.engine.watch("camera:61")
    playing.engine.load(song)
    assert playing.engine.video.source == "camera:61"  # what the command line says goes before
    playing.engine.video.close()
    for text in ("camera:0", "rtsp://10.0.0.3/x", ""):
        assert loads(f"video: '{text}'").video_source == text


def test_rendered_from_a_clip_the_picture_follows_it(tmp_path: Path) -> None:
    """The house model's own pictures, rendered first, then played again from them."""
    clip, out = tmp_path / "first.mkv", {name: tmp_path / f"{name}.mkv" for name in ("weak", "strong", "again")}
    common = (*QUICK, "--seconds", 0.6)
    render(*common, "--prompt", "a blue star spinning", "--out", clip)
    for name, strength in (("weak", 0.2), ("strong", 1), ("again", 0.2)):
        words = ("--prompt", "a green moon", "--seed", 5, "--in", clip, "--set", f"video.strength={strength}")
        render(*common, *words, "--out", out[name])
    source, weak, strong, again = (frames(file) for file in (clip, out["weak"], out["strong"], out["again"]))
    assert abs(weak - source).mean() < 0.5 * abs(strong - source).mean()
    differing = {number: np.abs(one - other).max() for number, (one, other) in enumerate(zip(weak, again, strict=True))}
    assert not any(differing.values()), differing  # rendering waits for every picture


def render(*words: object) -> None:
    assert main(["render", *map(str, words)]) == 0


def frames(file: Path) -> np.ndarray:
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def test_played_live_a_camera_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    with Playing(tmp_path, "--in", "camera:61") as show:
        assert show.plays_on()
        assert wait_until(lambda: any("no video in: camera:61" in text for text in show.notices()))
        assert wait_until(lambda: any("no video in" in text for text in show.status().get("warnings", [])))
        show.send(("/video/strength", 0.3))
        assert show.plays_on() and show.values()["video.strength"] == pytest.approx(0.3)

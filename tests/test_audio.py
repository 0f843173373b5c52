"""What sound is heard as: known tones, clicks and noise, and a file that plays along."""

import wave

import av
import numpy as np
import pytest

from instrument.modulation import audioin
from instrument.modulation.audio import DELAY, HOP, RATE, WINDOW, Analyser
from instrument.modulation.audioin import AudioError, FileEar, open_ear, read_sound
from instrument.modulation.modspec import FEATURES


def tone(frequency: float, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def heard(sound: np.ndarray) -> dict[str, float]:
    analyser = Analyser()
    analyser.feed(sound)
    return dict(analyser.heard.features)


def pitch(features: dict[str, float]) -> float:
    return 55 * 2 ** (5 * features["pitch"])


@pytest.mark.parametrize("frequency", [60, 110, 146.83, 220, 440, 1000, 1500])
def test_the_pitch_of_a_tone_within_a_quarter_tone(frequency):
    assert pitch(heard(tone(frequency))) == pytest.approx(frequency, rel=0.029)


def test_the_pitch_of_a_rich_sound_is_its_lowest():
    time = np.arange(RATE) / RATE
    for frequency in (82.4, 146.8, 330):
        saw = (0.4 * (time * frequency % 1 * 2 - 1)).astype(np.float32)
        assert pitch(heard(saw)) == pytest.approx(frequency, rel=0.01)


def test_what_has_no_pitch_keeps_the_last():
    analyser = Analyser()
    analyser.feed(tone(440))
    before = analyser.heard.features["pitch"]
    for _ in range(2):
        analyser.feed(np.random.default_rng(1).uniform(-0.3, 0.3, RATE // 2).astype(np.float32))
        analyser.feed(np.zeros(RATE // 2, np.float32))
        assert analyser.heard.features["pitch"] == pytest.approx(before, abs=0.01)  # a quarter tone
        assert analyser.heard.features["level"] == 0


@pytest.mark.parametrize(("frequency", "band"), [(70, "bass"), (300, "low"), (1000, "mid"), (6000, "high")])
def test_a_tone_is_loudest_in_its_band(frequency, band):
    features = heard(tone(frequency))
    bands = {name: features[name] for name in ("bass", "low", "mid", "high")}
    assert max(bands, key=bands.get) == band
    assert bands[band] == pytest.approx(1 - 6.02 / 60, abs=0.03)


def test_level_is_even_in_decibels():
    for decibels in (0, -6, -30, -59, -80):
        level = heard(tone(1000, amplitude=10 ** (decibels / 20)))["level"]
        assert level == pytest.approx(max(0, 1 + decibels / 60), abs=0.01)


def test_brightness_rises_with_the_frequency():
    centroids = [heard(tone(f))["centroid"] for f in (150, 500, 1000, 3000, 8000)]
    assert centroids == sorted(centroids) and centroids[2] == pytest.approx(0.5, abs=0.02)


def clicks(count: int = 8, every: float = 0.5) -> np.ndarray:
    noise, sound = np.random.default_rng(0), np.zeros(int((count + 1) * every * RATE), np.float32)
    for number in range(count):
        begin = int((0.25 + number * every) * RATE)
        sound[begin : begin + 2400] += noise.standard_normal(2400) * np.exp(-np.arange(2400) / 500) * 0.3
    return sound


def test_onsets_are_counted_where_sounds_begin():
    analyser, found = Analyser(), []
    sound = clicks()
    for begin in range(0, len(sound), HOP):
        before = analyser.heard.onsets
        analyser.feed(sound[begin : begin + HOP])
        if analyser.heard.onsets > before:
            found.append(begin / RATE + HOP / RATE)
            assert analyser.heard.features["onset"] == 1
    assert len(found) == 8
    late = [at - (0.25 + number * 0.5) for number, at in enumerate(found)]
    assert all(0 < each <= DELAY + 0.001 for each in late), late


def test_steady_noise_begins_once():
    analyser = Analyser()
    analyser.feed((np.random.default_rng(3).standard_normal(4 * RATE) * 0.1).astype(np.float32))
    assert analyser.heard.onsets == 1 and analyser.heard.features["onset"] == 0


def test_the_size_of_the_pieces_makes_no_difference():
    sound = clicks(3)
    whole, pieces = Analyser(), Analyser()
    whole.feed(sound)
    at = 0
    for size in np.random.default_rng(2).integers(1, 3000, 200).tolist():
        pieces.feed(sound[at : at + size])
        at += size
    pieces.feed(sound[at:])
    assert pieces.heard == whole.heard


def test_nothing_that_can_be_fed_does_harm():
    analyser = Analyser()
    for sound in (np.zeros(0), np.full(5 * WINDOW, 1e30), np.full(WINDOW, -1.0), np.tile([1.0, -1.0], WINDOW)):
        analyser.feed(sound.astype(np.float32))
        assert set(analyser.heard.features) == set(FEATURES)
        assert all(0 <= value <= 1 for value in analyser.heard.features.values())


def write_wav(file, sound: np.ndarray, rate: int = RATE, channels: int = 1) -> None:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat((sound * 32767).astype("<i2"), channels).tobytes())


def test_a_file_is_heard_at_the_time_it_is_asked(tmp_path):
    file = tmp_path / "song.wav"
    write_wav(file, np.concatenate([tone(100, 1.0), tone(3000, 1.0)]))
    ear = open_ear(str(file))
    assert isinstance(ear, FileEar)
    assert ear.hear(50.0).features["level"] == 0
    for now in np.arange(50.0, 50.9, 0.05):
        low = ear.hear(now).features
    for now in np.arange(51.0, 51.9, 0.05):
        high = ear.hear(now).features
    for now in np.arange(52.1, 52.9, 0.05):  # from the beginning again
        again = ear.hear(now).features
    assert low["bass"] > 0.8 > high["bass"] and high["high"] > 0.8 > low["high"]
    assert again["bass"] == pytest.approx(low["bass"], abs=0.02)


def test_the_same_file_at_the_same_times_is_heard_the_same(tmp_path):
    file = tmp_path / "clicks.wav"
    write_wav(file, clicks(4))
    ears = FileEar(file), FileEar(file)
    for now in np.arange(0, 3, 0.043):
        assert ears[0].hear(now) == ears[1].hear(now)
    assert ears[0].hear(3.0).onsets == 5  # four, and the first again


def test_a_long_stall_is_skipped(tmp_path):
    file = tmp_path / "song.wav"
    write_wav(file, tone(440, 1.0))
    ear = FileEar(file)
    ear.hear(0.0)
    assert ear.hear(1e6).features["level"] > 0.8


def test_other_rates_channels_and_kinds_are_read(tmp_path):
    write_wav(tmp_path / "cd.wav", tone(440, 1.0)[: 44100 // 2], rate=44100, channels=2)
    sound = read_sound(tmp_path / "cd.wav")
    assert len(sound) == pytest.approx(0.5 * RATE, rel=0.01) and sound.dtype == np.float32
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.02)
    with av.open(str(tmp_path / "song.flac"), "w") as out:
        stream = out.add_stream("flac", rate=RATE)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((tone(440, 0.2) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = RATE
        out.mux([*stream.encode(frame), *stream.encode(None)])
    assert len(read_sound(tmp_path / "song.flac")) == pytest.approx(0.2 * RATE, rel=0.01)


def test_what_cannot_be_heard_is_said(tmp_path, monkeypatch):
    write_wav(tmp_path / "long.wav", np.zeros(3 * RATE))
    with monkeypatch.context() as changed:
        changed.setattr(audioin, "LONGEST", 1)
        with pytest.raises(AudioError, match="is longer than 0 minutes; cut it"):
            read_sound(tmp_path / "long.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.wav cannot be read as sound"):
        open_ear(str(tmp_path / "text.wav"))
    write_wav(tmp_path / "empty.wav", np.zeros(0))
    with pytest.raises(AudioError, match="holds no sound"):
        open_ear(str(tmp_path / "empty.wav"))
    with pytest.raises(AudioError, match=r"sound in needs PortAudio|no sound from 'no such device'"):
        open_ear("no such device")

"""Sounds for a comparison: clips as they are, and recordings with known edges."""

import io

import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict

from utils.delivery.parity import material
from utils.delivery.parity.material import find_sound, load_test_sounds, load_windows


def flac(silence: float, sound: float, after: float) -> bytes:
    """Silence, a tone, silence, in seconds."""
    rate = 16000
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(sound * rate)) / rate)
    samples = np.concatenate([np.zeros(round(silence * rate)), tone, np.zeros(round(after * rate))])
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    """A test split of 12 clips with silence around the sound, and of three that recordings leave out."""
    folder = tmp_path_factory.mktemp("prepared") / "it"
    rows = [
        {
            "id": f"c{n}",
            "audio": flac(0.5, 3.0 + n / 10, 0.25),
            "text": f"testo {n}",
            "duration": 3.75 + n / 10,
        }
        for n in range(12)
    ]
    languages = ["it"] * 12 + ["en", "en"]
    rows += [{"id": f"e{n}", "audio": flac(0, 2, 0), "text": f"text {n}", "duration": 2.0} for n in range(2)]
    rows = [row | {"language": code} for row, code in zip(rows, languages, strict=True)]
    rows.append({"id": "mute", "audio": flac(0, 2, 0), "text": "", "duration": 2.0, "language": "it"})
    splits = {"train": Dataset.from_list(rows), "test": Dataset.from_list(rows)}
    DatasetDict(splits).save_to_disk(folder)
    return str(folder)


def sounds_of(dataset: str, num_clips: int = 4, seed: int = 1):
    return load_test_sounds([dataset], "test", language="auto", num_clips=num_clips, seed=seed)


def test_clips_are_drawn_and_stay_as_they_are(dataset):
    sounds = sounds_of(dataset)
    clips = [sound for sound in sounds if not sound.is_recording]
    assert len(clips) == 4 and len(sounds) == 4 + 3
    assert all(sound.text and sound.name != "mute" for sound in clips)
    for clip in clips:
        if clip.name.startswith("c"):
            assert clip.duration == pytest.approx(3.75 + int(clip.name[1:]) / 10, abs=1e-3)
    assert [sound.name for sound in sounds_of(dataset)] == [sound.name for sound in sounds]
    assert [sound.name for sound in sounds_of(dataset, seed=2)] != [sound.name for sound in sounds]
    assert len(sounds_of(dataset, num_clips=99)) == 14 + 3  # all that have a text


def test_recordings_are_longer_than_a_minute_and_their_edges_are_those_of_the_sound(dataset):
    recordings = [sound for sound in sounds_of(dataset) if sound.is_recording]
    for recording in recordings:
        assert 60 < recording.duration < 67 and recording.language == "it"
        assert "text " not in recording.text  # the other language
        loud = np.abs(recording.samples) > 0.01
        for piece in recording.pieces:
            number = int(piece.text.split()[1])
            assert piece.end - piece.start == pytest.approx(3 + number / 10, abs=0.02)
            first, last = round(piece.start * 16000), round(piece.end * 16000)
            assert loud[first : first + 320].any() and not loud[first - 640 : first - 160].any()
            assert loud[last - 320 : last].any() and not loud[last + 160 : last + 640].any()
        gaps = [b.start - a.end for a, b in zip(recording.pieces, recording.pieces[1:], strict=False)]
        assert all(0.4 <= gap <= 1.2 + 2 * 0.05 + 0.02 for gap in gaps)


def test_windows_fit_into_thirty_seconds(dataset):
    windows = load_windows([dataset], "train", language="auto", seed=0)
    assert len(windows) == 8
    assert all(20 < window.duration <= 30 for window in windows)
    assert len({window.text for window in windows}) == 8


def test_windows_are_of_clips_of_which_two_fit(tmp_path, monkeypatch):
    rows = [
        {"id": str(n), "audio": flac(0, 1, 0), "text": f"testo {n}", "duration": seconds, "language": "it"}
        for n, seconds in enumerate((14.0, 20.0, 1.0, 13.0, 28.0))
    ]
    folders = [str(tmp_path / "mixed"), str(tmp_path / "long")]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(folders[0])
    DatasetDict({"train": Dataset.from_list(rows[:2])}).save_to_disk(folders[1])
    windows = load_windows(folders[:1], "train", language="auto", seed=0)
    assert {piece.text for window in windows for piece in window.pieces} == {"testo 2", "testo 3"}
    assert load_windows(folders[1:], "train", language="auto", seed=0) == []
    monkeypatch.setattr(material, "ROWS_FOR_WINDOWS", 1)
    windows = load_windows([str(tmp_path / "mixed")] * 4, "train", language="auto", seed=1)
    assert len({piece.text for window in windows for piece in window.pieces}) <= 1


def test_the_sound_of_a_clip_is_between_its_silences():
    rate = 16000
    samples = np.zeros(2 * rate, dtype=np.float32)
    samples[8000:24000] = 0.3 * np.sin(np.arange(16000))
    start, end = find_sound(samples)
    assert start == pytest.approx(8000, abs=160) and end == pytest.approx(24000, abs=160)
    assert find_sound(np.zeros(0, dtype=np.float32)) == (0, 0)

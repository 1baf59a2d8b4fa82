"""benchmarks/alignment_training.py: recordings and shares by hand, and a short run on real speech."""

import json

import numpy as np
import pytest

from benchmarks import alignment_training
from benchmarks.alignment_training import (
    PlacedClip,
    Recording,
    build_recordings,
    plain_text,
    share_of_words,
    timed_lines,
)
from tests.support.warm_processes import keep_benchmarks_warm
from utils.data.transcripts.tab_lines import is_timed, read_tab_lines


@pytest.fixture
def warm(monkeypatch) -> None:
    keep_benchmarks_warm(monkeypatch)


def test_every_clip_is_in_one_recording_at_its_place():
    sizes = [1600 * number for number in range(1, 8)]  # 0.1 to 0.7 s, 2.8 s in all
    clips = [(np.full(size, size / 16_000, dtype=np.float32), f"testo {size}") for size in sizes]
    recordings = build_recordings(clips, 1.0, (0.1, 0.2), seed=0)
    assert sorted(clip.text for item in recordings for clip in item.clips) == sorted(t for _, t in clips)
    for recording in recordings:
        assert recording.clips[0].start == 0
        assert recording.clips[-1].end == len(recording.samples) / 16_000
        reach = None
        for clip in recording.clips:
            start, end = round(clip.start * 16_000), round(clip.end * 16_000)
            assert end - start == int(clip.text.removeprefix("testo "))
            assert np.all(recording.samples[start:end] == np.float32((end - start) / 16_000))
            if reach is not None:
                assert 1600 <= start - reach <= 3200
                assert not recording.samples[reach:start].any()
            reach = end
    assert all(len(item.samples) >= 16_000 for item in recordings[:-1])
    assert all(
        item.clips[-2].end < 1.0 for item in recordings if len(item.clips) > 1
    )  # none goes on when full


def test_the_seed_draws_the_order():
    clips = [(np.ones(1600, dtype=np.float32), str(number)) for number in range(20)]
    texts = [plain_text(build_recordings(clips, 60.0, (0.1, 0.2), seed=seed)[0]) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_transcripts_with_and_without_times():
    clips = [PlacedClip("Uno, due.", 0.0, 1.25), PlacedClip("Tre", 1.75, 2.0625)]
    recording = Recording(np.zeros(33_000, dtype=np.float32), clips)
    assert plain_text(recording) == "Uno, due. Tre\n"
    assert timed_lines(recording) == "0.000\t1.250\tUno, due.\n1.750\t2.062\tTre\n"
    assert is_timed(timed_lines(recording)) and not is_timed(plain_text(recording))
    assert [piece.text for piece in read_tab_lines(timed_lines(recording))] == ["Uno, due.", "Tre"]


def test_share_of_words():
    assert share_of_words(["uno due", "tre"], ["uno due tre quattro"]) == 0.75


@pytest.mark.slow
def test_it_runs(warm, italian_prompts, tmp_path, capsys):
    dataset = write_prepared(tmp_path / "prompts", italian_prompts)
    options = ["--dataset", str(dataset), "--minutes", "0.25", "--max_steps", "2"]
    alignment_training.main([*options, "--output_dir", str(tmp_path / "out")])
    values = json.loads((tmp_path / "out" / "alignment_training.json").read_text())
    known, aligned = values["data"]
    assert known["share_of_words_kept"] == 1.0
    assert aligned["share_of_words_kept"] > 0.8
    assert [score["times"] for score in values["scores"]] == ["known times", "aligned", "untuned"]
    assert [item["text"] for item in values["aligned_against_known"]] == ["raw", "normalized"]
    assert "aligned against known times, normalized" in capsys.readouterr().out


def write_prepared(folder, clips):
    """Real prompts as a prepared dataset: all but the last two to train on, these to score."""
    import io

    import soundfile
    from datasets import Dataset, DatasetDict, Features, Value

    def encode(samples):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16_000, format="FLAC")
        return buffer.getvalue()

    names = {"id": "string", "audio": "binary", "text": "string", "duration": "float64", "language": "string"}
    rows = [
        {
            "id": str(number),
            "audio": encode(samples),
            "text": text,
            "duration": len(samples) / 16_000,
            "language": "it",
        }
        for number, (samples, text) in enumerate(clips)
    ]
    features = Features({name: Value(kind) for name, kind in names.items()})
    splits = {"train": rows[:-2], "test": rows[-2:]}
    DatasetDict(
        {split: Dataset.from_list(part, features=features) for split, part in splits.items()}
    ).save_to_disk(folder)
    return folder

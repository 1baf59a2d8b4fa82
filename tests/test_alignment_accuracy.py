"""benchmarks/alignment_accuracy.py: the recording and the comparison by hand, and a run with a tiny model."""

import json

import numpy as np
import pytest

from benchmarks import alignment_accuracy
from benchmarks.alignment_accuracy import (
    Recording,
    are_kept,
    bin_by_confidence,
    build_recording,
    words_at_joins,
)
from utils.data.forced_alignment.segments import AlignedSegment, PlacedUnit
from utils.data.forced_alignment.units import split_transcript


def test_joins_are_where_prompts_meet():
    clips = [(np.full(size, size, dtype=np.float32), f"testo {size}") for size in (1600, 3200)]
    recording = build_recording(clips, 1.0, (0.1, 0.2), seed=0)
    assert len(recording.samples) >= 16_000
    for join in recording.joins:
        end, start = round(join.end * 16_000), round(join.start * 16_000)
        assert 1600 <= start - end <= 3200
        assert not recording.samples[end:start].any()
        size = int(recording.samples[start])
        assert recording.samples[end - 1] > 0 and size > 0
        assert recording.text[join.character :].startswith(f"testo {size}")
    assert build_recording(clips, 1.0, (0.1, 0.2), seed=0).text == recording.text


def test_words_and_segments_at_a_join():
    text = "Uno due. ...tre quattro"
    recording = Recording(np.zeros(1), text, [alignment_accuracy.Join(1.0, 1.5, 9)])
    placed = [PlacedUnit(unit, k, k + 1, 0.9) for k, unit in enumerate(split_transcript(text))]
    before, after = words_at_joins(recording, placed)[0]
    assert (before.unit.key, after.unit.key) == ("due", "tre")
    segments = [AlignedSegment(0, 1, "Uno due.", 0.9), AlignedSegment(1, 2, "...tre quattro", 0.4)]
    assert are_kept(recording, segments, [True, True]).tolist() == [True]
    assert are_kept(recording, segments, [True, False]).tolist() == [False]


def test_bins_of_confidence():
    bins = bin_by_confidence(np.array([0.1, 0.55, 0.58]), np.array([900.0, 10.0, 300.0]))
    counted = [(b.lowest, b.boundaries, b.share_within_200_ms) for b in bins if b.boundaries]
    assert counted == [(0.0, 1, 0.0), (0.5, 2, 0.5)]


@pytest.mark.slow
def test_it_runs(tiny_whisper, tmp_path, capsys):
    common = ["--model_name_or_path", str(tiny_whisper), "--minutes", "1", "--output_dir", str(tmp_path)]
    alignment_accuracy.main(common)
    results = json.loads((tmp_path / "alignment_accuracy.json").read_text())["results"]
    assert [result["recording"] for result in results] == ["with added silence", "as they are"]
    assert all(result["boundaries"] > 5 for result in results)
    assert "audio s/s" in capsys.readouterr().out

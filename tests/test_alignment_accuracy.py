"""benchmarks/alignment_accuracy.py: the comparison by hand, and a run with a tiny model."""

import json

import numpy as np
import pytest

from benchmarks import alignment_accuracy
from benchmarks.alignment_accuracy import (
    Boundary,
    characters_after_joins,
    describe,
    kept_characters,
    words_around,
)
from benchmarks.recordings import Placed, Recording
from utils.data.forced_alignment.anchors import split_transcript
from utils.data.forced_alignment.segments import AlignedSegment, PlacedUnit


def test_words_and_segments_at_a_join():
    clips = [Placed("Uno due.", 0.0, 1.0), Placed("...tre quattro", 1.5, 3.0)]
    recording = Recording(np.zeros(48_000, np.float32), clips)
    assert recording.text == "Uno due. ...tre quattro"
    [character] = characters_after_joins(recording)
    assert recording.text[character:] == "...tre quattro"
    placed = [PlacedUnit(unit, k, k + 1, 0.9) for k, unit in enumerate(split_transcript(recording.text))]
    before, after = words_around(placed, character)
    assert (before.unit.key, after.unit.key) == ("due", "tre")
    segments = [AlignedSegment(0, 1, "Uno due.", 0.9), AlignedSegment(1, 2, "...tre quattro", 0.4)]
    assert kept_characters(recording.text, segments, 0.5).tolist() == [True] * 8 + [False] * 15
    assert kept_characters(recording.text, segments, 0.4).sum() == 22  # all but the space between


def test_boundaries_are_told_by_how_sure_they_are():
    found = [
        Boundary(900.0, 0.1, is_kept=False, is_in_gap=False),
        Boundary(10.0, 0.6, is_kept=True, is_in_gap=True),
        Boundary(300.0, 0.58, is_kept=True, is_in_gap=True),
        Boundary(20.0, 0.9, is_kept=True, is_in_gap=False),
    ]
    everything, kept, sure = describe(found).splitlines()
    assert (
        "all: 4 boundaries" in everything and "%: 160 /" in everything and "50.0% within 200 ms" in everything
    )
    assert "kept: 3 boundaries" in kept and "%: 20 /" in kept and "66.7% cut in the silence" in kept
    assert "sure: 2 boundaries" in sure and "%: 15 /" in sure and "100.0% within 200 ms" in sure
    assert "sure: 0 boundaries" in describe([]).splitlines()[2]


@pytest.mark.slow
def test_it_runs(tiny_whisper, tmp_path, capsys):
    common = ["--model_name_or_path", str(tiny_whisper), "--minutes", "1", "--output_dir", str(tmp_path)]
    alignment_accuracy.main(common)
    results = json.loads((tmp_path / "alignment_accuracy.json").read_text())
    assert list(results) == ["with added silence", "as they are"]
    assert all(len(result["boundaries"]) > 5 for result in results.values())
    assert "of the text kept" in capsys.readouterr().out

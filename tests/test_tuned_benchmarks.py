"""benchmarks/hallucination.py and timestamps.py: the arithmetic by hand, and a run of both."""

import json

import numpy as np
import pytest

from benchmarks import hallucination, timestamps
from benchmarks.hallucination import MadeUp, Score, markdown_tables, words_per_minute
from benchmarks.timestamps import boundary_errors, build_windows, read_segments, summarize
from tests.support.warm_processes import keep_benchmarks_warm

# ---- hallucination -----------------------------------------------------------------------------------------


@pytest.fixture
def warm(monkeypatch) -> None:
    keep_benchmarks_warm(monkeypatch)


def test_made_up_words_a_minute_by_hand():
    found = [
        MadeUp("untuned", "full", "white", 20.0, 2, 1, 6, ["", "grazie mille a tutti voi qui"]),
        MadeUp("untuned", "full", "hum", 10.0, 1, 0, 0, [""]),
    ]
    assert words_per_minute(found) == 12.0  # 6 words in half a minute
    tables = markdown_tables(found, [Score("untuned", "full", 0.25, (0.2, 0.31))])
    assert "| untuned | full | 12.0 | 1 of 3 | 25.0 [20.0, 31.0] |" in tables
    assert "| untuned, full | 18 | 0 |" in tables and "0.5 minutes without speech" in tables


# ---- timestamps --------------------------------------------------------------------------------------------


def test_windows_hold_every_clip_once_with_pauses_between():
    clips = [
        np.full(round(seconds * 16_000), number + 1.0) for number, seconds in enumerate([9, 12, 3, 15, 2])
    ]
    windows = build_windows(clips, (0.3, 1.0), seed=0)
    assert sum(len(window.spans) for window in windows) == 5
    for window in windows:
        assert len(window.samples) / 16_000 == pytest.approx(window.spans[-1][1], abs=1e-3)
        assert len(window.samples) <= 28 * 16_000
        for (start, end), following in zip(window.spans, [*window.spans[1:], (99.0, 99.0)], strict=True):
            inside = window.samples[round(start * 16_000) + 1 : round(end * 16_000) - 1]
            assert inside.min() == inside.max() > 0
            assert following[0] == 99.0 or 0.29 <= following[0] - end <= 1.01


def test_segments_are_read_from_tokens():
    # timestamps from 1000 on, 0.02 s each: <0.00> a b <1.50> <2.00> c <3.00>, and one that nothing closes
    tokens = [7, 8, 1000, 1, 2, 1075, 1100, 3, 1150, 1200, 4]
    assert read_segments(tokens, 1000) == [(0.0, 1.5), (2.0, 3.0)]
    assert read_segments([1, 2, 3], 1000) == []


def test_errors_are_to_the_nearest_boundary_of_the_same_kind():
    spans = [(0.0, 1.0), (2.0, 3.0)]
    errors = boundary_errors(spans, [(0.1, 1.4), (2.15, 2.9)])
    assert errors == pytest.approx([0.1, 0.4, 0.15, 0.1])
    assert boundary_errors(spans, []) == []
    timing = summarize("m", [spans, spans], 2, errors, [0.2, 0.8])  # the second window has no times at all
    assert (timing.median_error, timing.share_close) == (pytest.approx(0.125), 3 / 8)
    assert (timing.prompts, timing.unforced) == (4, pytest.approx(0.5))
    assert summarize("m", [spans], 0, [], [0.0]).median_error is None


@pytest.mark.slow
def test_both_run_and_a_rerun_trains_nothing_again(warm, brief_whisper, prepared, tmp_path):
    common = ["--model_name_or_path", str(brief_whisper), "--dataset", str(prepared), "--max_steps", "2"]
    of_noise = [*common, "--durations", "1", "--output_dir", str(tmp_path / "noise")]
    hallucination.main(of_noise)
    made_up = json.loads((tmp_path / "noise" / "hallucination.json").read_text())["made_up"]
    assert len(made_up) == 3 * 2 * 10 and {item["seconds"] for item in made_up} == {1.0}
    trained = (tmp_path / "noise" / "tuned" / "final" / "model.safetensors").stat().st_mtime_ns
    hallucination.main(of_noise)
    assert (tmp_path / "noise" / "tuned" / "final" / "model.safetensors").stat().st_mtime_ns == trained
    timestamps.main([*common, "--max_windows", "2", "--output_dir", str(tmp_path / "times")])
    timings = json.loads((tmp_path / "times" / "timestamps.json").read_text())["timings"]
    assert [timing["model"] for timing in timings] == [
        "untuned",
        "tuned without timestamps",
        "tuned without timestamps, stitched",
        "tuned with timestamps, stitched",
    ]
    assert "within 0.2 s" in (tmp_path / "times" / "timestamps.md").read_text()

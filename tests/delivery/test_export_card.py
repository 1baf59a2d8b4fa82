"""The README of an export says what was measured, and how."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.real_vocabulary import build_source
from utils.delivery.export_card import print_scores, write_export_card
from utils.delivery.exporting import Export, Job
from utils.delivery.exports.registry import DELIVERABLES
from utils.delivery.parity.comparing import SourceComparison
from utils.delivery.parity.measures import Score, WordTiming
from utils.delivery.parity.rendering import Trial
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.parity.verdict import RuntimeScores
from utils.delivery.runtimes.runtime import Way
from utils.scoring.error_rates import ErrorCounts

PLAIN, WORDS = Way(), Way(timestamps=True, words=True)


@pytest.fixture(scope="module")
def export() -> Export:
    piece = JoinedClip("a", 0.0, 1.0)
    sounds = [ParitySound("clip", np.zeros(16_000), "it", [piece])] * 2
    sounds.append(ParitySound("recording", np.zeros(16_000), "it", [piece] * 2))
    on_clips = Score(PLAIN, False, ErrorCounts(1, 0, 1, 16), loops=0, missing=0.0, rtfx=3.21, timing=None)
    timing = WordTiming(0.1234, (0.254, 0.756))
    on_recordings = Score(
        WORDS, True, ErrorCounts(4, 0, 0, 16), loops=2, missing=0.034, rtfx=9.0, timing=timing
    )
    comparison = SourceComparison(
        Trial(sounds, [PLAIN, WORDS], threads=1), RuntimeScores("source", [on_recordings, on_clips])
    )
    unheard = replace(on_recordings, timing=WordTiming(None, (0.0, 0.0)))
    return Export(
        build_source(),
        Job("ctranslate2", DELIVERABLES["ctranslate2"], "int8", Path("out")),
        "python export.py --model a",
        comparison,
        heads=None,
        notes=["Tell it the language."],
        scores=[RuntimeScores("faster-whisper", [unheard])],
        num_bytes=3 << 20,
    )


def test_every_score_has_a_row(export, tmp_path):
    write_export_card(tmp_path, export)
    text = (tmp_path / "README.md").read_text()
    assert "# random as ctranslate2, int8" in text and "3 MiB" in text
    assert "    python export.py --model a\n" in text and "* Tell it the language." in text
    assert "on 1 CPU thread, on 2 held-out clips and on 1 recording of over 60 s" in text
    rows = [line for line in text.splitlines() if line.startswith(("| source", "| faster"))]
    assert rows == [
        "| source | clips | plain | 12.5 | 0 | 0.0 |  |  |  | 3.2 |",
        "| source | recordings | timestamps + words | 25.0 | 2 | 3.4 | 0.123 | 0.25 | 0.76 | 9.0 |",
        "| faster-whisper | recordings | timestamps + words | 25.0 | 2 | 3.4 | none | 0.00 | 0.00 | 9.0 |",
    ]
    assert "2 points of WER (3 with fewer than 16 bits)" in text and "0.35 of F1" in text


def test_times_that_a_program_only_estimates_are_shown_and_not_judged(export, tmp_path):
    worse = replace(export, job=replace(export.job, name="ggml", deliverable=DELIVERABLES["ggml"]))
    assert export.find_faults() == [
        "ctranslate2, faster-whisper, recordings, timestamps + words: no times of words"
    ]
    assert worse.find_faults() == []
    for number, each in enumerate((export, worse)):
        (tmp_path / str(number)).mkdir()
        write_export_card(tmp_path / str(number), each)
        text = (tmp_path / str(number) / "README.md").read_text()
        assert ("whisper.cpp only estimates the times of words" in text) is bool(number)


def test_an_export_that_is_the_source_says_so(export, tmp_path):
    names = [
        ("huggingface", "float32", True),
        ("huggingface", "float16", False),
        ("openai", "float32", False),
    ]
    for name, precision, is_source in names:
        job = Job(name, DELIVERABLES[name], precision, Path("out"))
        write_export_card(tmp_path, replace(export, job=job))
        assert ("with the very files" in (tmp_path / "README.md").read_text()) is is_source


def test_the_terminal_shows_the_same_scores(export, capsys):
    print_scores(export)
    told = capsys.readouterr().out
    assert told.count("source") == 2 and "0.123" in told and "faster-whisper" in told
    print_scores(replace(export, comparison=None))
    assert capsys.readouterr().out == ""

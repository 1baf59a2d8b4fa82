"""Ranked runs of a sweep, from folders written by hand."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from utils.report.sweep_table import print_sweep, rank_runs, write_sweep

# Errors of ten utterances of four words each.
GOOD, BAD = [0, 1, 0, 0, 1, 0, 2, 0, 0, 0], [1, 1, 2, 0, 1, 0, 2, 1, 0, 4]


def write_run(
    folder: Path, errors: list[int], *, metric: str = "normalized_wer", average: bool = False
) -> Path:
    """A finished run whose best evaluation was at step 20."""
    said = ["uno due tre quattro"] * len(errors)
    heard = [" ".join(["x"] * wrong + text.split()[wrong:]) for wrong, text in zip(errors, said, strict=True)]
    lines = [
        {"id": str(number), "normalized_reference": text, "normalized_hypothesis": other}
        | {"reference": text.title(), "hypothesis": other.title()}
        for number, (text, other) in enumerate(zip(said, heard, strict=True))
    ]
    (folder / "predictions").mkdir(parents=True)
    (folder / "predictions/step-20.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    evaluation = {"step": 20, "epoch": 1.5, "training_loss": 0.25, "validation_loss": 0.5}
    results = {"metric_for_best_model": metric, "best_metric": sum(errors) / 40}
    results |= {"best_step": None if average else 20, "evaluations": [evaluation]}
    (folder / "best").mkdir()
    (folder / "best/train_results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def runs(tmp_path) -> dict[Path, dict[str, str]]:
    return {
        write_run(tmp_path / "high", BAD): {"learning_rate": "1e-3"},
        write_run(tmp_path / "low", GOOD): {"learning_rate": "1e-5"},
        write_run(tmp_path / "mean", [1] * 10, average=True): {"learning_rate": "1e-4"},
    }


def test_the_lowest_rate_comes_first_with_its_interval(runs):
    best, average, worst = rank_runs(runs, samples=500, seed=1)
    assert [run.values["learning_rate"] for run in (best, average, worst)] == ["1e-5", "1e-4", "1e-3"]
    assert [run.rate for run in (best, average, worst)] == [0.1, 0.25, 0.3]
    assert (best.step, best.epoch, best.training_loss, best.validation_loss) == (20, 1.5, 0.25, 0.5)
    assert best.ci95[0] < 0.1 < best.ci95[1] and worst.ci95[0] < 0.3 < worst.ci95[1]
    assert (best.above_first, best.above_first_ci95) == (None, None)
    assert worst.above_first == pytest.approx(0.2)
    # eight errors more in ten utterances; without the last, which has half of them, five
    low, high = worst.above_first_ci95
    assert low < 0.2 < high and low < 0.125
    assert (average.step, average.epoch, average.ci95) == (None, None, None)  # of no single evaluation
    assert average.above_first == pytest.approx(0.15) and average.above_first_ci95 is None


def test_intervals_are_those_of_the_metric_that_chooses(tmp_path):
    """Raw texts in capitals; characters where the CER chooses: an x for `Uno` are three of 19."""
    run = write_run(tmp_path / "run", [1] * 10, metric="raw_cer")
    (ranked,) = rank_runs({run: {"seed": "1"}}, samples=100, seed=1)
    assert ranked.ci95 == pytest.approx((3 / 19, 3 / 19))


def test_runs_on_other_clips_are_not_compared(tmp_path):
    one, other = write_run(tmp_path / "a", GOOD), write_run(tmp_path / "b", [*BAD, 1])
    assert rank_runs({one: {}, other: {}}, samples=100, seed=1)[1].above_first_ci95 is None


def test_the_table_is_shown_in_percent_and_written_as_fractions(runs, tmp_path):
    ranked = rank_runs(runs, samples=500, seed=1)
    stream = io.StringIO()
    print_sweep(ranked, Console(file=stream, width=200))
    text = stream.getvalue()
    assert "WER normalised of the best evaluation" in text and "test it" in text
    rows = [line for line in text.splitlines() if "1e-" in line]
    cells = [[cell.strip() for cell in row.strip("│ ").split("│")] for row in rows]
    assert [cells[0][place] for place in (0, 1, 4, 5, 6, 7)] == [
        "1e-5",
        "10.00",
        "20",
        "1.50",
        "0.250",
        "0.500",
    ]
    assert cells[1][2:5] == ["–", "15.00", "average"] and cells[2][3].startswith("20.00 (")
    write_sweep(tmp_path / "sweep.csv", ranked)
    with (tmp_path / "sweep.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["learning_rate"], float(line["rate"])) for line in lines] == [
        ("1e-5", 0.1),
        ("1e-4", 0.25),
        ("1e-3", 0.3),
    ]
    assert float(lines[0]["ci95_low"]) == ranked[0].ci95[0] and lines[1]["ci95_low"] == ""
    assert lines[2]["folder"].endswith("high") and float(lines[2]["above_first_ci95_high"]) > 0.2

"""benchmarks/bench.py: its cases, its table, its picture; and that the docs show the figures of its file."""

import json
import re
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import bench, decode_speed, preprocess_speed, train_speed, transcribe_speed
from benchmarks.bench_tables import CURVES, PAGES, PICTURE, RESULTS, draw_results, publish, table_rows
from benchmarks.side_by_side import PEER, Measurement, summarize
from tests.support.warm_processes import keep_benchmarks_warm
from utils.arguments.parsing import parse_arguments
from utils.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
RECORDS = {
    train_speed.main: train_speed.TrainSpeedArguments,
    decode_speed.main: decode_speed.DecodeSpeedArguments,
    transcribe_speed.main: transcribe_speed.TranscribeSpeedArguments,
    preprocess_speed.main: preprocess_speed.PreprocessSpeedArguments,
}
BLOCK = re.compile(r"<!-- written by make bench -->\n(.*?)<!-- end of bench -->", re.DOTALL)


def bench_arguments(*words: str) -> bench.BenchArguments:
    return parse_arguments(bench.BenchArguments, list(words))


# ---- cases -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bench.CASES)
def test_a_case_is_a_call_of_its_benchmark(name: str):
    kind = RECORDS[bench.CASES[name].measure]
    full, small = (
        parse_arguments(kind, bench.words_of(bench_arguments("--output_dir", "a folder", *words), name))
        for words in ((), ("--small", "--seed", "7"))
    )
    assert full.output_dir == f"a folder/{name}" and full.dataset == "data/demo"
    assert (full.rounds, small.rounds) == (3, 1)
    assert (full.seed, small.seed) == (42, 7)


def test_models_are_given_to_the_cases_that_take_them():
    args = bench_arguments("--model_name_or_path", "my base", "--tuned_model", "my tuned", "--language", "ru")
    for name in ("train-2s", "recording", "decode-2s", "decode-ctranslate2"):
        words = bench.words_of(args, name)
        assert ("my tuned" if name.startswith("decode") else "my base") in words and "ru" in words


def test_pages_and_curves_name_cases():
    named = {name for names in PAGES.values() if names for name in names}
    assert named | {name for points in CURVES.values() for name in points.values()} <= bench.CASES.keys()


def test_a_part_of_the_cases_is_not_published():
    with pytest.raises(UserError, match=r"expected all cases.* Add train-8s, "):
        bench.main(["--publish", "--cases", "train-2s"])


# ---- what is shown -----------------------------------------------------------------------------------------


def case_of(task: str, peer: float, ours: float, **measured: float) -> dict:
    """A case with one measurement of each side."""
    runs = [
        Measurement(PEER, "int8", 0, peer, normalized_wer=0.125),
        Measurement("ours", "int8", 0, ours, **measured),
    ]
    return {
        "task": task,
        "tool": "`tool`",
        "summaries": summarize(runs),
        "measurements": [asdict(run) for run in runs],
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a run leaves: one case that every page shows, and one that only docs/performance.md shows."""
    cases = {
        "recording": case_of("read a book", 2.0, 5.0, peak_memory_bytes=1_500_000_000),
        "decode-ctranslate2": case_of("read a letter", 4.0, 2.0),
    }
    machine = {"processor": "Abacus", "processors": 3}
    results = {"date": "2026-01-02", "machine": machine, "versions": {"torch": "9.9"}, "load": 0.25}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "bench.json").write_text(json.dumps(results | {"cases": cases}))
    return folder


def test_a_run_is_published_between_the_marks(run_folder: Path, tmp_path: Path):
    marked = "above\n<!-- written by make bench -->\nold\n<!-- end of bench -->\nbelow\n"
    (tmp_path / "docs/pictures").mkdir(parents=True)
    for page in PAGES:
        (tmp_path / page).write_text(marked)
    results = json.loads((run_folder / "bench.json").read_text())
    draw_results(results, run_folder / "speed.png")
    publish(run_folder, tmp_path)
    all_cases, some = ((tmp_path / page).read_text() for page in ("docs/performance.md", "README.md"))
    assert all_cases.startswith("above\n") and all_cases.endswith("<!-- end of bench -->\nbelow\n")
    assert "old" not in all_cases
    where = "2026-01-02, Abacus, 3 processors, load 0.2 at the start, rounds: 1, torch 9.9."
    assert f"{where}\n\n| task |" in all_cases
    book = "| read a book, int8 | `tool`: 2.00, 12.50% | 5.00, 1.50 GB | 2.5 × |\n"
    assert book in all_cases and book in some
    assert "| read a letter, int8 | `tool`: 4.00, 12.50% | 2.00 | 0.5 × |\n" in all_cases
    assert "letter" not in some
    assert "](pictures/speed.png)\n<!-- end" in all_cases and "](docs/pictures/speed.png)\n<!-- end" in some
    assert json.loads((tmp_path / RESULTS).read_text()) == results
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    publish(run_folder, tmp_path)
    assert (tmp_path / "README.md").read_text() == some


def test_a_page_without_marks_stays(run_folder: Path, tmp_path: Path):
    (run_folder / "speed.png").touch()
    (tmp_path / "docs/pictures").mkdir(parents=True)
    for page in PAGES:
        (tmp_path / page).write_text("no table\n")
    publish(run_folder, tmp_path)
    assert {(tmp_path / page).read_text() for page in PAGES} == {"no table\n"}


@pytest.mark.parametrize("page", PAGES)
def test_the_docs_show_the_figures_of_the_file(page: str):
    """Every rate and ratio of a row, computed here from the single measurements."""
    found = BLOCK.search((ROOT / page).read_text(encoding="utf-8"))
    if found is None or not found[1]:  # a page without marks, or before the first run
        assert page == "README.md" or not (found is None or (ROOT / RESULTS).exists())
        return
    results = json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))
    rows = [line.strip("| ").split(" | ") for line in found[1].splitlines() if line.startswith("| ")][1:]
    names = [name for name in results["cases"] if PAGES[page] is None or name in PAGES[page]]
    assert len(rows) == len(names)
    for (task, usual, own, ratio), name in zip(rows, names, strict=True):
        case, rates = results["cases"][name], {}
        for side in {item["side"] for item in case["measurements"]}:
            measured = [item for item in case["measurements"] if item["side"] == side]
            rates[side] = statistics.median(item["audio_seconds_per_second"] for item in measured)
        theirs, (ours,) = rates.pop(PEER), rates.values()
        assert task.startswith(case["task"]) and usual.startswith(case["tool"])
        figures = [usual.split(": ")[1].split(",")[0], own.split(",")[0], ratio]
        assert figures == [f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.1f} ×"]
    assert results["date"] in found[1] and results["machine"]["processor"] in found[1]


# ---- a run -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cases_are_measured_and_gathered(brief_whisper, prepared, tmp_path, monkeypatch, capsys):
    """One case with a tiny model, and one whose tool has no model here."""
    keep_benchmarks_warm(monkeypatch)
    words = ["--model_name_or_path", str(brief_whisper), "--tuned_model", str(brief_whisper), "--small"]
    words += ["--dataset", str(prepared), "--output_dir", str(tmp_path)]
    monkeypatch.setattr(transcribe_speed, "find_spec", lambda name: None)
    bench.main([*words, "--cases", "decode-2s", "recording-openvino"])
    results = json.loads((tmp_path / "bench.json").read_text())
    assert list(results["cases"]) == ["decode-2s"] and list(results["left_out"]) == ["recording-openvino"]
    (row,) = table_rows(results)
    assert row[0].startswith("decode, clips of 2 s, ") and row[1].startswith("`pipeline`: ")
    assert {"torch", "transformers", "python"} <= results["versions"].keys() and results["load"] >= 0
    assert results["small"] and (tmp_path / "speed.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "left out: peer openvino: expected openvino-genai" in out and "times as fast" in out

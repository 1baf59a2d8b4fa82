"""Every table of an evaluation as CSV, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils.report.page import without_controls
from utils.runtime.files import write_bytes

TEXTS = ("normalized", "raw")

SCORE_KEYS = ("wer", "cer", "mer", "wil", "num_words", "substitutions", "insertions", "deletions")

ROW_KEYS = ("model", "dataset", "split", "audio_context")

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # with their full-width forms

Cell = str | int | float | bool | None


def write_evaluation_tables(
    folder: Path,
    results: Sequence[dict],
    analysis: dict | None,
    predictions: Iterable[dict],
    curves: Mapping[str, Sequence[dict]],
) -> list[Path]:
    """Write one CSV file for each table that has a line, with rates as fractions and times in seconds.

    Args:
        folder: Where to write scores.csv, groups.csv, confusions.csv, failures.csv, hallucination.csv,
            comparisons.csv, gates.csv, utterances.csv and learning_curve.csv.
        results: The rows of evaluation_results.json; keys that are lacking leave their cells empty.
        analysis: What comparative_analysis.json holds, where models were compared.
        predictions: The lines of predictions.jsonl.
        curves: The lines of metrics.jsonl of each model whose run is known.

    Returns:
        The files written.
    """
    analysis = analysis or {}
    tables = {
        "scores": [line for row in results for line in _score_lines(row)],
        "groups": [line for row in results for line in _group_lines(row)],
        "confusions": [_named(row) | pair for row in results for pair in row.get("confusions") or ()],
        "failures": [line for row in results for line in _failure_lines(row)],
        "hallucination": [
            _named(row) | {"sound": sound} | probe
            for row in results
            for sound, probe in (row.get("hallucination") or {}).items()
        ],
        "comparisons": [_without_interval(row) for row in analysis.get("comparisons", ())],
        "gates": [line for gate in analysis.get("gates", ()) for line in _gate_lines(gate)],
        "utterances": [_utterance_line(line) for line in predictions],
        "learning_curve": [
            {"model": model} | record for model, records in curves.items() for record in records
        ],
    }
    written = []
    for name, lines in tables.items():
        if lines:
            written.append(folder / f"{name}.csv")
            write_csv(written[-1], lines)
    return written


def write_csv(path: Path, lines: Sequence[Mapping[str, Cell]]) -> None:
    """Write lines under the headings that any of them has, whole or not at all.

    UTF-8 with a byte order mark, by which spreadsheets know it. Numbers stay numbers; a text that would be
    taken for a formula gets an apostrophe in front (OWASP, "CSV injection").
    """
    headings = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([guarded(heading) for heading in headings])
    writer.writerows([[guarded(line.get(heading)) for heading in headings] for line in lines])
    write_bytes(path, text.getvalue().encode("utf-8-sig", errors="replace"))


def guarded(cell: Cell) -> Cell:
    """A cell that no spreadsheet runs: a text that begins like a formula follows an apostrophe."""
    if not isinstance(cell, str):
        return cell
    text = without_controls(cell)
    return f"'{text}" if text.startswith("\t") or text.lstrip().startswith(FORMULA_SIGNS) else text


def _named(row: dict) -> dict[str, Cell]:
    return {key: row.get(key) for key in ROW_KEYS}


def _score(score: dict) -> dict[str, Cell]:
    return {key: score.get(key) for key in SCORE_KEYS} | _interval(score)


def _interval(score: dict) -> dict[str, Cell]:
    low, high = score.get("ci95") or (None, None)
    return {"ci95_low": low, "ci95_high": high, "ci95_unit": score.get("ci95_unit")}


def _score_lines(row: dict) -> Iterable[dict[str, Cell]]:
    keys = ("backend", "normalizer", "is_guard", "num_utterances", "audio_seconds", "rtfx")
    sizes = ("trainable_parameters", "total_parameters")
    for text in TEXTS:
        more = {key: row.get(key) for key in (*keys, *sizes)}
        yield _named(row) | {"text": text} | _score(row[text]) | more


def _group_lines(row: dict) -> Iterable[dict[str, Cell]]:
    for column, values in (row.get("groups") or {}).items():
        for value, group in values.items():
            size = {key: group.get(key) for key in ("num_utterances", "audio_seconds")}
            for text in TEXTS:
                named = {"column": column, "value": value, **size, "text": text}
                yield _named(row) | named | _score(group[text])


def _failure_lines(row: dict) -> Iterable[dict[str, Cell]]:
    for kind, count in (row.get("failures") or {}).items():
        yield _named(row) | {"failure": kind, "count": count, "num_utterances": row.get("num_utterances")}


def _without_interval(comparison: dict) -> dict[str, Cell]:
    low, high = comparison.get("ci95") or (None, None)
    rest = {key: value for key, value in comparison.items() if key != "ci95"}
    return rest | {"ci95_low": low, "ci95_high": high}


def _gate_lines(gate: dict) -> Iterable[dict[str, Cell]]:
    named = {"candidate": gate["candidate"], "promote": gate["promote"]}
    for outcome, sentences in (("failed", gate["reasons"]), ("passed", gate.get("passed") or ())):
        for sentence in sentences:
            yield named | {"check": outcome, "words": sentence}


def _utterance_line(line: dict) -> dict[str, Cell]:
    kept = {key: value for key, value in line.items() if key not in ("alignment", "failures")}
    return kept | {"failures": ", ".join(line.get("failures") or ())}

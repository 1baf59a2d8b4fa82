"""Writes every table of an evaluation as CSV that is safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utils.evaluation.records import (
    RATES,
    Analysis,
    EvaluationResult,
    Gate,
    ModelComparison,
    Prediction,
    TextScore,
)
from utils.report.labels import TEXT_LABELS, without_controls
from utils.runtime.files import write_bytes

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # with their full-width forms

Cell = str | int | float | bool | None

Row = dict[str, Cell]


def write_evaluation_tables(
    folder: Path,
    results: Sequence[EvaluationResult],
    analysis: Analysis | None,
    predictions: Iterable[Prediction],
    metrics: Mapping[str, Sequence[dict]],
) -> list[Path]:
    """Write one CSV file for each table that is not empty. Rates are fractions, and times are in seconds.

    Args:
        folder: The files are written here: scores.csv, groups.csv, confusions.csv, failures.csv,
            error_causes.csv, hallucination.csv, terms.csv, comparisons.csv, gates.csv, utterances.csv and
            learning_curve.csv.
        results: Results of all models.
        analysis: Comparisons and gates, if models were compared.
        predictions: Predictions of all models.
        metrics: The lines of metrics.jsonl of each model whose run is known.

    Returns:
        The files that were written.
    """
    tables = {
        "scores": [row for result in results for row in _score_rows(result)],
        "groups": [row for result in results for row in _group_rows(result)],
        "confusions": [_named(result) | vars(pair) for result in results for pair in result.confusions],
        "failures": [
            _named(result) | {"failure": kind, "count": count, "num_utterances": result.num_utterances}
            for result in results
            for kind, count in result.failures.items()
        ],
        "error_causes": [row for result in results for row in _cause_rows(result)],
        "hallucination": [
            _named(result) | {"sound": sound} | vars(probe)
            for result in results
            for sound, probe in (result.hallucination or {}).items()
        ],
        "terms": [row for result in results for row in _term_rows(result)],
        "comparisons": [_comparison_row(row) for row in analysis.comparisons] if analysis else [],
        "gates": [row for gate in analysis.gates for row in _gate_rows(gate)] if analysis else [],
        "utterances": [_utterance_row(prediction) for prediction in predictions],
        "learning_curve": [{"model": model} | line for model, lines in metrics.items() for line in lines],
    }
    written = []
    for name, rows in tables.items():
        if rows:
            written.append(folder / f"{name}.csv")
            write_csv(written[-1], rows)
    return written


def write_csv(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Write rows as CSV, completely or not at all. The columns are those that any row has.

    The file is UTF-8 with a byte order mark, by which spreadsheets recognise UTF-8. Numbers stay numbers. If
    a spreadsheet would take a text for a formula, an apostrophe is put before it (OWASP, "CSV injection").
    """
    headings = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([guarded(heading) for heading in headings])
    writer.writerows([[guarded(row.get(heading)) for heading in headings] for row in rows])
    write_bytes(path, text.getvalue().encode("utf-8-sig", errors="replace"))


def guarded(cell: Cell) -> Cell:
    """Return a cell that is safe: put an apostrophe before text that looks like a formula."""
    if not isinstance(cell, str):
        return cell
    text = without_controls(cell)
    return f"'{text}" if text.startswith("\t") or text.lstrip().startswith(FORMULA_SIGNS) else text


def _named(result: EvaluationResult) -> Row:
    return _some(result, "model", "dataset", "split", "audio_context")


def _some(record: object, *names: str) -> Row:
    """Return some fields of a record, in this order."""
    return {name: getattr(record, name) for name in names}


def _interval(record: TextScore | ModelComparison) -> Row:
    low, high = record.ci95
    return {"ci95_low": low, "ci95_high": high}


def _score_cells(score: TextScore) -> Row:
    edits = ("num_words", "substitutions", "insertions", "deletions")
    rates = _some(score, *RATES, *edits)
    return rates | _interval(score) | {"ci95_unit": score.ci95_unit}


def _score_rows(result: EvaluationResult) -> Iterable[Row]:
    names = ("backend", "normalizer", "is_guard", "num_utterances", "audio_seconds", "rtfx")
    more = _some(result, *names, "trainable_parameters", "total_parameters")
    for text in TEXT_LABELS:
        yield _named(result) | {"text": text} | _score_cells(getattr(result, text)) | more


def _group_rows(result: EvaluationResult) -> Iterable[Row]:
    for column, values in result.groups.items():
        for value, group in values.items():
            size = _some(group, "num_utterances", "audio_seconds")
            for text in TEXT_LABELS:
                named = {"column": column, "value": value, **size, "text": text}
                yield _named(result) | named | _score_cells(getattr(group, text))


def _term_rows(result: EvaluationResult) -> Iterable[Row]:
    for term, counts in result.terms.by_term.items() if result.terms else ():
        yield _named(result) | {"term": term} | vars(counts)


def _cause_rows(result: EvaluationResult) -> Iterable[Row]:
    for cause, count in result.error_causes.items():
        yield _named(result) | {"cause": cause, "errors": count}


def _comparison_row(comparison: ModelComparison) -> Row:
    row = vars(comparison) | _interval(comparison)
    del row["ci95"]
    return row


def _gate_rows(gate: Gate) -> Iterable[Row]:
    named = _some(gate, "candidate", "promote")
    for outcome, sentences in (("failed", gate.reasons), ("passed", gate.passed)):
        for sentence in sentences:
            yield named | {"check": outcome, "words": sentence}


def _utterance_row(prediction: Prediction) -> Row:
    names = [name for name in prediction.as_line() if name != "alignment"]
    return _some(prediction, *names) | {"failures": ", ".join(prediction.failures)}

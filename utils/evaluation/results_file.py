"""evaluation_results.json and comparative_analysis.json, read again."""

import json
from pathlib import Path

from utils.evaluation.records import (
    Analysis,
    EvaluationResult,
    Gate,
    GroupScore,
    MadeUpWords,
    ModelComparison,
    TextScore,
)
from utils.scoring.error_rates import TEXT_FORMS
from utils.scoring.word_alignment import Confusion


def read_results(path: Path) -> list[EvaluationResult]:
    """Read evaluation_results.json back into records."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [_read_result(row) for row in rows]


def _read_result(row: dict) -> EvaluationResult:
    groups = {
        column: {
            value: GroupScore(**group | {text: _read_score(group[text]) for text in TEXT_FORMS})
            for value, group in values.items()
        }
        for column, values in row["groups"].items()
    }
    scores = {text: _read_score(row[text]) for text in TEXT_FORMS}
    made_up = row["hallucination"] and {sort: MadeUpWords(**v) for sort, v in row["hallucination"].items()}
    confusions = [Confusion(**confusion) for confusion in row["confusions"]]
    return EvaluationResult(
        **row | scores | {"groups": groups, "hallucination": made_up, "confusions": confusions}
    )


def _read_score(row: dict) -> TextScore:
    return TextScore(**row | {"ci95": tuple(row["ci95"])})


def read_analysis(path: Path) -> Analysis:
    """Read comparative_analysis.json back into a record."""
    analysis = json.loads(path.read_text(encoding="utf-8"))
    comparisons = [ModelComparison(**row | {"ci95": tuple(row["ci95"])}) for row in analysis["comparisons"]]
    gates = [Gate(**gate) for gate in analysis["gates"]]
    return Analysis(**analysis | {"comparisons": comparisons, "gates": gates})

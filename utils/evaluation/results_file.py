"""Read evaluation_results.json and comparative_analysis.json."""

import json
from pathlib import Path

from utils.evaluation.records import Analysis, EvaluationResult
from utils.runtime.records import record_from


def read_results(path: Path) -> list[EvaluationResult]:
    """Read evaluation_results.json back into records."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [record_from(EvaluationResult, row) for row in rows]


def read_analysis(path: Path) -> Analysis:
    """Read comparative_analysis.json back into a record."""
    return record_from(Analysis, json.loads(path.read_text(encoding="utf-8")))

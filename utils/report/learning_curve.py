"""Reads the learning curve of a run from metrics.jsonl: training loss and validation WER by step."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.report.labels import in_percent, shorten

Point = tuple[int, float]  # (step, value)


@dataclass(frozen=True)
class LearningCurve:
    """The log of one run, by step."""

    model: str
    loss: list[Point]
    normalized_wer: list[Point]  # of the validation split
    raw_wer: list[Point]

    @property
    def label(self) -> str:
        return shorten(self.model)

    @property
    def steps(self) -> list[int]:
        """Return the steps of all points."""
        return [step for points in (self.loss, self.normalized_wer, self.raw_wer) for step, _ in points]

    @property
    def best(self) -> Point | None:
        """Return the first step with the lowest normalised WER."""
        return min(self.normalized_wer, key=lambda point: (point[1], point[0]), default=None)


def load_metrics(model: str) -> list[dict]:
    """Read metrics.jsonl of the run that made a model. It is beside `best/` or in the folder itself.

    Returns:
        The lines of the file. There are none for a model of the Hub. If a killed run left an incomplete line,
        it is skipped.
    """
    if not Path(model).is_dir():
        return []
    for folder in (Path(model), Path(model).resolve().parent):
        file = folder / "metrics.jsonl"
        if file.is_file():
            return [line for line in map(_read_line, file.read_bytes().splitlines()) if line]
    return []


def _read_line(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def read_curves(metrics: Mapping[str, Sequence[dict]]) -> list[LearningCurve]:
    """Return the curves of those models whose run logged a loss or a validation.

    They are in the order of the models.

    Args:
        metrics: The lines of metrics.jsonl of each model.
    """
    keys = ("loss", "eval_normalized_wer", "eval_wer")
    curves = [
        LearningCurve(model, *[read_points(records, key) for key in keys])
        for model, records in metrics.items()
    ]
    return [curve for curve in curves if curve.loss or curve.normalized_wer or curve.raw_wer]


def read_points(records: Sequence[dict], key: str) -> list[Point]:
    """Return (step, value) of the records with a finite value. There is one for each step, in order."""
    values = {
        record["step"]: float(record[key])
        for record in records
        if isinstance(record.get(key), int | float) and math.isfinite(record[key])
    }
    return sorted(values.items())


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Average neighbouring points until at most `most` are left.

    An average gets the last step of its points.
    """
    width = -(-len(points) // most) if points else 1
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def learning_words(curves: Sequence[LearningCurve]) -> str:
    """Describe at which step the rate of each run was lowest, and what the loss means."""
    several = len(curves) > 1
    sentences = [
        f"The lowest normalised rate{f' of {curve.label}' if several else ''} is "
        f"{in_percent(curve.best[1])} % at step {curve.best[0]:,}{'' if several else ' (upright line)'}."
        for curve in curves
        if curve.best
    ]
    if any(curve.loss for curve in curves):
        sentences.append("The loss is the cross-entropy of a target token.")
    return " ".join(sentences)

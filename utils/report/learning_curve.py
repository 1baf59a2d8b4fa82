"""Reads the learning curve of a run from metrics.jsonl: both losses and the validation WER by step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.report.labels import in_percent, shorten
from utils.training.evaluation_history import (
    METRICS_FILE,
    LoggedEvaluation,
    describe_course,
    read_evaluations,
    read_log,
    thin_out,
)

Point = tuple[int, float]  # (step, value)


@dataclass(frozen=True)
class LearningCurve:
    """The log of one run, by step."""

    model: str
    loss: list[Point]  # of the training clips
    normalized_wer: list[Point]  # of the validation split
    raw_wer: list[Point]
    validation_loss: list[Point] = field(default_factory=list)
    evaluations: list[LoggedEvaluation] = field(default_factory=list)

    @property
    def label(self) -> str:
        return shorten(self.model)

    @property
    def steps(self) -> list[int]:
        """Return the steps of all points."""
        lines = self.loss, self.validation_loss, self.normalized_wer, self.raw_wer
        return [step for points in lines for step, _ in points]

    @property
    def rows(self) -> list[LoggedEvaluation]:
        """Return the evaluations to show as numbers."""
        return thin_out(self.evaluations)

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
        if (folder / METRICS_FILE).is_file():
            return read_log(folder / METRICS_FILE)
    return []


def read_curves(metrics: Mapping[str, Sequence[dict]]) -> list[LearningCurve]:
    """Return the curves of those models whose run logged a loss or a validation.

    They are in the order of the models.

    Args:
        metrics: The lines of metrics.jsonl of each model.
    """
    curves = [
        LearningCurve(
            model,
            loss=read_points(records, "loss"),
            normalized_wer=read_points(records, "eval_normalized_wer"),
            raw_wer=read_points(records, "eval_wer"),
            validation_loss=read_points(records, "eval_loss"),
            evaluations=read_evaluations(records),
        )
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


def times_hundred(points: Sequence[Point]) -> list[Point]:
    """Return rates in percent."""
    return [(step, 100 * rate) for step, rate in points]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Average neighbouring points until at most `most` are left.

    An average gets the last step of its points.
    """
    width = -(-len(points) // most) if points else 1
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def learning_words(curves: Sequence[LearningCurve]) -> str:
    """Describe at which step the rate of each run was lowest, where loss and rate part, and what the loss
    means.
    """
    several = len(curves) > 1
    sentences = [
        f"The lowest normalised rate{f' of {curve.label}' if several else ''} is "
        f"{in_percent(curve.best[1])} % at step {curve.best[0]:,}{'' if several else ' (upright line)'}."
        for curve in curves
        if curve.best
    ]
    for curve in curves:
        if course := describe_course(curve.evaluations):
            sentences.append(f"{curve.label}: {course}" if several else course)
    if any(curve.loss for curve in curves):
        sentences.append("The loss is the cross-entropy of a target token.")
    return " ".join(sentences)

"""The learning curve of a run: training loss and validation WER by step, from metrics.jsonl to the page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.report.charts import Colour, Line, legend, line_chart, swatch
from utils.report.labels import in_percent, shorten
from utils.report.page import Html, isolated, join, tag

Point = tuple[int, float]  # (step, value)

MOST_POINTS = 300  # of a line on a page


@dataclass(frozen=True)
class LearningCurve:
    """What one run logged, by step."""

    model: str
    loss: list[Point]
    normalized_wer: list[Point]  # of the validation split
    raw_wer: list[Point]

    @property
    def best(self) -> Point | None:
        """The step of the lowest normalised WER, the first of several."""
        return min(self.normalized_wer, key=lambda point: (point[1], point[0]), default=None)


def load_metrics(model: str) -> list[dict]:
    """What the run that made a model logged, from metrics.jsonl beside `best/` or in the folder itself.

    Returns:
        Its lines; none for a model of the Hub. A line that was cut off by a kill is left out.
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
    """The curves of those models whose run logged a loss or a validation, in the order given.

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
    """(step, value) of every record that holds a finite value, in the order of steps, one for each step."""
    values = {
        record["step"]: float(record[key])
        for record in records
        if isinstance(record.get(key), int | float) and math.isfinite(record[key])
    }
    return sorted(values.items())


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: neighbours are averaged, and stand at the last one's step."""
    width = -(-len(points) // most) if points else 1
    parts = [points[start : start + width] for start in range(0, len(points), width)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def learning_section(curves: Sequence[LearningCurve], models: Sequence[str]) -> Html:
    """Validation WER and training loss over the steps, a chart each.

    Args:
        curves: Of those models whose run is known.
        models: All of the report in order, for their colours.
    """
    rates: list[Line] = []
    losses: list[Line] = []
    words = ["In percent."]
    mark = None
    for curve in curves:
        colour = Colour(models.index(curve.model))
        name = f", {shorten(curve.model)}" if len(curves) > 1 else ""
        rates.append(Line(f"normalised WER{name}", colour, _thinned_percent(curve.normalized_wer)))
        rates.append(Line(f"raw WER{name}", colour, _thinned_percent(curve.raw_wer), dash=1))
        losses.append(Line(f"training loss{name}", colour, thinned(curve.loss, MOST_POINTS)))
        if curve.best:
            mark = curve.best[0] if len(curves) == 1 else None
            words.append(_best_words(curve.model, curve.best, len(curves) > 1))
    last = max((step for line in (*rates, *losses) for step, _ in line.points), default=0)
    loss_words = "Cross-entropy of a target token, mean since the record before."
    figures = [
        _figure("validation", "WER on the validation split", " ".join(words), rates, last, mark),
        _figure("loss", "Training loss", loss_words, losses, last, mark),
    ]
    return join(figures)


def _thinned_percent(points: Sequence[Point]) -> list[Point]:
    return [(step, 100 * value) for step, value in thinned(points, MOST_POINTS)]


def _best_words(model: str, best: Point, several: bool) -> str:
    of_model = f" of {shorten(model)}" if several else ""
    dashed = "" if several else " (upright line)"
    return f"The lowest normalised rate{of_model} is {in_percent(best[1])} % at step {best[0]:,}{dashed}."


def _figure(name: str, title: str, words: str, lines: Sequence[Line], last: float, mark: int | None) -> Html:
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Html("")
    chart = line_chart(
        f"learning-{name}", drawn, title=title, description=words, unit="step", last=last, mark=mark
    )
    entries = legend([(swatch(line.colour, line.dash), line.label) for line in drawn])
    return tag("figure", tag("figcaption", tag("strong", title), isolated(words)), entries, chart)

"""The learning curve of a run: training loss and validation WER by step, from metrics.jsonl to the page."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.report.charts import Colour, legend, swatch
from utils.report.line_chart import Line, line_chart
from utils.report.page import Html, isolated, join, tag
from utils.report.result_rows import shorten

Point = tuple[int, float]  # (step, value)

LOSS = "loss"

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
    curves = [
        LearningCurve(
            model,
            read_points(records, LOSS),
            read_points(records, "eval_normalized_wer"),
            read_points(records, "eval_wer"),
        )
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
    colours = {model: Colour(number) for number, model in enumerate(models)}
    several = len(curves) > 1
    rates: list[Line] = []
    losses: list[Line] = []
    for place, curve in enumerate(curves):
        colour = colours.get(curve.model, Colour(len(models) + place))
        name = f", {shorten(curve.model)}" if several else ""
        rates.append(_line(f"normalised WER{name}", colour, _in_percent(curve.normalized_wer), dash=0))
        rates.append(_line(f"raw WER{name}", colour, _in_percent(curve.raw_wer), dash=1))
        losses.append(_line(f"training loss{name}", colour, curve.loss, dash=0))
    words = "".join(f" {_best_words(curve, several)}" for curve in curves if curve.best)
    last = max((step for line in (*rates, *losses) for step, _ in line.points), default=0)
    mark = curves[0].best[0] if len(curves) == 1 and curves[0].best else None
    loss_words = "Cross-entropy of a target token, mean since the record before."
    figures = [
        _figure("validation", "WER on the validation split", f"In percent.{words}", rates, last, mark),
        _figure("loss", "Training loss", loss_words, losses, last, mark),
    ]
    return join(figures)


def _line(label: str, colour: Colour, points: Sequence[Point], *, dash: int) -> Line:
    return Line(label, colour, thinned(points, MOST_POINTS), dash)


def _in_percent(points: Sequence[Point]) -> list[Point]:
    return [(step, 100 * value) for step, value in points]


def _best_words(curve: LearningCurve, several: bool) -> str:
    assert curve.best is not None
    step, rate = curve.best
    of_model = f" of {shorten(curve.model)}" if several else ""
    dashed = "" if several else " (upright line)"
    return f"The lowest normalised rate{of_model} is {100 * rate:.1f} % at step {step:,}{dashed}."


def _figure(name: str, title: str, words: str, lines: Sequence[Line], last: float, mark: int | None) -> Html:
    drawn = [line for line in lines if line.points]
    if not drawn:
        return Html("")
    chart = line_chart(
        f"learning-{name}", drawn, title=title, description=words, unit="step", last=last, mark=mark
    )
    entries = legend([(swatch(line.colour, line.dash), line.label) for line in drawn])
    return tag("figure", tag("figcaption", tag("strong", title), isolated(words)), entries, chart)

"""Every plot of an evaluation as PNG: before and after, groups, durations, the learning curve."""

import dataclasses
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from utils.evaluation.records import EvaluationResult, TextScore
from utils.report.before_after import BAR_COLOURS, draw_before_after
from utils.report.breakdowns import DURATION
from utils.report.charts import HIGHEST_RATE
from utils.report.learning_curve import LearningCurve, read_curves
from utils.report.page import without_controls
from utils.report.result_rows import (
    MEASURES,
    Series,
    is_known,
    known_interval,
    list_datasets,
    list_models,
    list_series,
    measure_of,
    name_dataset,
    rate_for_order,
    rows_of,
    shorten,
)
from utils.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DOTS_PER_INCH = 150

LEGEND: Mapping[str, Any] = {"loc": "outside lower center", "ncols": 1, "frameon": False, "fontsize": 9}

MOST_VALUES = 50  # of a group that are drawn


def write_evaluation_plots(
    folder: Path, results: Sequence[dict], curves: Mapping[str, Sequence[dict]]
) -> list[Path]:
    """Draw before_after.png, a picture for each column of groups on each dataset, and learning_curve.png.

    Args:
        folder: Where to write them.
        results: The rows of evaluation_results.json; keys that are lacking leave their picture out.
        curves: The lines of metrics.jsonl of each model whose run is known.

    Returns:
        The files written.
    """
    written = []
    scored = [as_record(row) for row in results if is_known(row["normalized"][measure_of(row)])]
    if len(scored) > 1:
        written.append(folder / "before_after.png")
        draw_before_after(written[-1], scored)
    datasets = list_datasets(results)
    for number, dataset in enumerate(datasets, start=1):
        rows = rows_of(results, dataset)
        for column in dict.fromkeys(name for row in rows for name in row.get("groups") or {}):
            suffix = f"-{number}" if len(datasets) > 1 else ""
            path = folder / f"{_file_name(column, suffix, [file.stem for file in written])}.png"
            series = [one for one in list_series(results, rows) if column in (one.row.get("groups") or {})]
            save(path, draw_groups(series, column))
            written.append(path)
    known = read_curves(curves)
    if known:
        written.append(folder / "learning_curve.png")
        save(written[-1], draw_learning_curve(known, list_models(results)))
    return written


def as_record(row: dict) -> EvaluationResult:
    """A row as the record that the picture of before and after is drawn from; what is lacking is None."""
    values: dict[str, Any] = {
        field.name: row.get(field.name) for field in dataclasses.fields(EvaluationResult)
    }
    for text in ("raw", "normalized"):
        score = {field.name: row[text].get(field.name) for field in dataclasses.fields(TextScore)}
        values[text] = TextScore(**score | {"ci95": tuple(row[text]["ci95"])})
    return EvaluationResult(**values | {"measure": measure_of(row)})


def save(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG, whole or not at all."""
    image = io.BytesIO()
    with warnings.catch_warnings():
        # the font at hand may lack a script: boxes stand for its letters, and the CSV has them
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(image, format="png", dpi=DOTS_PER_INCH)
    write_bytes(path, image.getvalue())


def _file_name(column: str, suffix: str, taken: Sequence[str]) -> str:
    """A name of letters, digits and dashes, numbered where it would be another column's."""
    plain = re.sub(r"[^a-z0-9]+", "-", column.lower()).strip("-")[:40] or "column"
    name = (DURATION if column == DURATION else f"group-{plain}") + suffix
    return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def draw_groups(series: Sequence[Series], column: str) -> "Figure":
    """Bars of normalised error rates, one for each value and model, with whiskers; values from the top."""
    from matplotlib.figure import Figure

    groups = [one.row["groups"][column] for one in series]
    values = list(dict.fromkeys(value for group in groups for value in group))
    if column != DURATION:  # the highest rate of the last model first, as on the page
        values.sort(key=lambda value: -rate_for_order(series[-1], groups[-1].get(value)))
    values = values[:MOST_VALUES]
    height = 0.8 / len(series)
    figure = Figure(figsize=(8, 1.6 + 0.28 * len(values) * max(len(series), 1.6)), layout="constrained")
    axes = figure.subplots()
    for place, (one, group) in enumerate(zip(series, groups, strict=True)):
        scores = [(y, group[value]["normalized"]) for y, value in enumerate(values) if value in group]
        known = [(y, score) for y, score in scores if is_known(one.rate(score))]
        offset = (place - (len(series) - 1) / 2) * height
        _draw_bars(axes, [y + offset for y, _ in known], [score for _, score in known], 0.9 * height, one)
    sizes = {v: next(group[v]["num_utterances"] for group in groups if v in group) for v in values}
    labels = [f"{_plain(shorten(value, 30))} ({sizes[value]:,} clips)" for value in values]
    axes.set_yticks(range(len(values)), labels)
    axes.invert_yaxis()
    axes.set_xlim(left=0, right=min(axes.get_xlim()[1], 100 * HIGHEST_RATE))
    axes.set_xlabel(f"normalised {MEASURES[series[0].measure]} in percent; whiskers are 95 % intervals")
    _calm(axes, "x")
    where = _plain(name_dataset([one.row for one in series]))
    axes.set_title(f"{series[0].measure.upper()} by {_plain(shorten(column, 40))} on {where}", fontsize=11)
    figure.legend(**LEGEND)
    return figure


def _draw_bars(axes: "Axes", places: list[float], scores: list[dict], height: float, one: Series) -> None:
    rates = [100 * (one.rate(score) or 0.0) for score in scores]
    ends = [
        known_interval(score) or (rate / 100, rate / 100) for rate, score in zip(rates, scores, strict=True)
    ]
    below = [max(rate - 100 * low, 0.0) for rate, (low, _) in zip(rates, ends, strict=True)]
    above = [max(100 * high - rate, 0.0) for rate, (_, high) in zip(rates, ends, strict=True)]
    axes.barh(
        places,
        rates,
        height=height,
        xerr=[below, above],
        color=_colour(one),
        ecolor="#333333",
        error_kw={"linewidth": 1, "capsize": 2},
        label=_plain(one.label),
    )


def _colour(one: Series) -> tuple[float, ...]:
    """Of the model; nearer to white in the dynamic context."""
    from matplotlib.colors import to_rgb

    full = to_rgb(BAR_COLOURS[one.number % len(BAR_COLOURS)])
    return tuple(0.6 * part + 0.4 for part in full) if one.is_dynamic else full


def draw_learning_curve(curves: Sequence[LearningCurve], models: Sequence[str]) -> "Figure":
    """Validation WER above, training loss below, over the same steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for place, curve in enumerate(curves):
        number = models.index(curve.model) if curve.model in models else len(models) + place
        colour, name = BAR_COLOURS[number % len(BAR_COLOURS)], _plain(shorten(curve.model))
        for label, points, style in (("normalised", curve.normalized_wer, "-"), ("raw", curve.raw_wer, "--")):
            if points:
                steps, rates = zip(*points, strict=True)
                shown = [100 * rate for rate in rates]
                above.plot(steps, shown, style, marker="o", ms=4, color=colour, label=f"{name}, {label}")
        if curve.loss:
            below.plot(*zip(*curve.loss, strict=True), color=colour, label=name)
    above.set_ylabel("validation WER in percent")
    below.set_ylabel("training loss")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        _calm(axes, "y")
    drawn = above if above.get_lines() else below
    figure.legend(*drawn.get_legend_handles_labels(), **LEGEND)
    above.set_title("Learning curve", fontsize=11)
    return figure


def _calm(axes: "Axes", direction: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=direction, color="#e5e5e5")
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Text that is no formula, and has no line ends."""
    return without_controls(" ".join(text.split())).replace("$", r"\$")

"""Every plot of an evaluation as PNG: before and after, groups, durations, the learning curve."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.evaluation.records import EvaluationResult, TextScore
from utils.report.before_after import draw_before_after
from utils.report.breakdowns import DURATION
from utils.report.charts import HIGHEST_RATE
from utils.report.labels import MEASURES, shorten
from utils.report.learning_curve import LearningCurve
from utils.report.plotting import BAR_COLOURS, LEGEND, calm, drawable, save_figure, whiskers
from utils.report.series import Series, list_models, list_series, list_values, name_dataset, split_by_dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_VALUES = 50  # of a group that are drawn


def write_evaluation_plots(
    folder: Path, results: Sequence[EvaluationResult], curves: Sequence[LearningCurve]
) -> list[Path]:
    """Draw before_after.png, a picture for each column of groups on each dataset, and learning_curve.png.

    Args:
        folder: Where to write them.
        results: Of all models.
        curves: Of those models whose run is known.

    Returns:
        The files written.
    """
    figures: dict[str, Figure] = {}
    if len(results) > 1:
        figures["before_after"] = draw_before_after(results)
    datasets = split_by_dataset(results)
    for number, rows in enumerate(datasets, start=1):
        suffix = f"-{number}" if len(datasets) > 1 else ""
        for column in rows[0].groups:
            name = _file_name(column, suffix, figures)
            figures[name] = draw_groups(list_series(results, rows), column)
    if curves:
        figures["learning_curve"] = draw_learning_curve(curves, list_models(results))
    for name, figure in figures.items():
        save_figure(folder / f"{name}.png", figure)
    return [folder / f"{name}.png" for name in figures]


def _file_name(column: str, suffix: str, taken: Collection[str]) -> str:
    """A name of letters, digits and dashes, numbered where it would be another column's."""
    plain = re.sub(r"[^a-z0-9]+", "-", column.lower()).strip("-")[:40] or "column"
    name = (DURATION if column == DURATION else f"group-{plain}") + suffix
    return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def draw_groups(series: Sequence[Series], column: str) -> "Figure":
    """Bars of normalised error rates, one for each value and model, with whiskers; values from the top."""
    from matplotlib.figure import Figure

    groups = [one.result.groups[column] for one in series]
    # the highest rate first, as on the page
    values = (list(groups[0]) if column == DURATION else list_values(column, series))[:MOST_VALUES]
    height = 0.8 / len(series)
    figure = Figure(figsize=(8, 1.6 + 0.28 * len(values) * max(len(series), 1.6)), layout="constrained")
    axes = figure.subplots()
    for place, (one, group) in enumerate(zip(series, groups, strict=True)):
        offset = (place - (len(series) - 1) / 2) * height
        places = [number + offset for number in range(len(values))]
        _draw_bars(axes, places, [group[value].normalized for value in values], 0.9 * height, one)
    labels = [
        f"{drawable(shorten(value, 30))} ({groups[0][value].num_utterances:,} clips)" for value in values
    ]
    axes.set_yticks(range(len(values)), labels)
    axes.invert_yaxis()
    axes.set_xlim(left=0, right=min(axes.get_xlim()[1], 100 * HIGHEST_RATE))
    axes.set_xlabel(
        f"normalised {MEASURES[series[0].result.measure]} in percent; whiskers are 95 % intervals"
    )
    calm(axes, "x")
    where = drawable(name_dataset(series[0].result))
    axes.set_title(f"{series[0].measure} by {drawable(shorten(column, 40))} on {where}", fontsize=11)
    figure.legend(**LEGEND)
    return figure


def _draw_bars(
    axes: "Axes", places: list[float], scores: list[TextScore], height: float, one: Series
) -> None:
    rates = [one.rate(score) for score in scores]
    axes.barh(
        places,
        [100 * rate for rate in rates],
        height=height,
        xerr=whiskers(rates, scores),
        color=_colour(one),
        ecolor="#333333",
        error_kw={"linewidth": 1, "capsize": 2},
        label=drawable(one.label),
    )


def _colour(one: Series) -> tuple[float, ...]:
    """Of the model; nearer to white in the dynamic context."""
    from matplotlib.colors import to_rgb

    full = to_rgb(BAR_COLOURS[one.colour.number % len(BAR_COLOURS)])
    return tuple(0.6 * part + 0.4 for part in full) if one.colour.is_dynamic else full


def draw_learning_curve(curves: Sequence[LearningCurve], models: Sequence[str]) -> "Figure":
    """Validation WER above, training loss below, over the same steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for curve in curves:
        colour = BAR_COLOURS[models.index(curve.model) % len(BAR_COLOURS)]
        name = drawable(shorten(curve.model))
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
        calm(axes, "y")
    drawn = above if above.get_lines() else below
    figure.legend(*drawn.get_legend_handles_labels(), **LEGEND)
    above.set_title("Learning curve", fontsize=11)
    return figure

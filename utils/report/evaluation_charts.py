"""Draws every chart of an evaluation: before and after training, groups, durations, the learning curve."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.evaluation.records import EvaluationResult
from utils.report.charts import Panel, RateRow, draw_learning, draw_rates
from utils.report.drawing import Chart, save_png
from utils.report.labels import MEASURES, TEXT_LABELS, shorten
from utils.report.learning_curve import LearningCurve, learning_words
from utils.report.series import ScoredDataset, list_datasets, list_models, list_values, name_measures
from utils.runtime.messages import counted

DURATION = "duration"  # the column of groups whose values are in the order of lengths

MOST_VALUES = 50  # of a group that are drawn


@dataclass(frozen=True)
class GroupChart(Chart):
    """A chart of the rates of all values of one column, and the rates as numbers."""

    column: str
    dataset: ScoredDataset
    values: list[str]  # all, also those that are not drawn


@dataclass(frozen=True)
class LearningChart(Chart):
    """A chart of the learning curves, and the evaluations as numbers."""

    curves: Sequence[LearningCurve]


@dataclass(frozen=True)
class EvaluationCharts:
    """The charts in the order of a page."""

    before_after: Chart | None = None
    groups: list[GroupChart] = field(default_factory=list)
    durations: list[GroupChart] = field(default_factory=list)
    learning: LearningChart | None = None

    @property
    def all(self) -> list[Chart]:
        found = (self.before_after, *self.groups, *self.durations, self.learning)
        return [chart for chart in found if chart]


def draw_evaluation_charts(
    results: Sequence[EvaluationResult], curves: Sequence[LearningCurve]
) -> EvaluationCharts:
    """Draw the charts that the page shows and that are saved as PNG.

    Args:
        results: Results of all models.
        curves: Learning curves of those models whose run is known.
    """
    datasets = list_datasets(results)
    charts: dict[str, GroupChart] = {}
    for number, dataset in enumerate(datasets, start=1):
        suffix = f"-{number}" if len(datasets) > 1 else ""
        for column in dataset.results[0].groups:
            name = _file_name(column, suffix, charts)
            charts[name] = _group_chart(name, column, dataset, of_several=len(datasets) > 1)
    return EvaluationCharts(
        before_after=_before_after_chart(datasets) if len(results) > len(datasets) else None,
        groups=[chart for chart in charts.values() if chart.column != DURATION],
        durations=[chart for chart in charts.values() if chart.column == DURATION],
        learning=_learning_chart(curves, list_models(results)) if curves else None,
    )


def write_evaluation_plots(folder: Path, charts: EvaluationCharts) -> list[Path]:
    """Write every chart as PNG: before_after.png, learning_curve.png, and one for each column of groups.

    Returns:
        The files that were written.
    """
    written = []
    for chart in charts.all:
        written.append(folder / f"{chart.name}.png")
        save_png(written[-1], chart.figure, chart.title, chart.words)
    return written


def _file_name(column: str, suffix: str, taken: Collection[str]) -> str:
    """Return a file name of letters, digits and dashes. A number makes it unique."""
    plain = re.sub(r"[^a-z0-9]+", "-", column.lower()).strip("-")[:40] or "column"
    name = (DURATION if column == DURATION else f"group-{plain}") + suffix
    return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)


def _before_after_chart(datasets: Sequence[ScoredDataset]) -> Chart:
    """Draw a panel for each dataset. In it, normalised text comes first."""
    panels = []
    for dataset in datasets:
        rows = [
            RateRow(f"{label} text", "", [getattr(result, text) for result in dataset.results])
            for text, label in TEXT_LABELS.items()
        ]
        if len(dataset.series) > 1:
            size = counted(dataset.results[0].num_utterances, "clip")
            panels.append(Panel(f"{dataset.name}, {size}", dataset.series, rows))
    measures = name_measures([result for dataset in datasets for result in dataset.results])
    words = f"{measures} in percent; lower is better. Thin lines show the 95 % intervals."
    return Chart("before_after", "Error rate before and after", words, draw_rates(panels))


def _group_chart(name: str, column: str, dataset: ScoredDataset, *, of_several: bool) -> GroupChart:
    groups = [one.result.groups[column] for one in dataset.series]
    values = list(groups[0]) if column == DURATION else list_values(column, dataset.series)
    rows = [
        RateRow(
            shorten(value, 30),
            counted(groups[0][value].num_utterances, "clip"),
            [group[value].normalized for group in groups],
        )
        for value in values[:MOST_VALUES]
    ]
    where = f" on {dataset.name}" if of_several else ""
    title = f"{dataset.measure} by {shorten(column, 40)}{where}"
    measure = MEASURES[dataset.measure.lower()]
    words = f"Normalised {measure} in percent, with 95 % intervals (below 4 clips: only the range)."
    if len(values) > MOST_VALUES:
        words += f" The {MOST_VALUES} with the highest rates of {len(values):,} are drawn."
    figure = draw_rates([Panel("", dataset.series, rows)])
    return GroupChart(name, title, words, figure, column, dataset, values)


def _learning_chart(curves: Sequence[LearningCurve], models: Sequence[str]) -> LearningChart:
    title, figure = "Validation and training loss by step", draw_learning(curves, models)
    return LearningChart("learning_curve", title, learning_words(curves), figure, curves)

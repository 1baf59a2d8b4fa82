"""Draws the charts of both reports with matplotlib: bars of rates with intervals, lines, histograms."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from utils.evaluation.records import TextScore
from utils.report.drawing import (
    CARD,
    INK,
    SOFT,
    add_legend,
    add_note,
    chart_style,
    colour_of,
    drawable,
    new_panels,
)
from utils.report.labels import in_percent
from utils.report.learning_curve import LearningCurve, Point, thinned, times_hundred
from utils.report.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

HIGHEST_RATE = 1.5  # a bar above 150 % is cut: a model that never stops would make all other bars too short

BAR, GAP, LINE = 11.0, 9.0, 13.0  # points: of a bar, between rows, of a line of the legend

MOST_POINTS = 300  # of a line

MOST_DOTS = 40  # of a line; with more of them it is drawn without


@dataclass(frozen=True)
class RateRow:
    """The error rates that one row of bars shows.

    A row is a form of the text, a group or a range of durations.
    """

    label: str
    note: str  # below the label
    scores: list[TextScore]  # one of each series


@dataclass(frozen=True)
class Panel:
    """Rows of bars that share one axis."""

    title: str
    series: Sequence[Series]
    rows: Sequence[RateRow]

    @property
    def height(self) -> float:
        """Height of all rows, in points."""
        return len(self.rows) * (max(len(self.series), 2) * BAR + GAP)

    @property
    def top(self) -> float:
        """Return the end of the axis. Bars and intervals fit into it, up to 150 %."""
        ends = [
            max(one.rate(row.scores[place]), row.scores[place].ci95[1])
            for place, one in enumerate(self.series)
            for row in self.rows
        ]
        return min(max(ends), HIGHEST_RATE) or 1.0


@chart_style()
def draw_rates(panels: Sequence[Panel]) -> "Figure":
    """Draw error rates in percent as bars with intervals. The bars of a row are side by side."""
    from matplotlib.patches import Patch

    named = {one.label: one for panel in panels for one in panel.series}
    height = sum(panel.height + 44 for panel in panels) + LINE * len(named) + 10
    figure, places = new_panels(height, ratios=[panel.height for panel in panels])
    for axes, panel in zip(places, panels, strict=True):
        for place, one in enumerate(panel.series):
            _draw_bars(axes, panel, one, place)
        labels = [drawable(row.label) + (f"\n{row.note}" if row.note else "") for row in panel.rows]
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 112 * panel.top)
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.set_title(drawable(panel.title), fontweight="bold")
    patches = [Patch(**_look(one), label=drawable(name)) for name, one in named.items()]
    add_legend(figure, patches)
    return figure


def _draw_bars(axes: "Axes", panel: Panel, one: Series, place: int) -> None:
    """Draw the bars of one series with intervals and numbers.

    `place` is the number of each bar in its row.
    """
    row_height = panel.height / len(panel.rows)
    scores = [row.scores[place] for row in panel.rows]
    rates = [one.rate(score) for score in scores]
    middles = [row + (place - (len(panel.series) - 1) / 2) * BAR / row_height for row in range(len(rates))]
    ends = zip(rates, scores, strict=True)
    reach = [(100 * max(r - s.ci95[0], 0.0), 100 * max(s.ci95[1] - r, 0.0)) for r, s in ends]
    bars = axes.barh(
        middles,
        [100 * rate for rate in rates],
        height=(BAR - 2) / row_height,
        xerr=list(zip(*reach, strict=True)),
        error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2, "capthick": 1},
        **_look(one),
    )
    for bar, rate, score, row, y in zip(bars, rates, scores, panel.rows, middles, strict=True):
        add_note(bar, f"{one.label}, {row.label}: {in_percent(rate)} %")
        end = min(max(rate, score.ci95[1]), panel.top)
        axes.text(100 * end + 1.2 * panel.top, y, in_percent(rate), va="center", fontsize=8)


def _look(one: Series) -> dict:
    """Return the model's colour. Results with the dynamic context have a paler colour."""
    return {"color": colour_of(one.number), "alpha": 0.55 if one.is_dynamic else 1.0, "linewidth": 0}


@chart_style()
def draw_learning(curves: Sequence[LearningCurve], models: Sequence[str]) -> "Figure":
    """Draw the validation WER by step, and below it both losses.

    If there is only one run, mark its best step.

    Args:
        curves: The curves of the runs. At least one has a point.
        models: All models of the report in order. Their numbers decide the colours.
    """
    found = {
        "WER": any(curve.normalized_wer or curve.raw_wer for curve in curves),
        "loss": any(curve.loss or curve.validation_loss for curve in curves),
    }
    shown = [title for title, is_there in found.items() if is_there]
    height = 175 * len(shown) + 4 * LINE * len(curves)
    figure, places = new_panels(height, ratios=[1.0] * len(shown))
    panels = dict(zip(shown, places, strict=True))
    named = []
    for curve in curves:
        colour = colour_of(models.index(curve.model))
        name = f", {curve.label}" if len(curves) > 1 else ""
        lines = (
            ("WER", times_hundred(curve.normalized_wer), "-", colour, "normalised WER"),
            ("WER", times_hundred(curve.raw_wer), "--", CARD, "raw WER"),
            ("loss", curve.loss, "-", colour, "training loss"),
            ("loss", curve.validation_loss, "--", CARD, "validation loss"),
        )
        named += [
            _draw_line(panels[panel], points, f"{label}{name}", colour, style, dots)
            for panel, points, style, dots, label in lines
            if points
        ]
    add_legend(figure, named)
    titles = {"WER": "WER on the validation split, percent", "loss": "Loss of a target token"}
    last_step = max(1, *(step for curve in curves for step in curve.steps))
    for key, axes in panels.items():
        axes.set_title(titles[key], fontweight="bold")
        axes.set_xlim(0, last_step)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter("{x:,g}")
        if len(curves) == 1 and curves[0].best:
            axes.axvline(curves[0].best[0], color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    places[-1].set_xlabel("step")
    return figure


def _draw_line(
    axes: "Axes", points: Sequence[Point], label: str, colour: str, style: str, dots: str
) -> "Line2D":
    """Draw a line, with dots filled with the colour `dots` if it has few points."""
    steps, values = zip(*thinned(points, MOST_POINTS), strict=True)
    look: dict[str, Any] = {"color": colour, "clip_on": False}
    few = len(steps) <= MOST_DOTS
    marked: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markerfacecolor": dots} if few else {}
    (line,) = axes.plot(steps, values, style, linewidth=1.8, label=drawable(label), **look, **marked)
    if few:
        for step, value in zip(steps, values, strict=True):
            (dot,) = axes.plot(step, value, **look, **marked)
            add_note(dot, f"{label}, step {step:,}: {value:.3g}")
    return line


@chart_style()
def draw_histogram(edges: Sequence[float], counts: Sequence[int], unit: str, median: float) -> "Figure":
    """Draw how many clips are between each two neighbouring edges.

    Args:
        edges: Edges of the bins, one more than there are counts.
        counts: Number of clips in each bin. There is at least one clip.
        unit: Unit of the edges.
        median: Position of a dashed line.
    """
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = new_panels(165, ratios=[1.0])
    widths = [high - low for low, high in pairwise(edges)]
    bars = axes.bar(edges[:-1], counts, [0.94 * w for w in widths], align="edge", color=colour_of(1))
    for bar, (low, high), count in zip(bars, pairwise(edges), counts, strict=True):
        add_note(bar, f"{low:g} to {high:g} {unit}: {count:,}")
    axes.axvline(median, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(unit)
    axes.set_ylabel("clips")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y")
    return figure

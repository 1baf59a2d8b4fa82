"""A picture of before and after."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.evaluation.comparison import find_baseline
from utils.evaluation.records import EvaluationResult
from utils.report.labels import TEXT_LABELS, in_percent, shorten
from utils.report.plotting import BAR_COLOURS, LEGEND, calm, drawable, whiskers
from utils.report.series import split_by_dataset
from utils.scoring.error_rates import TEXT_FORMS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_before_after(results: Sequence[EvaluationResult]) -> "Figure":
    """Draw bars of error rates, a panel for each dataset and context, the first model as the baseline.

    Where the baseline was not decoded in a panel's context, its hatched bars show the full context, which is
    what the comparison uses there.
    """
    from matplotlib.figure import Figure

    datasets = split_by_dataset(results)
    contexts = [name for name in ("full", "dynamic") if any(r.audio_context == name for r in results)]
    width = 2.0 + len(contexts) * (2.2 + 1.0 * len({r.model for r in results}))
    figure = Figure(figsize=(max(width, 6.5), 4.9 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(contexts), squeeze=False, sharey="row")
    for axes_in_row, rows in zip(panels, datasets, strict=True):
        axes_in_row[0].set_ylabel(f"{rows[0].measure.upper()} in percent")
        where = f"{_where(rows[0])}\n" if len(datasets) > 1 else ""
        for axes, context in zip(axes_in_row, contexts, strict=True):
            _draw_panel(axes, _rows_of_panel(rows, context))
            axes.set_title(f"{where}{context} audio context", fontsize=10)
    on_one = "" if len(datasets) > 1 else f" on {_where(results[0])}"
    clips = "" if len(datasets) > 1 else f", {results[0].num_utterances} clips"
    figure.suptitle(
        f"Error rate before and after{on_one}\nlower is better; whiskers are 95 % intervals{clips}",
        fontsize=12,
    )
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), **LEGEND)
    return figure


def _where(result: EvaluationResult) -> str:
    return f"{drawable(shorten(result.dataset))} ({result.split})"


def _rows_of_panel(results: Sequence[EvaluationResult], context: str) -> list[tuple[int, EvaluationResult]]:
    """(model number, row) of every bar in a panel, with a stand-in for a baseline without this context."""
    models = list(dict.fromkeys(r.model for r in results))
    by_key = {(r.model, r.dataset, r.audio_context): r for r in results}
    rows = [(models.index(r.model), r) for r in results if r.audio_context == context]
    if rows and rows[0][0] != 0:
        stand_in = find_baseline(by_key, models[0], rows[0][1])
        return [(0, stand_in), *rows] if stand_in else rows
    return rows


def _draw_panel(axes: "Axes", rows: list[tuple[int, EvaluationResult]]) -> None:
    if not rows:  # a dataset that was not decoded in this context
        axes.set_visible(False)
        return
    width = 0.8 / len(rows)
    contexts = {result.audio_context for _, result in rows}
    for place, (number, result) in enumerate(rows):
        stands_in = len(contexts) > 1 and number == 0
        scores = [getattr(result, text) for text in TEXT_FORMS]
        rates = [result.rate(score) for score in scores]
        xs = [group + (place - (len(rows) - 1) / 2) * width for group in range(len(TEXT_FORMS))]
        bars = axes.bar(
            xs,
            [100 * rate for rate in rates],
            width=0.92 * width,
            yerr=whiskers(rates, scores),
            capsize=3,
            color=BAR_COLOURS[number % len(BAR_COLOURS)],
            hatch="//" if stands_in else None,
            edgecolor="white",
            ecolor="#333333",
            error_kw={"linewidth": 1},
            label=drawable(shorten(result.model)) + (" (full context)" if stands_in else ""),
        )
        axes.bar_label(bars, labels=[in_percent(rate) for rate in rates], padding=3, fontsize=9)
    axes.set_xticks(range(len(TEXT_FORMS)), [f"{TEXT_LABELS[text]} text" for text in TEXT_FORMS])
    calm(axes, "y")
    axes.margins(y=0.12)  # before the limit below, which ends automatic scaling
    axes.set_ylim(bottom=0)

"""A picture of before and after."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.evaluation.comparison import find_baseline
from utils.evaluation.records import TEXT_FORMS, EvaluationResult, TextScore
from utils.report.terminal import TEXT_LABELS
from utils.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# grey for the baseline, then the colours of Okabe and Ito, told apart in every form of colour blindness
BAR_COLOURS = ("#8c8c8c", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")


def draw_before_after(path: Path, results: Sequence[EvaluationResult]) -> None:
    """Draw bars of error rates, a panel for each dataset and context, the first model as the baseline.

    Where the baseline was not decoded in a panel's context, its hatched bars show the full context, which is
    what the comparison uses there.
    """
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys((r.dataset, r.split) for r in results))
    contexts = [name for name in ("full", "dynamic") if any(r.audio_context == name for r in results)]
    width = 2.0 + len(contexts) * (2.2 + 1.0 * len({r.model for r in results}))
    figure = Figure(figsize=(max(width, 6.5), 4.9 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), len(contexts), squeeze=False, sharey="row")
    for row, (dataset, split) in enumerate(datasets):
        for column, context in enumerate(contexts):
            here = [r for r in results if (r.dataset, r.split) == (dataset, split)]
            axes = panels[row][column]
            if column == 0:
                axes.set_ylabel(f"{here[0].measure.upper()} in percent")
            _draw_panel(axes, _rows_of_panel(here, context))
            title = f"{context} audio context"
            axes.set_title(
                title if len(datasets) == 1 else f"{_shorten(dataset)} ({split})\n{title}", fontsize=10
            )
    _add_titles(figure, results, datasets)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    write_bytes(path, image.getvalue())


def _add_titles(figure, results: Sequence[EvaluationResult], datasets: list[tuple[str, str]]) -> None:
    where = f" on {_shorten(datasets[0][0])} ({datasets[0][1]})" if len(datasets) == 1 else ""
    clips = f", {results[0].num_utterances} clips" if len(datasets) == 1 else ""
    figure.suptitle(
        f"Error rate before and after{where}\nlower is better; whiskers are 95 % intervals{clips}",
        fontsize=12,
    )
    entries: dict[str, object] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=1, frameon=False, fontsize=9
    )


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
    width = 0.8 / max(len(rows), 1)
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
            yerr=_error_bars(rates, scores),
            capsize=3,
            color=BAR_COLOURS[number % len(BAR_COLOURS)],
            hatch="//" if stands_in else None,
            edgecolor="white",
            ecolor="#333333",
            error_kw={"linewidth": 1},
            label=_shorten(result.model) + (" (full context)" if stands_in else ""),
        )
        axes.bar_label(bars, labels=[f"{100 * rate:.1f}" for rate in rates], padding=3, fontsize=9)
    axes.set_xticks(range(len(TEXT_FORMS)), [TEXT_LABELS[text] + " text" for text in TEXT_FORMS])
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.grid(True, color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.margins(y=0.12)  # before the limit below, which ends automatic scaling
    axes.set_ylim(bottom=0)


def _error_bars(rates: Sequence[float], scores: Sequence[TextScore]) -> list[list[float]]:
    """How far the interval reaches below and above each bar, in percent."""
    pairs = list(zip(rates, scores, strict=True))
    below = [100 * max(rate - score.ci95[0], 0.0) for rate, score in pairs]
    above = [100 * max(score.ci95[1] - rate, 0.0) for rate, score in pairs]
    return [below, above]


def _shorten(name: str, length: int = 60) -> str:
    """The end of a long path, which tells models and datasets apart; `$` would begin a formula."""
    shown = name if len(name) <= length else "…" + name[1 - length :]
    return shown.replace("$", r"\$")

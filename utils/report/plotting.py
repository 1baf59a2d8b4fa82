"""What the plots of an evaluation share: colours, whiskers, text that can be drawn, saving as PNG."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from utils.evaluation.records import TextScore
from utils.report.page import without_controls
from utils.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# grey for the baseline, then the colours of Okabe and Ito, told apart in every form of colour blindness
BAR_COLOURS = ("#8c8c8c", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")

DOTS_PER_INCH = 150

LEGEND: Mapping[str, Any] = {"loc": "outside lower center", "ncols": 1, "frameon": False, "fontsize": 9}


def whiskers(rates: Sequence[float], scores: Sequence[TextScore]) -> list[list[float]]:
    """How far the interval reaches below and above each bar, in percent."""
    pairs = list(zip(rates, scores, strict=True))
    below = [100 * max(rate - score.ci95[0], 0.0) for rate, score in pairs]
    above = [100 * max(score.ci95[1] - rate, 0.0) for rate, score in pairs]
    return [below, above]


def drawable(text: str) -> str:
    """Text that is no formula, and has no line ends."""
    return without_controls(" ".join(text.split())).replace("$", r"\$")


def calm(axes: "Axes", direction: Literal["x", "y"]) -> None:
    """Two spines, and faint lines behind the bars across one direction."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=direction, color="#e5e5e5")
    axes.set_axisbelow(True)


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG, whole or not at all."""
    image = io.BytesIO()
    with warnings.catch_warnings():
        # the font at hand may lack a script: boxes stand for its letters, and the CSV has them
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(image, format="png", dpi=DOTS_PER_INCH)
    write_bytes(path, image.getvalue())

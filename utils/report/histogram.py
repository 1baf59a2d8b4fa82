"""A histogram as inline SVG."""

from collections.abc import Sequence

from utils.report.axis import Axis, chart_of
from utils.report.page import Html, tag


def histogram_chart(
    name: str,
    edges: Sequence[float],
    counts: Sequence[int],
    *,
    title: str,
    description: str,
    unit: str,
    mark: float | None = None,
) -> Html:
    """Bars between edges as SVG.

    Args:
        name: Unique on the page, for the labels.
        edges: One more than counts.
        counts: At least one.
        title: Read to those who do not see it.
        description: The same, what it shows in a sentence.
        unit: Written below the axis.
        mark: Value at which a line is drawn.
    """
    axis = Axis(edges[-1], max(*counts, 1), edges[0], most_levels=4, least_step=1)
    parts = axis.levels()
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        left, right, top = axis.x(low), axis.x(high), axis.y(count)
        shape = {"x": round(left + 0.5, 2), "width": round(max(right - left - 1, 1), 2)}
        shape |= {"y": top, "height": round(axis.y(0) - top, 2)}
        words = tag("title", f"{low:g} to {high:g} {unit}: {count:,}")
        parts.append(tag("rect", words, class_="bar", **shape))
    parts += axis.ticks(unit)
    if mark is not None:
        parts.append(axis.mark(mark))
    return chart_of(name, parts, title, description)

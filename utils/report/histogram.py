"""A histogram as inline SVG."""

import math
from collections.abc import Sequence

from utils.report.page import BOTTOM, CHART_HEIGHT, CHART_WIDTH, LEFT, RIGHT, TOP, Html, tag


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
    parts = [tag("title", title, id=f"{name}-title"), tag("desc", description, id=f"{name}-desc")]
    step = max(1, round(nice_step(max(*counts, 1), most=4)))
    top = step * math.ceil(max(*counts, 1) / step)
    for tick in range(0, top + 1, step):
        y = _y(tick / top)
        parts.append(tag("line", class_="grid", x1=LEFT, x2=CHART_WIDTH - RIGHT, y1=y, y2=y))
        parts.append(tag("text", f"{tick:,}", x=LEFT - 8, y=y + 4, text_anchor="end"))
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        left, right = _x(low, edges), _x(high, edges)
        shape = {"x": round(left + 0.5, 2), "width": round(max(right - left - 1, 1), 2)}
        shape |= {"y": _y(count / top), "height": round(_y(0) - _y(count / top), 2)}
        parts.append(
            tag("rect", tag("title", f"{low:g} to {high:g} {unit}: {count:,}"), class_="bar", **shape)
        )
    parts += _x_axis(edges, unit)
    if mark is not None:
        x = _x(min(max(mark, edges[0]), edges[-1]), edges)
        parts.append(tag("line", class_="mark", x1=x, x2=x, y1=TOP, y2=_y(0)))
    labels = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc"}
    labels |= {"class_": "chart", "viewBox": f"0 0 {CHART_WIDTH} {CHART_HEIGHT}"}
    return tag("div", tag("svg", *parts, **labels), class_="scroll")


def _x_axis(edges: Sequence[float], unit: str) -> list[Html]:
    span = edges[-1] - edges[0]
    step = nice_step(span, most=10)
    ticks = [edges[0] + step * number for number in range(int(span / step + 1e-9) + 1)]
    labels = [tag("text", f"{t:g}", x=_x(t, edges), y=_y(0) + 17, text_anchor="middle") for t in ticks]
    middle = (LEFT + CHART_WIDTH - RIGHT) / 2
    return [*labels, tag("text", unit, x=middle, y=CHART_HEIGHT - 6, text_anchor="middle")]


def _x(value: float, edges: Sequence[float]) -> float:
    share = (value - edges[0]) / (edges[-1] - edges[0])
    return round(LEFT + share * (CHART_WIDTH - LEFT - RIGHT), 2)


def _y(share: float) -> float:
    return round(TOP + (1 - share) * (CHART_HEIGHT - TOP - BOTTOM), 2)


def nice_step(span: float, *, most: int) -> float:
    """The smallest of … 0.1, 0.2, 0.5, 1, 2, 5, 10 … that cuts a span into `most` parts or fewer."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most * (1 + 1e-9))

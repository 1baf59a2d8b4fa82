"""Lines over steps as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.report.charts import DASHES, MOST_DOTS, Axis, Colour, chart_of
from utils.report.page import TOP, Html, tag


@dataclass(frozen=True)
class Line:
    """A line of a chart; `dash` counts the pattern in which it is drawn, 0 for none."""

    label: str
    colour: Colour
    points: Sequence[tuple[float, float]]
    dash: int = 0


def line_chart(
    name: str,
    lines: Sequence[Line],
    *,
    title: str,
    description: str,
    unit: str,
    last: float,
    mark: float | None = None,
) -> Html:
    """Lines from 0 on, each point a dot where there are few.

    Args:
        name: Unique on the page, for the labels.
        lines: At least one of them with a point.
        title: Read to those who do not see it.
        description: The same, what it shows in a sentence.
        unit: Of the horizontal axis, written below it.
        last: Where that axis ends.
        mark: Where an upright line is drawn.
    """
    highest = max(y for line in lines for _, y in line.points)
    axis = Axis(0.0, max(last, 1.0), max(highest, 1e-9))
    parts = [*axis.grid(), *axis.steps(unit)]
    if mark is not None:
        parts.append(tag("line", class_="mark", x1=axis.x(mark), x2=axis.x(mark), y1=TOP, y2=axis.y(0)))
    for line in lines:
        drawn = [(axis.x(x), axis.y(y)) for x, y in line.points]
        shape = {"points": " ".join(f"{x},{y}" for x, y in drawn), "class_": f"{line.colour.classes} curve"}
        parts.append(tag("polyline", **shape, stroke_dasharray=DASHES[line.dash % len(DASHES)]))
        if len(drawn) <= MOST_DOTS:
            labels = [f"{line.label}, {unit} {x:g}: {y:.3g}" for x, y in line.points]
            parts += [
                tag("circle", tag("title", label), cx=x, cy=y, r=3.2, class_=line.colour.classes)
                for label, (x, y) in zip(labels, drawn, strict=True)
            ]
    return chart_of(name, parts, title, description)

"""Charts of an evaluation as inline SVG: bars with intervals, grouped columns, lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utils.report.axis import Axis, chart_of
from utils.report.page import Html, isolated, tag

# Grey for the baseline, then the colours of Okabe and Ito, told apart in every form of colour blindness.
NUM_COLOURS = 6

BAR_HEIGHT = 11  # pixels of one bar in a stack, with the gap below it

HIGHEST_RATE = 1.5  # a bar above 150 % is cut: a model that runs away would flatten all the others

MOST_DOTS = 40  # of a line; with more of them it is drawn without

DASHES = ("none", "7 4", "2 4", "10 4 2 4")


@dataclass(frozen=True)
class Measure:
    """A rate and its interval, as fractions."""

    rate: float
    interval: tuple[float, float] | None = None

    @property
    def end(self) -> float:
        """How far bar and whisker reach."""
        return max(self.rate, self.interval[1] if self.interval else 0.0)


@dataclass(frozen=True)
class Colour:
    """How a series is told from the others."""

    number: int
    is_dynamic: bool = False

    @property
    def classes(self) -> str:
        return f"series-{self.number % NUM_COLOURS}" + (" dynamic" if self.is_dynamic else "")


@dataclass(frozen=True)
class Line:
    """A line of a chart; `dash` counts the pattern in which it is drawn, 0 for none."""

    label: str
    colour: Colour
    points: Sequence[tuple[float, float]]
    dash: int = 0


def chart_top(measures: Iterable[Measure]) -> float:
    """The rate at which an axis ends so that bars and intervals fit, 150 % at most."""
    return min(max((measure.end for measure in measures), default=0.0), HIGHEST_RATE) or 1.0


def stacked_bars(measures: Sequence[Measure], colours: Sequence[Colour], top: float) -> Html:
    """Bars one below the other on one scale, with whiskers; for a cell beside the numbers it shows."""
    parts: list[Html] = []
    for place, (measure, colour) in enumerate(zip(measures, colours, strict=True)):
        y, width = place * BAR_HEIGHT, _share(measure.rate, top)
        parts.append(tag("rect", class_="track", width=100, height=BAR_HEIGHT - 2, y=y))
        parts.append(tag("rect", width=width, height=BAR_HEIGHT - 2, y=y, class_=colour.classes))
        if measure.interval:
            low, high = (_share(end, top) for end in measure.interval)
            middle = y + (BAR_HEIGHT - 2) / 2
            path = f"M{low} {middle}H{high}M{low} {middle - 2.5}v5M{high} {middle - 2.5}v5"
            parts.append(tag("path", class_="whisker", d=path, vector_effect="non-scaling-stroke"))
    height = BAR_HEIGHT * len(measures) - 2
    size = {"viewBox": f"0 0 100 {height}", "height": height, "preserveAspectRatio": "none"}
    return tag("svg", *parts, class_="stack", **size, aria_hidden="true")


def _share(rate: float, top: float) -> float:
    return round(100 * min(max(rate / top, 0.0), 1.0), 2)


def swatch(colour: Colour, dash: int | None = None) -> Html:
    """A patch of a series' colour, or a piece of its line where `dash` is given."""
    if dash is None:
        mark = tag("rect", width=24, height=10, rx=2, class_=colour.classes)
    else:
        pattern = {"stroke_dasharray": DASHES[dash % len(DASHES)]}
        mark = tag("line", x1=1, x2=23, y1=5, y2=5, class_=f"{colour.classes} curve", **pattern)
    return tag("svg", mark, class_="swatch", viewBox="0 0 24 10", aria_hidden="true")


def legend(entries: Sequence[tuple[Html, str]]) -> Html:
    """Which patch or line is what."""
    return tag("ul", *[tag("li", patch, isolated(label)) for patch, label in entries], class_="legend")


def column_chart(
    name: str,
    labels: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, Colour, Sequence[Measure]]],
    *,
    title: str,
    description: str,
) -> Html:
    """Columns side by side in groups, with whiskers.

    Args:
        name: Unique on the page, for the labels.
        labels: Of the groups, two lines each.
        columns: Label, colour and one rate for each group of every series.
        title: Read to those who do not see it.
        description: The same, what it shows in a sentence.
    """
    axis = Axis(max(1.0, len(labels)), 100 * chart_top(m for *_, ms in columns for m in ms))
    parts = axis.levels()
    width = 0.8 / max(len(columns), 1)
    for group, (label, size) in enumerate(labels):
        for text, below in ((label, 17), (size, 33)):
            parts.append(tag("text", text, x=axis.x(group + 0.5), y=axis.y(0) + below, text_anchor="middle"))
        for place, (series, colour, measures) in enumerate(columns):
            left = group + 0.1 + place * width
            parts += _column(axis, left, 0.9 * width, measures[group], colour, f"{series}, {label}")
    return chart_of(name, parts, title, description)


def _column(
    axis: Axis, left: float, width: float, measure: Measure, colour: Colour, label: str
) -> list[Html]:
    top, x = axis.y(100 * measure.rate), axis.x(left)
    size = {"x": x, "width": round(axis.x(left + width) - x, 2), "y": top}
    words = tag("title", f"{label}: {100 * measure.rate:.1f} %")
    parts = [tag("rect", words, class_=colour.classes, **size, height=round(axis.y(0) - top, 2))]
    if measure.interval:
        low, high = (axis.y(100 * end) for end in measure.interval)
        middle = round(axis.x(left + width / 2), 2)
        path = f"M{middle} {low}V{high}M{middle - 3} {low}h6M{middle - 3} {high}h6"
        parts.append(tag("path", class_="whisker", d=path))
    return parts


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
    axis = Axis(max(last, 1.0), max(highest, 1e-9))
    parts = [*axis.levels(), *axis.ticks(unit)]
    if mark is not None:
        parts.append(axis.mark(mark))
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

"""What the charts of a page share: their size, from values to places, level lines and ticks as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from utils.report.page import Html, tag

CHART_WIDTH, CHART_HEIGHT = 720, 220

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 42  # room around the bars


@dataclass(frozen=True)
class Axis:
    """From values to places in the picture; the values begin at `first` across, at 0 upwards."""

    last: float
    highest: float
    first: float = 0.0
    most_levels: int = 5
    least_step: float = 0.0  # between two levels

    @property
    def step(self) -> float:
        return max(nice_step(self.highest, most=self.most_levels), self.least_step)

    @property
    def top(self) -> float:
        return self.step * math.ceil(self.highest / self.step - 1e-9)

    def x(self, value: float) -> float:
        share = (value - self.first) / (self.last - self.first)
        return round(LEFT + share * (CHART_WIDTH - LEFT - RIGHT), 2)

    def y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return round(TOP + (1 - share) * (CHART_HEIGHT - TOP - BOTTOM), 2)

    def levels(self) -> list[Html]:
        """Level lines with their values at the left."""
        parts = []
        for number in range(round(self.top / self.step) + 1):
            y = self.y(number * self.step)
            parts.append(tag("line", class_="grid", x1=LEFT, x2=CHART_WIDTH - RIGHT, y1=y, y2=y))
            parts.append(tag("text", f"{number * self.step:,.10g}", x=LEFT - 8, y=y + 4, text_anchor="end"))
        return parts

    def ticks(self, unit: str) -> list[Html]:
        """Values of the horizontal axis with its unit."""
        span = self.last - self.first
        step = nice_step(span, most=10)
        ticks = [self.first + step * number for number in range(int(span / step + 1e-9) + 1)]
        below = self.y(0) + 17
        parts = [tag("text", f"{tick:g}", x=self.x(tick), y=below, text_anchor="middle") for tick in ticks]
        middle = (LEFT + CHART_WIDTH - RIGHT) / 2
        return [*parts, tag("text", unit, x=middle, y=CHART_HEIGHT - 6, text_anchor="middle")]

    def mark(self, value: float) -> Html:
        """An upright line at a value."""
        x = self.x(min(max(value, self.first), self.last))
        return tag("line", class_="mark", x1=x, x2=x, y1=TOP, y2=self.y(0))


def nice_step(span: float, *, most: int) -> float:
    """The smallest of … 0.1, 0.2, 0.5, 1, 2, 5, 10 … that cuts a span into `most` parts or fewer."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= most * (1 + 1e-9))


def chart_of(name: str, parts: Sequence[Html], title: str, description: str) -> Html:
    """The parts as a picture whose title and description are read to those who do not see it."""
    words = [tag("title", title, id=f"{name}-title"), tag("desc", description, id=f"{name}-desc")]
    labels = {"role": "img", "aria_labelledby": f"{name}-title {name}-desc"}
    labels |= {"class_": "chart", "viewBox": f"0 0 {CHART_WIDTH} {CHART_HEIGHT}"}
    return tag("div", tag("svg", *words, *parts, **labels), class_="scroll")

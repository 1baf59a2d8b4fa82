"""Bars and lines stand where arithmetic by hand puts them."""

import re

import pytest

from tests.support.pages import Page
from utils.report.axis import BOTTOM, CHART_HEIGHT, CHART_WIDTH, LEFT, RIGHT, TOP
from utils.report.charts import Colour, Line, Measure, chart_top, column_chart, line_chart, stacked_bars

HEIGHT = CHART_HEIGHT - TOP - BOTTOM
WIDTH = CHART_WIDTH - LEFT - RIGHT


def test_an_axis_ends_where_the_longest_interval_does():
    assert chart_top([Measure(0.2, (0.1, 0.34)), Measure(0.3)]) == 0.34
    assert chart_top([Measure(9.6, (8.0, 11.0)), Measure(0.1)]) == 1.5
    assert chart_top([Measure(0.0)]) == chart_top([]) == 1.0


def test_stacked_bars_share_a_scale():
    page = Page(stacked_bars([Measure(0.1, (0.05, 0.2)), Measure(0.9)], [Colour(0), Colour(7)], 0.4))
    bars = [r for r in page.find("rect") if r["class"] != "track"]
    assert [(bar["class"], bar["width"], bar["y"]) for bar in bars] == [
        ("series-0", "25.0", "0"),
        ("series-1", "100.0", "11"),  # the seventh colour is the second again; the bar is cut at the end
    ]
    assert len(page.find("rect")) == 2 + 2
    (whisker,) = page.find("path")
    assert re.match(r"M12\.5 [\d.]+H50\.0M", whisker["d"])


def test_columns_and_whiskers_have_their_heights():
    columns = [
        ("a", Colour(0), [Measure(0.2, (0.1, 0.4)), Measure(0.3)]),
        ("b", Colour(1, True), [Measure(0.4), Measure(0.1)]),
    ]
    page = Page(
        column_chart("x", [("short", "9 clips"), ("long", "1 clip")], columns, title="t", description="d")
    )
    bars = page.find("rect")
    assert [bar["class"] for bar in bars] == ["series-0", "series-1 dynamic"] * 2
    heights = [float(bar["height"]) / HEIGHT for bar in bars]
    assert heights == pytest.approx([0.5, 1.0, 0.75, 0.25], abs=0.001)  # of an axis up to 40 %
    (whisker,) = page.find("path")
    low, high = re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", whisker["d"]).groups()
    assert [float(low), float(high)] == pytest.approx([TOP + 0.75 * HEIGHT, TOP], abs=0.01)
    assert {"short", "9 clips", "long", "1 clip", "a, short: 20.0 %", "40"} <= set(page.texts)
    assert page.find("svg")[0]["aria-labelledby"] == "x-title x-desc"


def test_lines_run_through_their_points():
    line = Line("a", Colour(2), [(0, 4.0), (50, 2.0), (100, 1.0)], dash=1)
    page = Page(line_chart("x", [line], title="t", description="d", unit="step", last=200, mark=50))
    (drawn,) = page.find("polyline")
    points = [tuple(map(float, point.split(","))) for point in drawn["points"].split()]
    expected = [(LEFT, TOP), (LEFT + WIDTH / 4, TOP + HEIGHT / 2), (LEFT + WIDTH / 2, TOP + 0.75 * HEIGHT)]
    assert points == [pytest.approx(place, abs=0.01) for place in expected]
    assert drawn["stroke-dasharray"] != "none" and len(page.find("circle")) == 3
    mark = next(line for line in page.find("line") if line["class"] == "mark")
    assert float(mark["x1"]) == pytest.approx(LEFT + WIDTH / 4, abs=0.01)
    assert "a, step 50: 2" in page.texts and "200" in page.texts


def test_a_long_line_has_no_dots():
    line = Line("a", Colour(0), [(step, 1.0) for step in range(100)])
    page = Page(line_chart("x", [line], title="t", description="d", unit="step", last=0))
    assert not page.find("circle") and page.find("polyline")[0]["stroke-dasharray"] == "none"

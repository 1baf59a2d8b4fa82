"""A figure as PNG and as an element of a page: safe, in the page's colours, the same every time."""

import re
import unicodedata
import warnings
from pathlib import Path

import pytest
from matplotlib import image

import utils.report.drawing
from tests.support.pages import HOSTILE, RIGHT_TO_LEFT, DrawnChart, Page
from utils.report.charts import draw_histogram
from utils.report.drawing import (
    INK,
    PROPERTIES,
    add_legend,
    add_note,
    chart_style,
    drawable,
    inline_svg,
    new_panels,
    save_png,
)

STYLE = (Path(utils.report.drawing.__file__).parent / "templates/page.css").read_text(encoding="utf-8")


@chart_style()
def figure_with(*words: str):
    """Bars that are called so, and a line with dots."""
    figure, (axes,) = new_panels(40.0 * len(words) + 60, ratios=[1.0])
    bars = axes.barh(range(len(words)), range(1, len(words) + 1), color=INK)
    axes.plot([0, 1], [0, 1], marker="o")
    add_legend(figure, bars[:1])
    axes.set_yticks(range(len(words)), [drawable(word) for word in words])
    for bar, word in zip(bars, words, strict=True):
        add_note(bar, word)
    return figure


def test_text_stays_text_and_no_style_is_inline():
    svg = inline_svg(figure_with("napoletano", "$x^$ und $y$"), "a", "Accents", "Rates of two accents.")
    chart = DrawnChart(svg)
    assert {"napoletano", "$x^$ und $y$"} <= set(chart.texts) and set(chart.marks) == {
        "napoletano",
        "$x^$ und $y$",
    }
    assert (chart.title, chart.description) == ("Accents", "Rates of two accents.")
    root = Page(svg).find("svg")[0]
    assert root["role"] == "img" and root["aria-labelledby"] == "a-title a-desc" and root["viewbox"]
    assert "width" not in root and "style" not in "".join(element.tag for element in chart.root.iter())
    assert not [
        key for element in chart.root.iter() for key in element.attrib if key in ("style", "font-family")
    ]


def test_every_colour_is_a_property_of_the_page_in_the_light_and_in_the_dark():
    svg = inline_svg(figure_with("a"), "a", "t", "d")
    assert not re.search(
        "#[0-9a-f]{3,6}\\b|rgb|black|white", re.sub(r"url\(#[^)]*\)|href=\"#[^\"]*\"", "", svg)
    )
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    for colour, name in PROPERTIES.items():
        assert f"{name}: {colour}" in light and f"{name}: #" in dark
    assert set(re.findall(r"var\((--[\w-]+)\)", svg)) <= set(PROPERTIES.values())


def test_colours_stand_out_from_the_card_in_both_schemes():
    """3 to 1 for marks (WCAG 2.2, 1.4.11), 4.5 to 1 for text (1.4.3)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]:
        colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", scheme))
        for name in (*[f"--series-{n}" for n in range(6)], "--ink", "--soft", "--accent"):
            low, high = sorted(luminance(colours[key]) for key in (name, "--card"))
            assert (high + 0.05) / (low + 0.05) >= (3 if "series" in name else 4.5), (name, colours[name])


def test_charts_of_one_page_share_no_identifier_and_all_that_is_named_is_there():
    svgs = [inline_svg(figure_with("a", "b"), name, "t", "d") for name in ("one", "two")]
    found = [re.findall(r' id="([^"]+)"', svg) for svg in svgs]
    assert found[0] and len({*found[0], *found[1]}) == len(found[0]) + len(found[1])
    for svg, ids in zip(svgs, found, strict=True):
        named = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        assert named and {one or other for one, other in named} <= set(ids)


def test_the_same_figure_gives_the_same_bytes():
    first, second = (inline_svg(figure_with("a", "b"), "x", "t", "d") for _ in range(2))
    assert first == second and "202" not in re.sub(r"[\d.]{5,}", "", first)


def test_foreign_text_is_only_text_and_cannot_break_the_picture():
    every = "".join({unicodedata.category(chr(code)): chr(code) for code in range(0x110000)}.values())
    words = (HOSTILE, RIGHT_TO_LEFT, every, "\x1b[2J\n\ufffe\udcff", "note:a", "url(#x)")
    svg = inline_svg(figure_with(*words), "x", HOSTILE, RIGHT_TO_LEFT)
    page = Page(svg)
    assert not page.find("script") and not page.find("img")
    assert not {name for _, attributes in page.elements for name in attributes if name.startswith("on")}
    chart = DrawnChart(svg)
    assert HOSTILE in chart.texts and HOSTILE in chart.marks and chart.title == HOSTILE
    assert "\u202e" not in svg and "\x1b" not in svg and "\ufffd[2J \ufffd\ufffd" in chart.texts


def test_a_picture_under_its_title_is_drawn_of_the_same_figure(tmp_path):
    figure = figure_with("हिन्दी", "方言")
    before = inline_svg(figure, "a", "Accents, $x$", "d")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_png(tmp_path / "new" / "a.png", figure, "Accents, $x$", "Two of them.")
        svg = inline_svg(figure, "a", "Accents, $x$", "d")
        save_png(tmp_path / "b.png", figure, "Accents, $x$", "Two of them.")
    assert svg == before and "Accents, $x$" not in DrawnChart(svg).texts  # a page has it in the caption
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert (tmp_path / "new/a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = image.imread(tmp_path / "b.png")
    assert pixels.shape[1] >= 900 and pixels[..., :3].std() > 0.05 and pixels[0, 0, :3].min() == 1.0


def test_bars_of_a_histogram_stand_between_their_edges():
    svg = inline_svg(draw_histogram([0.0, 0.5, 1.0, 2.0], [4, 2, 1], "seconds", 0.4), "x", "t", "d")
    chart = DrawnChart(svg)
    assert list(chart.marks) == ["0 to 0.5 seconds: 4", "0.5 to 1 seconds: 2", "1 to 2 seconds: 1"]
    boxes = list(chart.marks.values())
    heights = [box.bottom - box.top for box in boxes]
    assert [height / heights[0] for height in heights] == pytest.approx([1, 0.5, 0.25], abs=1e-4)
    unit = (boxes[1].left - boxes[0].left) / 0.5
    assert boxes[2].left - boxes[1].left == pytest.approx(0.5 * unit, abs=1e-3)
    assert boxes[2].right - boxes[2].left == pytest.approx(0.94 * unit, rel=0.01)
    assert {"seconds", "clips", "0", "4"} <= set(chart.texts)

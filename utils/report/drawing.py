"""Functions for all charts.

A chart is a figure of matplotlib. It is saved as PNG, or put into a page in the page's colours.
"""

import contextlib
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from utils.report.labels import without_controls
from utils.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Grey for the baseline, then colours after Okabe and Ito, distinct in every form of colour blindness and
# dark enough on white.
SERIES_COLOURS = ("#7d7d7d", "#0072b2", "#c47d00", "#008a64", "#b8558b", "#c95500")
INK, SOFT, GRID, CARD = "#1c1e21", "#5c626b", "#dfdfd9", "#ffffff"

# In a page every colour is a property of its style sheet, so that it has another in the dark.
PROPERTIES: Mapping[str, str] = {
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES_COLOURS)},
    **{INK: "--ink", SOFT: "--soft", GRID: "--line", CARD: "--card"},
}

WIDTH = 440  # points, the units of an SVG

DOTS_PER_INCH, EXTRA_HEIGHT = 180, 0.5  # inches for the words of a PNG

STYLE: dict[Any, Any] = {
    **{"font.size": 9, "text.color": INK, "text.parse_math": False, "axes.unicode_minus": False},
    **{"axes.titlesize": 9, "axes.titlelocation": "left"},
    **{"axes.edgecolor": GRID, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False},
    **{"axes.prop_cycle": f"cycler(color=['{INK}'])", "patch.facecolor": INK},
    **{"axes.axisbelow": True, "grid.color": GRID, "legend.frameon": False},
    **{"xtick.major.size": 0, "ytick.major.size": 0, "figure.facecolor": "none", "axes.facecolor": "none"},
    **{"svg.fonttype": "none", "svg.hashsalt": "the same bytes for the same figure"},
}

# Besides control characters: those that change the direction of a line or that XML forbids.
_UNDRAWABLE = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_XLINK = "{http://www.w3.org/1999/xlink}href"

_NOTE = "note:"  # start of the identifier of an artist with a tooltip


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Import matplotlib and set the style. Figures must be drawn and saved inside the block."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # if the font lacks a script, a PNG shows boxes for its letters; the CSV has them
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def colour_of(number: int) -> str:
    """Return the colour of a model by its number. Model 7 has the colour of model 1."""
    return SERIES_COLOURS[number % len(SERIES_COLOURS)]


def drawable(text: str) -> str:
    """Return the text as one line that is valid in SVG.

    It does not change the writing direction of text beside it.
    """
    return _UNDRAWABLE.sub("\ufffd", without_controls(" ".join(text.split())))


def new_panels(height: float, *, ratios: list[float]) -> "tuple[Figure, list[Axes]]":
    """Create a figure with panels below each other.

    Args:
        height: Height of the figure, in points.
        ratios: Heights of the panels, relative to each other.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.04)  # inches
    axes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)
    return figure, list(axes[:, 0])


def add_note(artist: object, text: str) -> None:
    """Add a tooltip to a bar or a dot."""
    artist.set_gid(_NOTE + drawable(text))  # type: ignore[attr-defined]


def add_legend(figure: "Figure", handles: "Sequence[Artist]") -> None:
    """Add a legend above all panels."""
    figure.legend(handles=handles, loc="outside upper left", alignment="left", borderpad=0, handlelength=1.8)


@dataclass(frozen=True)
class Chart:
    """A figure with a title and a description, for a page or a file."""

    name: str  # of the file, and unique on the page
    title: str
    words: str  # what it shows in a sentence
    figure: "Figure"

    @property
    def svg(self) -> str:
        """Return the chart as an SVG element."""
        return inline_svg(self.figure, self.name, self.title, self.words)


@chart_style()
def save_png(path: Path, figure: "Figure", title: str, words: str) -> None:
    """Write a figure as PNG, completely or not at all.

    The title is above it, and a sentence below says what it shows. The figure must have a legend, which is
    below the title. On a page, title and sentence are in the caption instead.
    """
    from matplotlib.font_manager import FontProperties

    image = io.BytesIO()
    (legend,) = figure.legends
    height = figure.get_figheight()
    figure.set_figheight(height + EXTRA_HEIGHT)
    legend.set_title(drawable(title), prop=FontProperties(size=11, weight="bold"))
    below = textwrap.fill(drawable(words), WIDTH // 5)
    figure.supxlabel(below, x=0.01, ha="left", fontsize=8, color=SOFT)
    figure.savefig(image, format="png", dpi=DOTS_PER_INCH, facecolor=CARD)
    figure.set_figheight(height)
    legend.set_title("")
    figure.supxlabel("")
    write_bytes(path, image.getvalue())


@chart_style()
def inline_svg(figure: "Figure", name: str, title: str, description: str) -> str:
    """Return a figure as an element of a page.

    It has no style attributes, because the page's policy forbids them.

    Args:
        figure: The figure. Its text stays text, and its colours become properties of the page's style sheet.
        name: Name that is unique on the page. The identifiers in the element contain it.
        title: Title. Screen readers read it aloud.
        description: A sentence that says what the figure shows. Screen readers read it too.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg")
    root = ElementTree.fromstring(written.getvalue())
    labels = {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    chart = ElementTree.Element("svg", {"class": "chart", "viewBox": root.get("viewBox", ""), **labels})
    for key, words in (("title", title), ("desc", description)):
        ElementTree.SubElement(chart, key, id=f"{name}-{key}").text = drawable(words)
    used = set(re.findall(r"#(\w+)[\")]", written.getvalue()))
    for part in root:
        if not part.tag.endswith("metadata") and part.find("{*}style") is None:
            for element in part.iter():
                _fit_into_page(element, name, used)
            chart.append(part)
    return ElementTree.tostring(chart, encoding="unicode")


def _fit_into_page(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Give an element the page's colours and font, and identifiers that are unique on the page."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.text and not element.text.strip():
        element.text = None
    attributes = dict(element.attrib)
    element.attrib.clear()
    styles = (part.split(":", 1) for part in attributes.pop("style", "").split(";") if part)
    attributes |= {key.strip(): value.strip() for key, value in styles}
    for key, value in attributes.items():
        if key == "id" and value.startswith(_NOTE):
            note = ElementTree.Element("title")
            note.text = value.removeprefix(_NOTE)
            element.insert(0, note)
        elif key == "id" and value in used:
            element.set("id", f"{name}-{value}")
        elif key == _XLINK:
            element.set("href", f"#{name}-{value[1:]}")
        elif key == "d":
            element.set("d", " ".join(value.split()))
        elif key not in ("id", "font-family") and not value.startswith("rotate(-0 "):
            value = value.replace("url(#", f"url(#{name}-")
            element.set(key, re.sub("#[0-9a-f]{6}", lambda colour: f"var({PROPERTIES[colour[0]]})", value))

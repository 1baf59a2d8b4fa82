"""One HTML file that stands alone: nothing is loaded, no script runs, and foreign text is only ever text."""

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path

from utils.runtime.files import write_bytes

# Colours of Okabe and Ito, told apart in every form of colour blindness: #0072b2 and #56b4e9, #e69f00.
STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #1c1e21; --soft: #5c626b; --line: #dfdfd9;
  --accent: #0072b2; --faint: #e3eef5; --warning: #fff3dc; --warning-line: #e69f00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131517; --card: #1c1f23; --ink: #e7e8e6; --soft: #a2a9b2; --line: #343a41;
    --accent: #56b4e9; --faint: #22384a; --warning: #352a12; --warning-line: #e69f00;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.1rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 0 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: 0 0 .75rem; max-width: 46rem; }
a { color: var(--accent); }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 1rem 0 1.5rem; font-size: .9rem; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.4rem 1.5rem;
  margin: 0 0 1.25rem;
}
section > :last-child { margin-bottom: 0; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem;
  margin: 0 0 1.25rem; padding: 0;
}
.tiles div {
  background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .8rem 1rem;
}
.tiles dt { color: var(--soft); font-size: .82rem; }
.tiles dd { margin: 0; font-size: 1.55rem; font-weight: 650; line-height: 1.3; }
.warning {
  background: var(--warning); border-left: .3rem solid var(--warning-line); border-radius: .3rem;
  padding: .7rem 1rem;
}
pre {
  background: var(--faint); border-radius: .4rem; padding: .8rem 1rem; margin: 0 0 .75rem;
  white-space: pre-wrap; font-size: .85rem;
}
.scroll { overflow-x: auto; margin: 0 0 .75rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: start; padding: 0 0 .4rem; }
th, td {
  text-align: start; vertical-align: top; padding: .38rem .8rem .38rem 0;
  border-bottom: 1px solid var(--line);
}
thead th { font-weight: 600; color: var(--soft); white-space: nowrap; overflow-wrap: normal; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: end; white-space: nowrap; padding-inline-end: 1.2rem; }
td.wide { width: 26%; }
figure { margin: 0 0 1.5rem; }
figcaption { margin: 0 0 .3rem; }
figcaption strong { display: block; color: var(--ink); font-size: 1rem; }
svg.chart { display: block; width: 100%; min-width: 30rem; height: auto; }
svg.chart text { fill: var(--soft); font-size: 12px; font-family: inherit; }
svg .bar { fill: var(--accent); }
svg .track { fill: var(--faint); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .mark { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 5 3; }
svg.meter {
  display: block; width: 100%; min-width: 5rem; height: .8rem; margin-top: .35rem; border-radius: .2rem;
}
details { margin: 0 0 .75rem; }
summary { cursor: pointer; }
.numbers > summary { color: var(--soft); font-size: .9rem; }
.reason { border-top: 1px solid var(--line); padding-top: .75rem; }
.reason > summary { font-weight: 600; margin-bottom: .4rem; }
.examples {
  list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr));
}
.examples li { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .85rem; min-width: 0; }
.examples p { margin: 0 0 .35rem; }
.examples .title, .examples .detail { color: var(--soft); font-size: .82rem; }
.examples audio { width: 100%; height: 2.3rem; display: block; }
.characters { list-style: none; display: flex; flex-wrap: wrap; gap: .35rem; margin: 0 0 .75rem; padding: 0; }
.characters li {
  border: 1px solid var(--line); border-radius: .35rem; padding: .1rem .5rem; font-size: .85rem;
}
.characters b { font-size: 1.05rem; margin-inline-end: .45rem; }
.characters span { color: var(--soft); font-variant-numeric: tabular-nums; }
.characters .rare { background: var(--warning); border-color: var(--warning-line); }
footer { color: var(--soft); font-size: .85rem; margin-top: 1.5rem; }
@media print {
  :root {
    --page: #ffffff; --card: #ffffff; --ink: #000000; --soft: #444444; --line: #cccccc;
    --accent: #0072b2; --faint: #eeeeee; --warning: #ffffff;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, audio { display: none !important; }
  section, .tiles div { border-color: #cccccc; }
  figure, .examples li, tr { break-inside: avoid; }
  svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

CHART_WIDTH, CHART_HEIGHT = 720, 220

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 42  # room around the bars

# Control characters have no meaning in a text, and could steer a terminal or break a page.
_CONTROLS = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\ufffd")


class Html(str):
    """Markup, written as it is; every other string is escaped."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Html:
    """An element with its children; `class_` is written as class, and `aria_label` as aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Sequence[str]) -> Html:
    """Parts one after the other, each escaped unless it is markup."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def escape(text: str) -> str:
    """Text that is shown as it is, wherever it stands."""
    return html.escape(without_controls(text), quote=True)


def without_controls(text: str) -> str:
    """The text with a sign in place of each control character other than line ends and tabs."""
    return text.translate(_CONTROLS)


def isolated(text: str) -> Html:
    """Foreign text within a line, whose direction of writing does not touch what stands around it."""
    return tag("bdi", text)


def write_page(path: Path, title: str, body: Html, more_style: str = "") -> None:
    """Write one HTML file, whole or not at all. Its policy forbids scripts and every request.

    Args:
        path: Of the page.
        title: Of the browser's window.
        body: What is shown.
        more_style: Rules that follow those of every page.
    """
    style = STYLE + more_style
    style_digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{style_digest}'; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    # a file name of bytes that are no UTF-8 must not end the run
    write_bytes(path, page.encode("utf-8", errors="replace"))


def table(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = ()
) -> Html:
    """A table whose first column names the rows; columns of numbers stand at the right edge.

    Args:
        caption: Says what it shows.
        headings: One for each column.
        rows: Cells, of which those that are `meter`s make a wide column.
        numeric: Columns of numbers, counted from 0.
    """
    head = [_cell("th", text, place in numeric, scope="col") for place, text in enumerate(headings)]
    body = [
        tag(
            "tr",
            _cell("th", row[0], 0 in numeric, scope="row"),
            *[_cell("td", text, place in numeric) for place, text in enumerate(row[1:], start=1)],
        )
        for row in rows
    ]
    content = (tag("caption", caption), tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", tag("table", *content), class_="scroll", tabindex="0")


def _cell(name: str, text: str, is_number: bool, **attributes: object) -> Html:
    if is_number:
        attributes["class_"] = "number"
    elif text.startswith("<svg"):
        attributes["class_"] = "wide"
    return tag(name, text, **attributes)


def meter(share: float) -> Html:
    """A bar filled to a share from 0 to 1, for a cell beside the number it shows."""
    filled = tag("rect", class_="bar", width=f"{100 * min(max(share, 0.0), 1.0):.2f}", height=10)
    track = tag("rect", class_="track", width=100, height=10)
    attributes = {"class_": "meter", "viewBox": "0 0 100 10", "preserveAspectRatio": "none"}
    return tag("svg", track, filled, **attributes, aria_hidden="true")

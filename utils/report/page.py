"""One HTML file that stands alone: nothing is loaded, no script runs, and foreign text is only ever text."""

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path

from utils.runtime.files import write_bytes

PAGE_STYLE = "page.css"

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


def write_page(path: Path, title: str, body: Html, *more_styles: str) -> None:
    """Write one HTML file, whole or not at all. Its policy forbids scripts and every request.

    Args:
        path: Of the page.
        title: Of the browser's window.
        body: What is shown.
        more_styles: Style sheets beside this module, whose rules follow those of every page.
    """
    sheets = [Path(__file__).with_name(name) for name in (PAGE_STYLE, *more_styles)]
    style = "\n" + "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
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


def write_report_page(
    path: Path,
    kind: str,
    name: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[tuple[str, str, Html]],
    footer: Html,
    *more_styles: str,
) -> None:
    """Write a page of a heading, the few figures to remember, links, sections and a footer.

    Args:
        path: Of the page.
        kind: What it is a report of.
        name: Of what was reported on.
        figures: Labels and what stands below them.
        sections: Identifier, title and content; those without content are left out.
        footer: What stands at the end.
        more_styles: As in `write_page`.
    """
    shown = [(key, title, content) for key, title, content in sections if content]
    links = [tag("a", title, href=f"#{key}") for key, title, _ in shown]
    tiles = [tag("div", tag("dt", label), tag("dd", value)) for label, value in figures]
    parts = [
        tag("h1", f"{kind}: ", isolated(name)),
        tag("dl", *tiles, class_="tiles"),
        tag("nav", *links, aria_label="Sections"),
    ]
    for key, title, content in shown:
        heading = tag("h2", title, id=f"{key}-heading")
        parts.append(tag("section", heading, content, id=key, aria_labelledby=f"{key}-heading"))
    body = tag("main", *parts, tag("footer", footer))
    write_page(path, f"{kind}: {name}", body, *more_styles)


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

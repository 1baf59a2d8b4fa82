"""What holds for every page: text is escaped, a name that is not there is an error, files are whole."""

import ast
import re
from pathlib import Path

import jinja2
import pytest

import utils.report.page
from tests.support.pages import HOSTILE, Page
from utils.report.page import TEMPLATES, make_environment, write_page

UTILS = Path(utils.report.page.__file__).parent.parent
CONTEXT = {"kind": "Report", "tiles": [("label", "1 < 2")], "footer": "the end"}


def build(path: Path, **changes) -> Page:
    values = CONTEXT | {"name": "it", "sections": [("a", "First", "text"), ("b", "Second", " \n ")]} | changes
    write_page(path, "base.html", values)
    return Page(path.read_text(encoding="utf-8"))


def test_a_section_without_content_and_its_link_are_left_out(tmp_path):
    page = build(tmp_path / "new" / "page.html")
    assert page.cells == "Report: it|Report:|it|label|1 < 2|First|First|text|the end"
    assert [a["href"] for a in page.find("a")] == ["#a"]
    assert [a["id"] for a in page.find("section")] == ["a"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_text_is_escaped_and_loses_its_control_characters(tmp_path):
    page = build(tmp_path / "page.html", name=f"{HOSTILE}\x1b[2J\x00\x9b", sections=[("a", HOSTILE, HOSTILE)])
    assert not page.find("script") and not page.find("img")
    assert "".join(page.texts).count(HOSTILE) == 2 + 3  # title and heading; link, heading and content
    assert "\ufffd[2J\ufffd\ufffd" in page.source and "\x1b" not in page.source


def test_a_name_of_bytes_that_are_no_text_does_not_end_the_run(tmp_path):
    assert "mezza?" in build(tmp_path / "page.html", name="mezza\udcff").cells


def test_a_name_that_is_not_there_is_an_error_and_leaves_the_old_page(tmp_path):
    build(tmp_path / "page.html")
    before = (tmp_path / "page.html").read_bytes()
    with pytest.raises(jinja2.UndefinedError, match="sections"):
        write_page(tmp_path / "page.html", "base.html", CONTEXT | {"name": "it"})
    assert (tmp_path / "page.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_hold_nothing_that_the_policy_forbids(path):
    make_environment().get_template(path.name)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|\sstyle=|\son\w+=|https?:|javascript:", text)
    # markup is trusted that the project writes itself: the style sheet and the charts
    assert re.findall(r"\{\{ ([\w.]+) \| safe \}\}", text) == {
        "base.html": ["style"],
        "macros.html": ["chart.svg"],
    }.get(path.name, [])
    assert len(re.findall(r"\|\s*safe", text)) == text.count(" | safe }}")


def test_no_module_writes_html():
    """Of the parts of strings; comments for a dataset's card and what readers look for are no elements."""
    element = re.compile(
        r"</?(?:a|b|bdi|br|dd|del|div|dl|dt|ins|li|p|section|span|svg|table|td|th|tr|ul)[ >]"
    )
    for path in sorted(UTILS.rglob("*.py")):
        if path.parent.name != "transcripts":  # subtitles have such tags
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
                assert not element.search(text), f"{path}: {text[:80]}"

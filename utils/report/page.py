"""Writes one HTML file.

It loads no other file and runs no script. Text from the data can never become HTML.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from utils.report import labels
from utils.runtime.files import write_bytes
from utils.runtime.messages import counted
from utils.runtime.templates import open_templates

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")

FILTERS = (
    *(counted, labels.in_percent, labels.in_time, labels.interval_in_percent),
    *(labels.share_in_percent, labels.shorten),
)


def write_page(path: Path, template: str, context: Mapping[str, object]) -> None:
    """Write one HTML file, completely or not at all. Its policy forbids scripts and all requests.

    Args:
        path: Path of the page.
        template: Name of a file in templates/.
        context: Values for the names in the template. The template escapes every text.
    """
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = make_environment()
    page = environment.get_template(template).render(context, style=style, style_digest=digest)
    # a file name of bytes that are no UTF-8 must not end the run
    write_bytes(path, labels.without_controls(page).encode("utf-8", errors="replace"))


def make_environment() -> "Environment":
    """Load the templates and their filters. An unknown name is an error, not an empty text."""
    filters = {function.__name__: function for function in FILTERS}
    return open_templates(TEMPLATES, is_html=True, commas="{:,}".format, **filters)

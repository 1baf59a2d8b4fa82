"""Open Jinja2 templates: of pages, cards, and the files of a Space."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def open_templates(*folders: Path, is_html: bool, **filters: Callable[..., Any]) -> "Environment":
    """Return the templates of the folders. A name that a template lacks is an error, not an empty text.

    Args:
        folders: Where templates are searched, in this order.
        is_html: Escape every value. Other files keep the newline at their end.
        filters: Filters by name.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_html,
    )
    environment.filters |= filters
    return environment

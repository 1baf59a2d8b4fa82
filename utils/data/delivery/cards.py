"""What all cards (README.md) on the Hub share: head and body, marks, and text of others made harmless."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import yaml

from utils.runtime.templates import open_templates

if TYPE_CHECKING:
    from jinja2 import Environment

_NO_ISO_CODE = {"jw": "jv"}  # Whisper uses an old code for Javanese, which the Hub refuses

_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)

_MARKUP = re.compile(r"([\\`*_\[\]|#~$])")


@dataclass(frozen=True)
class Marks:
    """Two comments. The text between them is ours, and the next push replaces it."""

    begin: str
    end: str

    def are_in(self, card: str) -> bool:
        """Check whether the card is ours, so that the files beside it may be replaced."""
        return self.begin in card and self.end in card

    def put(self, text: str, body: str) -> str:
        """Put the text between the marks in the body of a card.

        It replaces an earlier text there. If the body has no marks, the text is added at its end.
        """
        marked = f"{self.begin}\n\n{text}\n{self.end}"
        if self.are_in(body):
            return body[: body.index(self.begin)] + marked + body[body.index(self.end) + len(self.end) :]
        return f"{body.rstrip()}\n\n{marked}\n".lstrip("\n") if body.strip() else f"\n{marked}\n"


def split_card(card: str) -> tuple[dict, str]:
    """Return the head of a card and the text below it.

    Raises:
        ValueError: The head is not a YAML mapping.
    """
    found = _HEAD.match(card)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise ValueError(f"its head is not YAML: {error}") from None
    if not isinstance(head, dict | None):
        raise ValueError("its head is not a YAML mapping")
    return head or {}, card[found.end() :] if found else card


def join_card(head: Mapping, body: str) -> str:
    """Return a card of this head and body."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---\n{body}"


def iso_languages(codes: Sequence[str]) -> list[str]:
    """Return the codes by which the Hub knows Whisper's languages."""
    return [_NO_ISO_CODE.get(code, code) for code in codes]


def card_environment(*folders: Path) -> "Environment":
    """Return the Jinja environment of cards. A name that the template lacks is an error.

    The filter `one_line` is for all text that comes from data, file names or other people.
    """
    return open_templates(*folders, is_html=False, one_line=one_line)


def one_line(text: object) -> str:
    """Make text of others safe for one line or table cell, without line breaks and markup."""
    plain = " ".join(str(text).split()).rstrip(".")
    return _MARKUP.sub(r"\\\1", plain).replace("&", "&amp;").replace("<", "&lt;")


def without_folders(value: object) -> object:
    """Return the last part of an absolute path, because its folders and user names are private.

    Lists are searched too. Other values stay as they are.
    """
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or value.startswith("~")):
        return PurePosixPath(value).name
    if isinstance(value, str) and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value

"""Checks the fields of a source's items while they are read: texts, languages and extra columns."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from utils.data.utterance import PREPARED_COLUMNS, Scalar
from utils.runtime.problems import BadItem, Problem
from utils.text.cleaning import CONTROL_TOKEN, clean_text
from utils.text.languages import whisper_language


def usable_text(text: str) -> str:
    """Clean a transcript.

    Raises:
        BadItem: The text cannot be used for training.
    """
    cleaned = clean_text(text)
    if problem := text_problem(cleaned):
        raise BadItem(problem.kind, problem.details)
    return cleaned


def text_problem(text: str) -> Problem | None:
    """Return why a cleaned text cannot be used for training, or None if it can."""
    if not text:
        return Problem("empty text", "nothing is left after cleaning")
    if token := CONTROL_TOKEN.search(text):
        return Problem("control token in the text", f"found {token.group()}; remove it")
    if not is_utf8(text):
        return Problem(
            "broken characters in the text", "an incomplete character (lone surrogate); save it as UTF-8"
        )
    return None


def read_language(code: str | None) -> str | None:
    """Check a language code from a manifest.

    Raises:
        BadItem: Whisper knows no such language.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    if code is None or code in LANGUAGES:
        return code
    known = whisper_language(code)
    hint = f"write {known!r}" if known else "expected a code Whisper knows, such as it, en or fa"
    raise BadItem("unknown language", f"{code!r}, {hint}")


def read_extras(row: Mapping[str, object], taken: Iterable[str] = ()) -> dict[str, Scalar]:
    """Return the columns to keep. A column with one of our own names is renamed to `original_<name>`."""
    read_already = {"audio", "text", "start", "end", "language", "speaker", "group", "split", *taken}
    extras: dict[str, Scalar] = {}
    for key, value in row.items():
        if key in read_already or value is None:
            continue
        name = f"original_{key}" if key in PREPARED_COLUMNS else key
        plain = value if isinstance(value, str | bool | float) else _as_scalar(value)
        if not is_utf8(key) or (isinstance(plain, str) and not is_utf8(plain)):
            raise BadItem(
                f"broken characters in {key!a}", "an incomplete character (lone surrogate); save it as UTF-8"
            )
        extras[name] = plain
    return extras


def _as_scalar(value: object) -> Scalar:
    """Return plain values unchanged.

    Return nested values, and whole numbers of more than 64 bits, as JSON text.
    """
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def parse_json_object(text: str) -> dict[str, object]:
    """Parse a line of JSON.

    Raises:
        BadItem: It is not JSON, or not an object.
    """
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:  # its text would say "line 1", whatever the line in the file is
        raise BadItem("bad JSON", f"{error.msg}: character {error.pos + 1} of the line") from None
    except (ValueError, RecursionError) as error:
        raise BadItem("bad JSON", str(error) or "nested too deeply") from None
    if not isinstance(row, dict):
        raise BadItem("bad JSON", f"found a {type(row).__name__}, expected an object {{...}}")
    return row


def is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def usable_id(id: str) -> str:
    """Return the id unchanged.

    Raises:
        BadItem: It cannot be written as UTF-8.
    """
    if not is_utf8(id):
        raise BadItem("broken characters in the id", f"{shown(id)}; save the table as UTF-8")
    return id


def printable(path: Path | str) -> str:
    """Return a path as text that can be written as UTF-8, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

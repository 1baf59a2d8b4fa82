"""Reads the list of sentences that speakers read aloud."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.data.archives.tree import Folder
from utils.data.fields import shown, usable_text
from utils.data.quality.rules import choose_rules
from utils.data.quality.text_checks import check_text
from utils.data.sources.tables import TEXT_COLUMNS, read_table
from utils.data.utterance import Reject
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.line_lists import check_list_file, read_list_lines

MOST_SHOWN = 5  # problems in one message

SEPARATORS = {".tsv": "\t", ".csv": ","}


@dataclass(frozen=True)
class Sentence:
    """A sentence to read. Its cleaned text identifies it, so that lines may be added and moved."""

    text: str
    id: str | None = None


def read_sentences(path: Path, language: str | None) -> tuple[Sentence, ...]:
    """Read a list of sentences. One that is there twice is read aloud once.

    Args:
        path: UTF-8 text with a sentence a line; blank lines and lines that start with # are left out. Or a
            `.tsv` or `.csv` with a header: a column `text` or `sentence`, perhaps `id`.
        language: Whisper's code, or None if unknown.

    Raises:
        UserError: The file is unusable, or preprocess.py would reject some of its sentences. The message
            names the first of them.
    """
    check_list_file(path, "sentence")
    if separator := SEPARATORS.get(path.suffix.lower()):
        rows = _rows_of_table(path, separator)
    else:
        rows = ((line, text, None) for line, text in read_list_lines(path))
    sentences: dict[str, Sentence] = {}
    problems = []
    rules = choose_rules()
    for line, text, id in rows:
        try:
            text = usable_text(text)
        except BadItem as error:
            problems.append(f"line {line}: {error}")
            continue
        if problem := check_text(text, language, rules):
            problems.append(f"line {line}: {problem}")
        sentences.setdefault(text, Sentence(text, id))
    if problems:
        more = [f"and {len(problems) - MOST_SHOWN:,} more"] if len(problems) > MOST_SHOWN else []
        raise UserError(f"{path}: correct these sentences: {'; '.join(problems[:MOST_SHOWN] + more)}.")
    if not sentences:
        raise UserError(f"{path}: no sentences. Write a sentence on each line.")
    return tuple(sentences.values())


def _rows_of_table(path: Path, separator: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield the line number, text and id of each row."""
    for row in read_table(Folder(path.parent), path.name, separator=separator):
        if isinstance(row, Reject):
            raise UserError(f"{path}: line {row.position}: {row.problem}.")
        column = next((name for name in TEXT_COLUMNS if name in row.values), None)
        if column is None:
            found = ", ".join(shown(name) for name in row.values)
            raise UserError(
                f"{path}: found the columns {found}; expected one with the name text or sentence."
            )
        yield row.line, row.text(column), row.label("id")

"""Reads the rows of tables one after another: TSV, CSV and JSON lines, in a folder or an archive."""

import codecs
import csv
import gzip
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from utils.data.archives.members import BROKEN_ARCHIVE
from utils.data.archives.tree import FileTree
from utils.data.decimals import read_decimal
from utils.data.fields import is_utf8, parse_json_object, printable, read_extras, shown, usable_text
from utils.data.utterance import PREPARED_COLUMNS, Reject, Scalar, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem, Problem

MOST_LINE_BYTES = 1 << 20

# Names in public corpora, the most common first.
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript", "raw_transcription", "normalized_text")

SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")

LANGUAGE_COLUMNS = ("language", "locale", "lang")


@dataclass(frozen=True)
class Row:
    """One row of a table: the name of the table in the corpus, the line (counted from 1), and the values by
    column.
    """

    table: str
    line: int
    values: Mapping[str, object]

    @property
    def source(self) -> str:
        return printable(self.table)

    def text(self, column: str) -> str:
        """Return a required value.

        Raises:
            BadItem: It is missing or not text.
        """
        if column not in self.values:
            raise BadItem(f"missing key {column!r}", f"found {', '.join(map(repr, self.values)) or 'none'}")
        value = self.values[column]
        if not isinstance(value, str):
            raise BadItem(f"wrong type of {column!r}", f"found {shown(value)}, expected text")
        return value

    def label(self, *columns: str) -> str | None:
        """Return the first of these values that is not empty. Numbers become text.

        Raises:
            BadItem: It is neither text nor a whole number, or cannot be written as UTF-8.
        """
        for column in columns:
            value = self.values.get(column)
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise BadItem(f"wrong type of {column!r}", f"found {shown(value)}, expected text")
            if not is_utf8(str(value)):
                raise BadItem(f"broken characters in {column!r}", "save the table as UTF-8")
            return str(value).strip()
        return None

    def spoken(self, column: str) -> str:
        """Return the cleaned transcript.

        Raises:
            BadItem: The text cannot be used for training.
        """
        return usable_text(self.text(column))

    @property
    def utterance(self) -> "partial[Utterance]":
        """Return `Utterance` with `source` and `position` already set."""
        return partial(Utterance, source=self.source, position=self.line)

    def extras(self, *taken: str, numbers: Mapping[str, type] | None = None) -> dict[str, Scalar]:
        """Return the values of the columns to keep, without empty ones and those in `taken`.

        Convert those in `numbers`.
        """
        rest: dict[str, object] = {}
        for column, value in self.values.items():
            if column in taken or value is None or value == "":
                continue
            if numbers and column in numbers:
                value = _as_number(column, value, numbers[column])
            rest[f"original_{column}" if column in PREPARED_COLUMNS else column] = value
        return read_extras(rest)


def _as_number(column: str, value: object, kind: type) -> Scalar:
    try:
        return kind(read_decimal(value) if kind is float and isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise BadItem(f"wrong type of {column!r}", f"found {shown(value)}, expected a number") from None


def read_lines(tree: FileTree, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file, or of a `.gz` of such a file.

    They are without line ends, and numbered from 1. Bytes that are not UTF-8 become single surrogates. Every
    check of texts rejects these.

    Raises:
        UserError: The file is damaged, is in UTF-16, or has lines of over a megabyte.
    """
    try:
        with tree.open(name) as packed, gzip.open(packed) if name.endswith(".gz") else packed as file:
            for number in itertools.count(1):
                line = file.readline(MOST_LINE_BYTES)
                if not line:
                    return
                yield number, _decode_line(line, number, f"{tree.root}: {name}")
    except BROKEN_ARCHIVE as error:
        raise UserError(f"{tree.root}: {name} is damaged: {error or type(error).__name__}.") from error


def _decode_line(line: bytes, number: int, name: str) -> str:
    if len(line) == MOST_LINE_BYTES:
        raise UserError(f"{name}: line {number} has over {MOST_LINE_BYTES} bytes; this is not a table.")
    if number == 1:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"{name}: found UTF-16, expected UTF-8. Save the table as UTF-8.")
        line = line.removeprefix(codecs.BOM_UTF8)
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def read_table(
    tree: FileTree,
    name: str,
    *,
    separator: str,
    columns: Sequence[str] = (),
    optional: int = 0,
    needed: Iterable[str] = (),
) -> Iterator[Row | Reject]:
    """Yield the rows of a table. It has one header line, unless `columns` are given.

    Args:
        tree: The corpus.
        name: Name of the table in the corpus.
        separator: A comma means CSV with quotes (RFC 4180), also with semicolons, as spreadsheets write it in
            countries with decimal commas. With any other separator, quotation marks are ordinary characters,
            because corpora such as Common Voice have unpaired ones.
        columns: Names of the columns, if the table has no header.
        optional: How many of the last columns may be missing in a row.
        needed: Columns that the table must have.

    Raises:
        UserError: A needed column is missing in the header.
    """
    lines = read_lines(tree, name)
    rows: Iterable[tuple[int, list[str] | str]]
    if separator == ",":
        rows = _split_quoted(lines)
    else:
        rows = ((number, line.split(separator)) for number, line in lines if line.strip())
    names, source = list(columns), printable(name)
    for line, fields in rows:
        if isinstance(fields, str):
            yield Reject(source, line, Problem("malformed row", fields))
        elif not names:
            names = _check_header([field.strip() for field in fields], needed, f"{tree.root}: {name}")
        elif not len(names) - optional <= len(fields) <= len(names):
            problem = Problem("malformed row", f"found {len(fields)} fields, expected {len(names)}")
            yield Reject(source, line, problem)
        else:
            yield Row(name, line, dict(zip(names, fields, strict=False)))
    if not names:
        raise UserError(f"{tree.root}: {name} is empty, expected a line with the names of the columns.")


def _split_quoted(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row with the number of its first line. If the CSV is broken, yield a message instead."""
    head = list(itertools.islice(lines, 1))
    separator = csv_separator(head[0][1]) if head else ","
    whole = (f"{line}\n" for _, line in itertools.chain(head, lines))
    reader = csv.reader(whole, delimiter=separator, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, f"{error} in lines {first} to {reader.line_num}"
            continue
        if fields:
            yield first, fields


def csv_separator(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


def _check_header(names: list[str], needed: Iterable[str], table: str) -> list[str]:
    lacking = [name for name in needed if name not in names]
    if lacking:
        found = ", ".join(shown(name) for name in names[:20])
        raise UserError(f"{table} has no column {', '.join(lacking)}; found {found}. Is it another corpus?")
    if len(set(names)) < len(names):
        raise UserError(f"{table} has two columns of the same name: {', '.join(names)}.")
    return names


def first_rows(tree: FileTree, name: str, most: int = 5) -> list[Row]:
    """Return the JSON objects among the first lines. Empty if it is another kind of table."""
    try:
        rows = list(itertools.islice(read_json_lines(tree, name), most))
    except UserError:
        return []
    return [row for row in rows if isinstance(row, Row)]


def read_json_lines(tree: FileTree, *names: str) -> Iterator[Row | Reject]:
    """Yield the rows of files with one JSON object on each line."""
    for name in names:
        for number, line in read_lines(tree, name):
            if line.strip():
                try:
                    yield Row(name, number, parse_json_object(line))
                except BadItem as error:
                    yield Reject(printable(name), number, error.problem)

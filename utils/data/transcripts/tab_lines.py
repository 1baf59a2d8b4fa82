"""Lines of start, end and text, as Audacity writes them."""

import re
from collections.abc import Iterator

from utils.data.segmentation.pieces import BadPiece, Piece
from utils.data.transcripts.pieces import build_piece, lines_of, read_seconds
from utils.runtime.problems import Problem

_TWO_DECIMALS = re.compile(r"\s*\d+\.\d+\s+\d+\.\d+(\s|$)")


def is_timed(transcript: str) -> bool:
    """Whether a .txt means to give times: a line has tabs, or begins with two decimal numbers.

    The second sign catches files whose tabs were turned into spaces: they must be rejected, not learnt.
    """
    return any("\t" in line.strip() or _TWO_DECIMALS.match(line) for line in transcript.splitlines())


def read_tab_lines(text: str) -> Iterator[Piece | BadPiece]:
    """Read lines of `start<TAB>end<TAB>text` in seconds, as Audacity exports its label tracks.

    Further tabs belong to the text; blank lines are passed over, and so are the lines of frequencies that
    Audacity writes below labels (https://manual.audacityteam.org/man/importing_and_exporting_labels.html).
    """
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip() and not line.startswith("\\\t"):
            yield _read_tab_line(number, line)


def _read_tab_line(number: int, line: str) -> Piece | BadPiece:
    fields = line.split("\t", maxsplit=2)
    if len(fields) < 3:
        return BadPiece(
            number,
            Problem("malformed line", f"found {len(fields) - 1} tabs, expected start<TAB>end<TAB>text"),
        )
    start, end = read_seconds(fields[0]), read_seconds(fields[1])
    if start is None or end is None:
        return BadPiece(
            number,
            Problem("malformed line", f"times {fields[0]!r} and {fields[1]!r}, expected seconds from 0"),
        )
    return build_piece(number, start, end, fields[2])

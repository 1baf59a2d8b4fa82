"""Reads numbers that have a decimal comma, as programs write them in many countries."""

import re
from collections.abc import Iterable

_WITH_COMMA = re.compile(r"\d+,\d+")

_MAYBE_THOUSANDS = re.compile(r"[1-9]\d{0,2},\d{3}")


def read_decimal(text: str, *, has_decimal_commas: bool = False) -> float | None:
    """Read a number with a point or a comma. None if it is no number, or could mean two.

    Args:
        text: The number. By itself, `1,234` could mean 1.234 or 1234.
        has_decimal_commas: The table that it is from has decimal commas, see below.
    """
    text = text.strip()
    if _WITH_COMMA.fullmatch(text) and (has_decimal_commas or not _MAYBE_THOUSANDS.fullmatch(text)):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None


def has_decimal_commas(numbers: Iterable[str]) -> bool:
    """Check whether the commas in the numbers of one table are decimal commas.

    They are if they separate no thousands in at least one number (`12,4`), or if every number has one.
    """
    numbers = [number.strip() for number in numbers]
    with_comma = [number for number in numbers if _WITH_COMMA.fullmatch(number)]
    return len(with_comma) == len(numbers) or not all(map(_MAYBE_THOUSANDS.fullmatch, with_comma))

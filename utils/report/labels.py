"""Writes words and numbers of a report: short names, rates in percent, durations."""

import re
from collections.abc import Mapping

# Control characters have no meaning in a text, and could control a terminal or break a page.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

LONGEST_NAME = 60  # characters of a path; its end tells models and datasets apart

MEASURES: Mapping[str, str] = {"wer": "word error rate", "cer": "character error rate"}

TEXT_LABELS: Mapping[str, str] = {"normalized": "normalised", "raw": "raw"}  # the one that decides first


def without_controls(text: str) -> str:
    """Replace each control character by a visible sign. Line ends and tabs stay."""
    return _CONTROLS.sub("\ufffd", text)


def shorten(name: str, length: int = LONGEST_NAME) -> str:
    """Return the end of a long name."""
    return name if len(name) <= length else "…" + name[1 - length :]


def in_percent(rate: float, decimals: int = 1) -> str:
    """Write a fraction in percent, without the % sign."""
    return f"{100 * rate:.{decimals}f}"


def share_in_percent(part: float, whole: float = 1.0) -> str:
    """Write a share in percent. Near 0 or 100, it has a decimal."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if share < 10 or share > 90 else f"{share:.0f} %"


def interval_in_percent(ends: tuple[float, float], decimals: int = 1) -> str:
    """Write an interval in percent."""
    return " to ".join(in_percent(end, decimals) for end in ends)


def in_time(seconds: float) -> str:
    """Write a duration in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

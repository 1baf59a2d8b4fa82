"""Names the characters of a text."""

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class NamedCharacter:
    """How a page shows a character."""

    shown: str
    code: str  # such as U+200C ZERO WIDTH NON-JOINER


def name_character(character: str) -> NamedCharacter:
    """Return a character with its name. If it cannot be seen, the page shows the name instead."""
    code = f"U+{ord(character):04X} {unicodedata.name(character, 'unnamed character')}"
    category = unicodedata.category(character)
    if category[0] in "CZ":
        return NamedCharacter("␣" if character == " " else code, code)
    # a mark is shown on a circle, as it has no place of its own
    return NamedCharacter("◌" + character if category[0] == "M" else character, code)

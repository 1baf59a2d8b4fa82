"""Rules that tell unusable clips, texts and pairings: each has a name and can be switched."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from utils.runtime.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What a rule rejects, and whether it is on unless switched."""

    description: str
    default: bool = True


RULES = {
    "truncated": Rule("the file ends before its header says, or decoding breaks off"),
    "silent": Rule("no sound, or next to none"),
    "dc_offset": Rule("the samples lie far off the middle, as from a broken converter"),
    "clipped": Rule("a good part of the samples are cut flat at the top"),
    "steady_sound": Rule("the level never changes, as of noise or a tone", False),
    "no_words": Rule("the text is punctuation and symbols only"),
    "markup": Rule("tags, links, bracketed notes such as [noise] or (laughter)"),
    "digits": Rule("numbers are written as digits, which is a choice and no fault", False),
    "wrong_script": Rule("most letters are of a script that the language is not written in"),
    "lookalike_letters": Rule("a word mixes Latin and Cyrillic letters that look the same"),
    "repeated_text": Rule("most of the text is one phrase said six times or more in a row"),
    "speech_rate": Rule("far more or fewer characters a second than is usual in the corpus"),
    "duplicate": Rule("the clip has the very samples of another one"),
}
"""Every rule by its name, which is the kind of its rejects with underscores for spaces."""


def choose_rules(skip: Iterable[str] = (), add: Iterable[str] = ()) -> frozenset[str]:
    """The names of the rules in force: those on by default without `skip`, with `add`.

    Raises:
        UserError: A name is no rule's.
    """
    skipped, added = set(skip), set(add)
    unknown = sorted((skipped | added) - RULES.keys())
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], RULES, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise UserError(f"unknown rules: {', '.join(unknown)}; expected some of {', '.join(RULES)}{hint}")
    return frozenset(name for name, rule in RULES.items() if rule.default or name in added) - skipped

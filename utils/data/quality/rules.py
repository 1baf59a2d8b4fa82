"""Rules that find unusable clips and texts. Each rule has a name and can be switched on or off."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from utils.runtime.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What a rule rejects, and whether it is on by default."""

    description: str
    default: bool = True


RULES = {
    "truncated": Rule("the file ends too early: it is shorter than its header says, or decoding breaks off"),
    "silent": Rule("no sound, or hardly any"),
    "dc_offset": Rule("the mean of the samples is far from 0, for example because of a broken converter"),
    "clipped": Rule("many samples are cut flat at the top"),
    "steady_sound": Rule("the level never changes: noise or a tone", False),
    "no_words": Rule("the text has only punctuation and symbols"),
    "markup": Rule("tags, links, or notes in brackets such as [noise] or (laughter)"),
    "digits": Rule("numbers are written as digits; this is a choice, not a fault", False),
    "wrong_script": Rule("most letters are of a script that the language does not use"),
    "lookalike_letters": Rule("a word mixes Latin and Cyrillic letters that look the same"),
    "repeated_text": Rule("most of the text is one phrase, at least six times in a row"),
    "speech_rate": Rule("far more or fewer characters a second than is usual in the corpus"),
    "duplicate": Rule("the clip has the same samples as another clip"),
}
"""Every rule by its name. The name is the kind of its rejects, with underscores for spaces."""


def choose_rules(skip: Iterable[str] = (), add: Iterable[str] = ()) -> frozenset[str]:
    """Return the names of the rules that are turned on: those on by default, without `skip`, and those in
    `add`.

    Raises:
        UserError: A name is not the name of a rule.
    """
    skipped, added = set(skip), set(add)
    unknown = sorted((skipped | added) - RULES.keys())
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], RULES, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise UserError(f"unknown rules: {', '.join(unknown)}; expected names from {', '.join(RULES)}{hint}")
    return frozenset(name for name, rule in RULES.items() if rule.default or name in added) - skipped

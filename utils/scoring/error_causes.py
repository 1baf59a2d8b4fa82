"""Count the errors of a raw text by their cause, to explain error rates over 100 %."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from utils.scoring.failures import DECODER_ERROR, LOOP, WRONG_LANGUAGE, WRONG_SCRIPT
from utils.scoring.word_alignment import Edit

CASE_OR_PUNCTUATION, INSERTION, OTHER = "case or punctuation", "insertion", "other"

ERROR_CAUSES = {
    LOOP: "in clips where the same words are repeated again and again",
    WRONG_LANGUAGE: "in other clips with text in a wrong language or script",
    DECODER_ERROR: "in clips on which the decoder failed",
    CASE_OR_PUNCTUATION: "elsewhere, words that differ only in capital letters or punctuation",
    INSERTION: "elsewhere, words that nobody said",
    OTHER: "other words that are wrong or missing",
}
"""Every cause and its meaning. An error has the first one that applies."""

_OF_CLIPS = {
    LOOP: LOOP,
    WRONG_LANGUAGE: WRONG_LANGUAGE,
    WRONG_SCRIPT: WRONG_LANGUAGE,
    DECODER_ERROR: DECODER_ERROR,
}
"""The cause of all errors of a clip, by its kind of failure. The first one counts."""


def count_causes(alignments: Iterable[Sequence[Edit]], failures: Iterable[Sequence[str]]) -> dict[str, int]:
    """Count the errors of each cause. Each error has one cause, so the sum is the number of all errors.

    Args:
        alignments: Alignment of each utterance's raw texts, in words or characters.
        failures: Kinds of failure of each utterance.
    """
    counts = Counter[str]()
    for edits, kinds in zip(alignments, failures, strict=True):
        of_clip = next((cause for kind, cause in _OF_CLIPS.items() if kind in kinds), None)
        counts.update(of_clip or _cause_of(edit) for edit in edits if edit.operation != "equal")
    return {cause: counts[cause] for cause in ERROR_CAUSES}


def _cause_of(edit: Edit) -> str:
    if _letters(edit.reference) == _letters(edit.hypothesis):
        return CASE_OR_PUNCTUATION
    return INSERTION if edit.operation == "insert" else OTHER


def _letters(word: str | None) -> str:
    """Return a word without letter case and without everything except letters, their marks and digits."""
    return "".join(sign for sign in (word or "").casefold() if unicodedata.category(sign)[0] in "LMN")

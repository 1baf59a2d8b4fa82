"""Find failures in a hypothesis: loops, invented text, missing ends, another language."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from utils.scoring.word_alignment import Edit
from utils.text.loops import find_loop
from utils.text.normalizing import count_words
from utils.text.scripts import main_script

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier


LOOP = "loop"

INSERTION_RUN = "insertion run"

TRUNCATED = "truncated"

WRONG_LANGUAGE = "wrong language"

WRONG_SCRIPT = "wrong script"

NO_CASING = "no casing"

NO_PUNCTUATION = "no punctuation"

DECODER_ERROR = "decoder error"

FAILURE_KINDS = {
    LOOP: "the same words again and again",
    INSERTION_RUN: "a run of words that nobody said",
    TRUNCATED: "the end of what was said is missing",
    WRONG_LANGUAGE: "text in another language than the one spoken",
    WRONG_SCRIPT: "text in another script than the reference's",
    NO_CASING: "no capital letter, but the reference has some",
    NO_PUNCTUATION: "no punctuation, but the reference has some",
    DECODER_ERROR: "the decoder failed; all words count as deleted",
}
"""Every kind of failure and its meaning. The worst is first. The last one is not found in the text."""

LONGEST_INSERTION = 4  # words in a row; one more is a run

LEAST_DELETED, DELETED_SHARE = 3, 0.3  # words at the end of a reference, and the share of them

CHARACTERS_IN_A_WORD = 3  # about; used if characters are aligned

CERTAIN = 0.9  # probability of a language; with this and four words, no Italian prompt is misidentified

FEWEST_WORDS = 4

MOSTLY_WRONG = 0.5  # errors per word at which a hypothesis may be in another language

SENTENCE_MARKS = frozenset(".,;:!?…。、，！？；：।॥؟،؛።")


def find_failures(
    reference: str,
    hypothesis: str,
    alignment: Sequence[Edit],
    language: str | None = None,
    measure: str = "wer",
) -> list[str]:
    """Find the kinds of failure of one utterance, in the order of `FAILURE_KINDS`.

    Args:
        reference: Text, not normalised.
        hypothesis: Text, not normalised.
        alignment: Alignment of the normalised texts.
        language: Code of the spoken language. If it is None, the language is not checked.
        measure: `wer` for an alignment of words, `cer` for an alignment of characters.
    """
    word = CHARACTERS_IN_A_WORD if measure == "cer" else 1
    num_words = count_words(hypothesis) / word if measure == "cer" else len(hypothesis.split())
    checks = {
        LOOP: find_loop(hypothesis) is not None and find_loop(reference) is None,
        INSERTION_RUN: _has_insertion_run(alignment, LONGEST_INSERTION * word),
        TRUNCATED: _is_truncated(alignment, LEAST_DELETED * word),
        WRONG_LANGUAGE: num_words >= FEWEST_WORDS
        and _is_in_another_language(reference, hypothesis, alignment, language),
        WRONG_SCRIPT: _is_in_another_script(reference, hypothesis),
        NO_CASING: has_casing(reference) and bool(hypothesis) and not has_casing(hypothesis),
        NO_PUNCTUATION: has_punctuation(reference) and bool(hypothesis) and not has_punctuation(hypothesis),
    }
    return [kind for kind, found in checks.items() if found]


def count_failures(found: Iterable[Sequence[str]]) -> dict[str, int]:
    """Count the utterances with each kind of failure. A kind that does not occur has the count 0."""
    counts = Counter(kind for kinds in found for kind in kinds)
    return {kind: counts[kind] for kind in FAILURE_KINDS}


def has_casing(text: str) -> bool:
    """Check whether a text has a capital letter."""
    return any(character.isupper() for character in text)


def has_punctuation(text: str) -> bool:
    """Check whether a text has a mark that separates or ends sentences."""
    return not SENTENCE_MARKS.isdisjoint(text)


def _has_insertion_run(alignment: Sequence[Edit], longest: int) -> bool:
    """Check for too many insertions in a row, or for any word if the reference is empty."""
    if all(kind == "insert" for kind, _, _ in alignment):
        return bool(alignment)
    runs = itertools.groupby(alignment, key=lambda edit: edit[0])
    return any(kind == "insert" and len(list(run)) > longest for kind, run in runs)


def _is_truncated(alignment: Sequence[Edit], least: int) -> bool:
    words = sum(kind != "insert" for kind, _, _ in alignment)
    missing = len(list(itertools.takewhile(lambda edit: edit[0] == "delete", reversed(alignment))))
    return missing >= least and missing >= DELETED_SHARE * words


def _is_in_another_language(
    reference: str, hypothesis: str, alignment: Sequence[Edit], language: str | None
) -> bool:
    """Check whether most words are wrong, and in a language that is neither the spoken one nor that of the
    reference.
    """
    errors = sum(kind != "equal" for kind, _, _ in alignment)
    words = sum(kind != "insert" for kind, _, _ in alignment)
    if language is None or errors < MOSTLY_WRONG * max(words, 1):
        return False
    identifier = _load_identifier()
    if language not in identifier.labels:
        return False
    found, probability = identifier.classify(hypothesis)
    return found != language and probability >= CERTAIN and found != identifier.classify(reference)[0]


@lru_cache
def _load_identifier() -> "LanguageIdentifier":
    """Load py3langid, which identifies about 140 languages by the method of langid.py (Lui and Baldwin,
    2012).
    """
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(str(MODEL_DIR / MODEL_FILE), norm_probs=True)


def _is_in_another_script(reference: str, hypothesis: str) -> bool:
    expected, found = main_script(reference), main_script(hypothesis)
    return expected is not None and found is not None and expected != found

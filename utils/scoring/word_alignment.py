"""Align reference and hypothesis word by word, and count confusions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rapidfuzz.distance import Levenshtein

MAX_CONFUSIONS = 50

# of words in a stretch; larger stretches have nothing in common and are paired in order
MAX_PAIRINGS = 100_000

Unit = Literal["word", "char"]


class Edit(NamedTuple):
    """One step from reference to hypothesis. In JSON it is a list of three values."""

    operation: str  # equal, substitute, insert or delete
    reference: str | None  # None for an insertion
    hypothesis: str | None  # None for a deletion


@dataclass(frozen=True)
class Confusion:
    """A reference word, the hypothesis word in its place, and how often this occurs.

    The reference word is None for an insertion, the other is None for a deletion.
    """

    reference: str | None
    hypothesis: str | None
    count: int


def align_words(reference: str, hypothesis: str, unit: Unit = "word") -> list[Edit]:
    """Return the shortest list of edits that turns a reference into a hypothesis, from left to right.

    If a part of the text has more words on one side, several ways to pair them have the same number of edits.
    Then words with the most similar spelling are paired. So if "è" is recognised as "e qui", this counts as
    "e" in place of "è", and "qui" as an insertion.

    Args:
        reference: Words separated by whitespace.
        hypothesis: The same.
        unit: `char` aligns characters, for scripts without spaces between words.
    """
    said, heard = words_or_characters(reference, unit), words_or_characters(hypothesis, unit)
    edits: list[Edit] = []
    place = heard_place = 0
    for block in Levenshtein.opcodes(said, heard):
        if block.tag == "equal":
            edits += _pair_words(said[place : block.src_start], heard[heard_place : block.dest_start])
            edits += [Edit("equal", word, word) for word in said[block.src_start : block.src_end]]
            place, heard_place = block.src_end, block.dest_end
    return edits + _pair_words(said[place:], heard[heard_place:])


def _pair_words(said: Sequence[str], heard: Sequence[str]) -> list[Edit]:
    """Pair the words of a part of the text without common words.

    Make as many substitutions as possible, between words with the most similar spelling.
    """
    if len(said) > len(heard):
        flipped = _pair_words(heard, said)
        return [
            Edit("delete" if edit.operation == "insert" else "substitute", edit.hypothesis, edit.reference)
            for edit in flipped
        ]
    spare = len(heard) - len(said)
    if 0 < len(said) * spare <= MAX_PAIRINGS:
        return _pair_alike(said, heard)
    pairs = [Edit("substitute", *pair) for pair in zip(said, heard, strict=False)]
    return pairs + [Edit("insert", None, word) for word in heard[len(said) :]]


def _pair_alike(said: Sequence[str], heard: Sequence[str]) -> list[Edit]:
    """Pair each reference word with one hypothesis word, in order, so that the sum of the similarities is
    highest. There are more hypothesis words than reference words.
    """
    spare = len(heard) - len(said)
    # likeness[i][j]: of the first i words said, paired in order with i of the first i + j words heard
    likeness = [[0.0] * (spare + 1)]
    for i, word in enumerate(said):
        row: list[float] = []
        for j in range(spare + 1):
            paired = likeness[i][j] + Levenshtein.normalized_similarity(word, heard[i + j])
            row.append(max(row[-1], paired) if row else paired)
        likeness.append(row)
    edits: list[Edit] = []
    i, j = len(said), spare
    while i or j:
        if j and (not i or likeness[i][j] == likeness[i][j - 1]):
            edits.append(Edit("insert", None, heard[i + j - 1]))
            j -= 1
        else:
            edits.append(Edit("substitute", said[i - 1], heard[i + j - 1]))
            i -= 1
    return edits[::-1]


def words_or_characters(text: str, unit: Unit) -> list[str]:
    words = text.split()
    return words if unit == "word" else list(" ".join(words))


def count_confusions(alignments: Iterable[Sequence[Edit]], most: int = MAX_CONFUSIONS) -> list[Confusion]:
    """Count the most frequent errors of a corpus: substitutions, insertions and deletions.

    Args:
        alignments: One for each utterance.
        most: How many to keep.

    Returns:
        The most frequent come first. Those with equal counts are in alphabetical order.
    """
    pairs = Counter(
        (edit.reference, edit.hypothesis)
        for edits in alignments
        for edit in edits
        if edit.operation != "equal"
    )
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return [Confusion(*pair, count) for pair, count in ranked[:most]]

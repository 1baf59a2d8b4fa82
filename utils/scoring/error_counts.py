"""Errors of words and characters: counts that only add, and the rates of a corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from utils.scoring.intervals import bootstrap_ratio
from utils.scoring.word_alignment import Unit, words_or_characters


@dataclass(frozen=True)
class ErrorCounts:
    """Edits that turn a reference into a hypothesis, in words or in characters."""

    substitutions: int
    insertions: int
    deletions: int
    reference_length: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference length, as a fraction; an empty reference counts as 1 long, as in jiwer."""
        return self.errors / max(self.reference_length, 1)

    @property
    def hits(self) -> int:
        return self.reference_length - self.substitutions - self.deletions

    @property
    def hypothesis_length(self) -> int:
        return self.hits + self.substitutions + self.insertions

    @property
    def match_error_rate(self) -> float:
        """MER: the share of errors among all steps of the alignment, at most 1.

        This and `information_lost` are of Morris, Maier and Green, "From WER and RIL to MER and WIL"
        (Interspeech 2004); what is empty counts as in jiwer.
        """
        return self.errors / max(self.hits + self.errors, 1)

    @property
    def information_lost(self) -> float:
        """WIL: 1 minus the shares of hits in the reference and in the hypothesis, multiplied."""
        if not self.reference_length and not self.hypothesis_length:
            return 0.0
        return 1 - self.hits**2 / max(self.reference_length * self.hypothesis_length, 1)

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return ErrorCounts(*(own + others for own, others in pairs))


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> list[ErrorCounts]:
    """Align every hypothesis with its reference by Levenshtein distance.

    An empty reference stays in the count: all of its hypothesis is insertions. Characters include the spaces
    between words.

    Raises:
        ValueError: The two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: expected as many.")
    return [
        _count_opcodes(words_or_characters(reference, unit), words_or_characters(hypothesis, unit))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def _count_opcodes(reference: list[str], hypothesis: list[str]) -> ErrorCounts:
    """The counts of `align_words`, without its list of edits."""
    lengths = {"replace": 0, "insert": 0, "delete": 0, "equal": 0}
    for block in Levenshtein.opcodes(reference, hypothesis):
        # one of the two is 0, or both are the same
        lengths[block.tag] += max(block.src_end - block.src_start, block.dest_end - block.dest_start)
    return ErrorCounts(lengths["replace"], lengths["insert"], lengths["delete"], len(reference))


def total_counts(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """The sum over a corpus; its `rate` is the corpus error rate, not a mean of the utterances' rates."""
    return sum(counts, start=ErrorCounts(0, 0, 0, 0))


def bootstrap_interval(
    counts: Sequence[ErrorCounts], samples: int, seed: int, clusters: Sequence[str | None] | None = None
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the corpus error rate; `utils.scoring.intervals` has the method.

    Args:
        counts: Errors of each utterance.
        samples: Number of resamples.
        seed: Seed of the draws.
        clusters: Labels of the utterances to draw together, from `choose_clusters`; None draws utterances.
    """
    if not counts:
        return 0.0, 0.0
    errors, lengths = as_columns(counts)
    low, high = bootstrap_ratio(errors, lengths, samples, seed, clusters).ci95
    return max(low, 0.0), high


def as_columns(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """Errors and reference lengths, int64 (2, utterances)."""
    pairs = [(count.errors, count.reference_length) for count in counts]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T

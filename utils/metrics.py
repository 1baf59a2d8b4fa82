"""Words aligned, word and character errors over a corpus with intervals, and comparison of two models."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from utils.intervals import bootstrap_ratio
from utils.significance import mapsswe
from utils.text import clean_text, normalize_text

MAX_CONFUSIONS = 50
MAX_PAIRINGS = (
    100_000  # of words in a stretch; beyond, two texts have nothing in common and are paired as they come
)

Unit = Literal["word", "char"]


class Edit(NamedTuple):
    """One step from reference to hypothesis; in JSON a list of three."""

    operation: str  # equal, substitute, insert or delete
    reference: str | None  # None for an insertion
    hypothesis: str | None  # None for a deletion


@dataclass(frozen=True)
class Confusion:
    """What was heard for what was said, and how often; None where there was nothing."""

    reference: str | None
    hypothesis: str | None
    count: int


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
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.reference_length + other.reference_length,
        )


@dataclass(frozen=True)
class Comparison:
    """How much better a candidate is than a baseline on the same utterances; above 0 is better."""

    wer_reduction: float  # baseline minus candidate, as a fraction: 0.05 is five points of WER
    relative_reduction: float  # wer_reduction over the baseline's WER; 0 where the baseline makes no error
    ci95: tuple[float, float]  # of wer_reduction
    test: str
    p_value: float  # two-sided
    wins: int  # utterances with fewer errors than the baseline's
    losses: int
    ties: int


def align_words(reference: str, hypothesis: str, unit: Unit = "word") -> list[Edit]:
    """The fewest edits that turn a reference into a hypothesis, from the left.

    Where a stretch has more words on one side there are several ways to pair them with as many edits; here
    those spelt most alike are pairs, so that "è" heard as "e qui" is a confusion with "e" and one word more.

    Args:
        reference: Words parted by whitespace.
        hypothesis: The same.
        unit: `char` aligns characters, for scripts without spaces between words.
    """
    said, heard = _split(reference, unit), _split(hypothesis, unit)
    edits: list[Edit] = []
    place = heard_place = 0
    for block in Levenshtein.opcodes(said, heard):
        if block.tag == "equal":
            edits += _pair_words(said[place : block.src_start], heard[heard_place : block.dest_start])
            edits += [Edit("equal", word, word) for word in said[block.src_start : block.src_end]]
            place, heard_place = block.src_end, block.dest_end
    return edits + _pair_words(said[place:], heard[heard_place:])


def _pair_words(said: Sequence[str], heard: Sequence[str]) -> list[Edit]:
    """A stretch without words in common: as many substitutions as can be, of words spelt most alike."""
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
    """Every word said with one of the more words heard, in order, so that the pairs are most alike in sum."""
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


def _split(text: str, unit: Unit) -> list[str]:
    words = text.split()
    return words if unit == "word" else list(" ".join(words))


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
        _count_opcodes(_split(reference, unit), _split(hypothesis, unit))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def _count_opcodes(reference: list[str], hypothesis: list[str]) -> ErrorCounts:
    """The counts of `align_words`, without its list of edits."""
    lengths = {"replace": 0, "insert": 0, "delete": 0, "equal": 0}
    for block in Levenshtein.opcodes(reference, hypothesis):
        # one of the two is 0, or both are the same
        lengths[block.tag] += max(block.src_end - block.src_start, block.dest_end - block.dest_start)
    return ErrorCounts(lengths["replace"], lengths["insert"], lengths["delete"], len(reference))


def count_confusions(alignments: Iterable[Sequence[Edit]], most: int = MAX_CONFUSIONS) -> list[Confusion]:
    """The commonest errors of a corpus: substitutions as pairs, words inserted, words deleted.

    Args:
        alignments: One of each utterance.
        most: How many to keep.

    Returns:
        The commonest first, those that are as common in alphabetical order.
    """
    pairs = Counter(
        (edit.reference, edit.hypothesis)
        for edits in alignments
        for edit in edits
        if edit.operation != "equal"
    )
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
    return [Confusion(*pair, count) for pair, count in ranked[:most]]


def total_counts(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """The sum over a corpus; its `rate` is the corpus error rate, not a mean of the utterances' rates."""
    return sum(counts, start=ErrorCounts(0, 0, 0, 0))


def word_error_rates(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: str = "basic"
) -> tuple[float, float]:
    """Corpus WER as a fraction: raw (cleaned only), and after Whisper's normaliser on both sides."""
    raw = count_errors([clean_text(r) for r in references], [clean_text(h) for h in hypotheses])
    normalized = count_errors(
        [normalize_text(r, normalizer) for r in references],
        [normalize_text(h, normalizer) for h in hypotheses],
    )
    return total_counts(raw).rate, total_counts(normalized).rate


def bootstrap_interval(
    counts: Sequence[ErrorCounts],
    samples: int,
    seed: int,
    clusters: Sequence[str | None] | None = None,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the corpus error rate; `utils.intervals` has the method.

    Args:
        counts: Errors of each utterance.
        samples: Number of resamples.
        seed: Seed of the draws.
        clusters: Labels of the utterances to draw together, from `choose_clusters`; None draws utterances.
    """
    if not counts:
        return 0.0, 0.0
    errors, lengths = _as_columns(counts)
    low, high = bootstrap_ratio(errors, lengths, samples, seed, clusters).ci95
    return max(low, 0.0), high


def compare(
    baseline: Sequence[ErrorCounts],
    candidate: Sequence[ErrorCounts],
    samples: int,
    seed: int,
    clusters: Sequence[str | None] | None = None,
    alignments: tuple[Sequence[Sequence[Edit]], Sequence[Sequence[Edit]]] | None = None,
) -> Comparison:
    """Hold a candidate against a baseline: the interval is the paired bootstrap's, the p-value MAPSSWE's.

    Every resample takes the same utterances, or clusters of them, from both models. Without alignments the
    p-value is the bootstrap's too: twice the smaller share of resamples in which the reduction is at most,
    or at least, zero. One is added to both counts so that it is never 0 (Davison and Hinkley, "Bootstrap
    Methods", 1997, 4.2).

    Args:
        baseline: Errors of each utterance under the baseline.
        candidate: Errors of the same utterances, in the same order, under the candidate.
        samples: Number of resamples.
        seed: Seed of the draws.
        clusters: Labels of the utterances to draw together, from `choose_clusters`; None draws utterances.
        alignments: Of each utterance under the baseline, and under the candidate.

    Raises:
        ValueError: The two were not scored on the same references.
    """
    first, second = _as_columns(baseline), _as_columns(candidate)
    if not np.array_equal(first[1], second[1]):
        raise ValueError("Baseline and candidate were not scored on the same references.")
    before, after = total_counts(baseline).rate, total_counts(candidate).rate
    better = first[0] - second[0]  # errors fewer than the baseline's, per utterance
    resampled = bootstrap_ratio(better, first[1], samples, seed, clusters)
    test, p_value = "paired bootstrap", _share_beyond_zero(resampled.ratios)
    if alignments is not None:
        operations = [[[edit.operation for edit in edits] for edits in side] for side in alignments]
        test, p_value = "MAPSSWE", mapsswe(*operations).p_value
    return Comparison(
        wer_reduction=before - after,
        relative_reduction=(before - after) / before if before > 0 else 0.0,
        ci95=resampled.ci95,
        test=test,
        p_value=p_value,
        wins=int(np.count_nonzero(better > 0)),
        losses=int(np.count_nonzero(better < 0)),
        ties=int(np.count_nonzero(better == 0)),
    )


def _share_beyond_zero(reductions: np.ndarray) -> float:
    tail = min(np.count_nonzero(reductions <= 0), np.count_nonzero(reductions >= 0))
    return min(1.0, 2 * (int(tail) + 1) / (len(reductions) + 1))


def _as_columns(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """Errors and reference lengths, int64 (2, utterances)."""
    pairs = [(count.errors, count.reference_length) for count in counts]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T

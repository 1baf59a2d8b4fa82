"""Word and character errors over a corpus, their bootstrap intervals, and paired comparison of two models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np

from utils.text import clean_text, normalize_text

DRAWS_AT_ONCE = 4_000_000  # utterance indices drawn in one numpy call: 32 MB


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


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Literal["word", "char"] = "word"
) -> list[ErrorCounts]:
    """Align every hypothesis with its reference by Levenshtein distance.

    An empty reference stays in the count: all of its hypothesis is insertions. Characters include the spaces
    between words.

    Raises:
        ValueError: The two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: expected as many.")
    if not references:
        return []
    align = jiwer.process_words if unit == "word" else jiwer.process_characters
    # jiwer parts words at plain spaces only
    output = align([" ".join(r.split()) for r in references], [" ".join(h.split()) for h in hypotheses])
    return [
        _count_alignment(chunks, len(reference))
        for chunks, reference in zip(output.alignments, output.references, strict=True)
    ]


def _count_alignment(chunks: list[jiwer.AlignmentChunk], reference_length: int) -> ErrorCounts:
    lengths = {"substitute": 0, "insert": 0, "delete": 0, "equal": 0}
    for chunk in chunks:
        in_reference = chunk.ref_end_idx - chunk.ref_start_idx
        in_hypothesis = chunk.hyp_end_idx - chunk.hyp_start_idx
        lengths[chunk.type] += max(in_reference, in_hypothesis)  # one of the two is 0, or both are the same
    return ErrorCounts(lengths["substitute"], lengths["insert"], lengths["delete"], reference_length)


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


def bootstrap_interval(counts: Sequence[ErrorCounts], samples: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the corpus error rate, utterances drawn with replacement.

    After Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004.
    """
    if not counts:
        return 0.0, 0.0
    errors, lengths = _resampled_sums(_as_columns(counts), samples, seed)
    return _percentiles(errors / np.maximum(lengths, 1))


def compare(
    baseline: Sequence[ErrorCounts], candidate: Sequence[ErrorCounts], samples: int, seed: int
) -> Comparison:
    """Paired bootstrap: every resample takes the same utterances from both models.

    The p-value is twice the smaller share of resamples in which the reduction is at most, or at least, zero.
    One is added to both counts so that it is never 0 (Davison and Hinkley, "Bootstrap Methods", 1997, 4.2).

    Args:
        baseline: Errors of each utterance under the baseline.
        candidate: Errors of the same utterances, in the same order, under the candidate.

    Raises:
        ValueError: The two were not scored on the same references.
    """
    first, second = _as_columns(baseline), _as_columns(candidate)
    if not np.array_equal(first[1], second[1]):
        raise ValueError("Baseline and candidate were not scored on the same references.")
    before, after = total_counts(baseline).rate, total_counts(candidate).rate
    better = first[0] - second[0]  # errors fewer than the baseline's, per utterance
    fewer, lengths = _resampled_sums(np.stack([better, first[1]]), samples, seed)
    reductions = fewer / np.maximum(lengths, 1)
    tail = min(np.count_nonzero(reductions <= 0), np.count_nonzero(reductions >= 0))
    return Comparison(
        wer_reduction=before - after,
        relative_reduction=(before - after) / before if before > 0 else 0.0,
        ci95=_percentiles(reductions),
        test="paired bootstrap",
        p_value=min(1.0, 2 * (int(tail) + 1) / (samples + 1)),
        wins=int(np.count_nonzero(better > 0)),
        losses=int(np.count_nonzero(better < 0)),
        ties=int(np.count_nonzero(better == 0)),
    )


def _as_columns(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """Errors and reference lengths, int64 (2, utterances)."""
    pairs = [(count.errors, count.reference_length) for count in counts]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def _resampled_sums(columns: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sum the rows of `columns` (k, utterances) over `samples` draws of utterances; int64 (k, samples)."""
    rows, size = columns.shape
    generator = np.random.default_rng(seed)
    sums = np.empty((rows, samples), dtype=np.int64)
    step = max(1, DRAWS_AT_ONCE // max(size, 1))
    for start in range(0, samples, step):
        end = min(start + step, samples)
        drawn = generator.integers(0, size, size=(end - start, size))
        for row in range(rows):
            sums[row, start:end] = columns[row][drawn].sum(axis=1)
    return sums


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)

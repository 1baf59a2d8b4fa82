"""Compare two models on the same utterances: the difference of their rates, and its significance."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from utils.scoring.error_rates import ErrorCounts, as_columns, total_counts
from utils.scoring.intervals import bootstrap_ratio
from utils.scoring.word_alignment import Edit

# words in a row that both models got right; errors on either side count as independent
BOUNDARY_WORDS = 2


@dataclass(frozen=True)
class SegmentTest:
    """The result of `mapsswe`. The fields are the figures that NIST's sc_stats prints."""

    num_segments: int
    mean: float  # errors of the baseline minus those of the candidate, per segment
    standard_deviation: float
    z: float
    p_value: float  # two-sided


def find_segments(baseline: Sequence[str], candidate: Sequence[str]) -> list[tuple[int, int]]:
    """Find segments of one utterance with errors, separated by at least two words that both models got right.

    Args:
        baseline: The operations of an alignment: `equal`, `substitute`, `delete`, `insert`.
        candidate: The same for the other model's hypothesis of the same reference.

    Returns:
        Errors of both models in each segment. At least one of the two is above 0.

    Raises:
        ValueError: The two references differ in length.
    """
    first, second = _errors_by_place(baseline), _errors_by_place(candidate)
    if len(first) != len(second):
        raise ValueError("Baseline and candidate were not aligned with the same reference.")
    segments: list[tuple[int, int]] = []
    right = BOUNDARY_WORDS  # the start of an utterance is a boundary too
    for place, errors in enumerate(zip(first, second, strict=True)):
        if any(errors):
            if right >= BOUNDARY_WORDS:
                segments.append((0, 0))
            segments[-1] = segments[-1][0] + errors[0], segments[-1][1] + errors[1]
            right = 0
        else:
            right += place % 2
    return segments


def _errors_by_place(operations: Iterable[str]) -> list[int]:
    """Count errors between the reference words (even indices) and in the reference words (odd indices)."""
    errors = [0]
    for operation in operations:
        if operation == "insert":
            errors[-1] += 1
        else:
            errors += [int(operation != "equal"), 0]
    return errors


def mapsswe(baseline: Iterable[Sequence[str]], candidate: Iterable[Sequence[str]]) -> SegmentTest:
    """Test on the segments with errors whether two models make different numbers of errors.

    The test is that of Gillick and Cox, "Some statistical issues in the comparison of speech recognition
    algorithms" (ICASSP 1989), and Pallett, Fisher and Fiscus, "Tools for the analysis of benchmark speech
    recognition tests" (ICASSP 1990). The figures are those of `sc_stats -t mapsswe`, which reads its p-value
    from a table. The test assumes that the mean difference divided by its standard error has a normal
    distribution. This needs about 50 segments.

    One case differs. If the difference is the same in every segment, its deviation is 0, and sc_stats finds
    no significance, even if the candidate is better in each of a thousand segments. Here a sign test is used
    instead.

    Args:
        baseline: The operations of each utterance's alignment.
        candidate: The same for the other model, in the same order.
    """
    pairs = zip(baseline, candidate, strict=True)
    differences = [a - b for pair in pairs for a, b in find_segments(*pair)]
    if not differences or not any(differences):
        return SegmentTest(len(differences), 0.0, 0.0, 0.0, 1.0)
    average = mean(differences)
    deviation = stdev(differences) if len(differences) > 1 else 0.0
    if deviation == 0:
        sign_test = min(1.0, 2 * 0.5 ** len(differences))
        return SegmentTest(len(differences), average, 0.0, math.copysign(math.inf, average), sign_test)
    z = average / (deviation / math.sqrt(len(differences)))
    return SegmentTest(len(differences), average, deviation, z, math.erfc(abs(z) / math.sqrt(2)))


@dataclass(frozen=True)
class Comparison:
    """How much better a candidate is than a baseline on the same utterances. Positive numbers mean better."""

    wer_reduction: float  # baseline minus candidate, as a fraction: 0.05 is five points of WER
    relative_reduction: float  # wer_reduction over the baseline's WER; 0 if the baseline makes no error
    ci95: tuple[float, float]  # of wer_reduction
    test: str
    p_value: float  # two-sided
    wins: int  # utterances with fewer errors than the baseline's
    losses: int
    ties: int


def compare(
    baseline: Sequence[ErrorCounts],
    candidate: Sequence[ErrorCounts],
    samples: int,
    seed: int,
    clusters: Sequence[str | None] | None = None,
    alignments: tuple[Sequence[Sequence[Edit]], Sequence[Sequence[Edit]]] | None = None,
) -> Comparison:
    """Compare a candidate with a baseline.

    The interval is from the paired bootstrap, the p-value from MAPSSWE. Every resample takes the same
    utterances, or clusters of them, from both models. Without alignments, the p-value is from the bootstrap
    too. Two shares of the resamples are counted: those with a reduction of at most zero, and those with a
    reduction of at least zero. The p-value is twice the smaller share. One is added to both counts, so that
    it is never 0 (Davison and Hinkley, "Bootstrap Methods", 1997, 4.2).

    Args:
        baseline: Errors of the baseline in each utterance.
        candidate: Errors of the candidate in the same utterances, in the same order.
        samples: Number of resamples.
        seed: Seed of the resampling.
        clusters: Labels from `choose_clusters`. Utterances with the same label are drawn together. None draws
            single utterances.
        alignments: Alignments of each utterance for the baseline, and for the candidate.

    Raises:
        ValueError: The two were not scored on the same references.
    """
    first, second = as_columns(baseline), as_columns(candidate)
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

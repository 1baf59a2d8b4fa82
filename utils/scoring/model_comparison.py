"""Two models on the same utterances: the difference of their rates, and whether it is chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.scoring.error_counts import ErrorCounts, as_columns, total_counts
from utils.scoring.intervals import bootstrap_ratio
from utils.scoring.significance import mapsswe
from utils.scoring.word_alignment import Edit


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

"""Compute 95 % bootstrap intervals of corpus rates.

Choose the units to draw, and correct for small numbers of units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS_AT_ONCE = 4_000_000  # units drawn in one numpy call: 32 MB

MIN_CLUSTERS = 20  # speakers or recordings; fewer are too few for an interval

MIN_KNOWN = 0.9  # of the utterances, so that unknown labels cannot narrow the interval by much


@dataclass(frozen=True)
class RatioBootstrap:
    """A ratio of two sums over a corpus, with its interval and the ratio of every resample."""

    ratio: float
    ci95: tuple[float, float]
    ratios: np.ndarray  # (samples,) float64


def choose_clusters(
    speakers: Sequence[str | None] | None, recordings: Sequence[str | None] | None
) -> tuple[str, list[str | None] | None]:
    """Choose the unit that the bootstrap draws, because utterances of one speaker or recording are not
    independent.

    Speakers are preferred to recordings, because recordings of one speaker are not independent either. A unit
    is used if there are at least MIN_CLUSTERS labels, and if at least MIN_KNOWN of the utterances have one.
    An utterance without a label is drawn by itself. Recordings are not used if each has only one utterance.

    Args:
        speakers: Each utterance's speaker, None if unknown; None for a corpus without speakers.
        recordings: The same for the source recordings of the utterances.

    Returns:
        `speaker`, `recording` or `utterance`, and the labels of the utterances. The labels are None if single
        utterances are drawn.
    """
    for unit, labels in (("speaker", speakers), ("recording", recordings)):
        known = [label for label in labels or () if label is not None]
        if unit == "recording" and len(set(known)) == len(known):
            continue
        if labels and len(set(known)) >= MIN_CLUSTERS and len(known) >= MIN_KNOWN * len(labels):
            return unit, list(labels)
    return "utterance", None


def bootstrap_ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    samples: int,
    seed: int,
    clusters: Sequence[str | None] | None = None,
) -> RatioBootstrap:
    """Return a ratio of sums with the studentised bootstrap interval (Efron and Tibshirani 1993, 12.5).

    Bisani and Ney (2004) use percentiles of the resampled ratios for the WER. With 20 speakers, these contain
    the true value in only 89 to 92 % of the cases: a resample varies less than the speakers do, and the
    distribution is skewed. So the difference between each resample's ratio and the ratio is divided by the
    resample's own standard error, which is found by linearisation of the ratio (Cochran, "Sampling
    Techniques", 1977, 6.4). The quantiles of the result are multiplied by the jackknife standard error, which
    is rather too large than too small (Efron and Stein 1981). docs/evaluation.md shows how often the interval
    contains the true value.

    With three units, or with errors in few units, the standard error of many resamples is 0. If there are
    more of these than the interval leaves out, the percentiles of the ratios are used instead.

    Args:
        numerators: (utterances,) int64.
        denominators: (utterances,) int64, not negative. If their sum is 0, it counts as 1.
        samples: Number of resamples.
        seed: Seed of the resampling.
        clusters: Labels of the utterances. Those with the same label are drawn together, and those with None
            by themselves.
    """
    if clusters is not None:
        numerators, denominators = _sum_by_cluster(numerators, denominators, clusters)
    total = max(int(denominators.sum()), 1)
    ratio = float(numerators.sum() / total)
    ratios, distances = _resampled_distances(numerators, denominators, ratio, samples, seed)
    with np.errstate(invalid="ignore"):  # infinite distances
        low, high = np.percentile(distances, [2.5, 97.5])
    if np.isfinite(low) and np.isfinite(high):
        error = _jackknife_error(numerators, denominators, ratio, total)
        low, high = ratio - high * error, ratio - low * error
    else:
        low, high = np.percentile(ratios, [2.5, 97.5])
    return RatioBootstrap(ratio, (min(float(low), ratio), max(float(high), ratio)), ratios)


def _resampled_distances(
    numerators: np.ndarray, denominators: np.ndarray, ratio: float, samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of each resample, and its difference from the real ratio divided by its own standard
    error. The second is infinite if that error is 0.
    """
    size = len(numerators)
    squares = numerators**2, numerators * denominators, denominators**2
    columns = np.stack([numerators, denominators, *squares])
    above, below, above_squared, product, below_squared = _resampled_sums(columns, samples, seed)
    below = np.maximum(below, 1)
    ratios = above / below
    scale = above_squared + ratios**2 * below_squared
    residuals = scale - 2 * ratios * product  # the sum of (numerator - ratio · denominator)²
    residuals = np.where(residuals > 1e-12 * scale, residuals, 0)  # less is rounding
    own_errors = np.sqrt(residuals * size / max(size - 1, 1)) / below
    with np.errstate(divide="ignore", invalid="ignore"):
        return ratios, np.where(ratios == ratio, 0.0, (ratios - ratio) / own_errors)


def _jackknife_error(numerators: np.ndarray, denominators: np.ndarray, ratio: float, total: int) -> float:
    """Return the standard error from the changes of the ratio when one unit is left out."""
    moves = (numerators - ratio * denominators) / np.maximum(total - denominators, 1)
    return math.sqrt(float((moves**2).sum()) * (len(moves) - 1) / len(moves))


def _sum_by_cluster(
    numerators: np.ndarray, denominators: np.ndarray, clusters: Sequence[str | None]
) -> tuple[np.ndarray, np.ndarray]:
    if len(clusters) != len(numerators):
        raise ValueError(f"{len(clusters)} labels for {len(numerators)} utterances: expected one each.")
    numbers: dict[object, int] = {}
    keys = (place if label is None else label for place, label in enumerate(clusters))
    members = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    sums = np.zeros((2, len(numbers)), dtype=np.int64)
    np.add.at(sums[0], members, numerators)
    np.add.at(sums[1], members, denominators)
    return sums[0], sums[1]


def _resampled_sums(columns: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Sum the rows of `columns` (k, units) over `samples` draws of units; float64 (k, samples)."""
    rows, size = columns.shape
    generator = np.random.default_rng(seed)
    sums = np.empty((rows, samples), dtype=np.float64)
    step = max(1, DRAWS_AT_ONCE // max(size, 1))
    for start in range(0, samples, step):
        end = min(start + step, samples)
        drawn = generator.integers(0, size, size=(end - start, size))
        for row in range(rows):
            sums[row, start:end] = columns[row][drawn].sum(axis=1)
    return sums

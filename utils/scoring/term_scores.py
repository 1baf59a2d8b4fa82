"""Count how listed names and terms were written: found, missed, or written although nobody said them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.scoring.intervals import bootstrap_ratio
from utils.text.terms import TermFinder


@dataclass(frozen=True)
class TermCounts:
    """How often a term was said and written."""

    spoken: int  # in the references
    found: int  # of these, also in the hypothesis of the same utterance
    false_alarms: int  # in hypotheses, more often than in the references of the same utterances

    @property
    def faults(self) -> int:
        return self.spoken - self.found + self.false_alarms

    @property
    def recall(self) -> float | None:
        """Return the share that was found, as a fraction. None if the term was never said."""
        return self.found / self.spoken if self.spoken else None


@dataclass(frozen=True)
class TermScore:
    """How the listed terms were written, over all utterances."""

    listed: int  # number of terms
    spoken: int  # the sums of `TermCounts` over all terms
    found: int
    false_alarms: int
    recall: float | None  # found over spoken, as a fraction; None if no term was said
    ci95: tuple[float, float]  # of the recall; 0 to 1 if no term was said
    by_term: dict[str, TermCounts]  # those that were said or written


def score_terms(
    finder: TermFinder,
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    samples: int,
    seed: int,
    clusters: Sequence[str | None] | None = None,
) -> TermScore:
    """Count the terms of each reference in its hypothesis.

    Each time that a term is said counts. It is found if it is anywhere in the hypothesis of the utterance, as
    often as it was said. What is there more often is a false alarm.

    Args:
        finder: The listed terms.
        references: Text of each utterance, not normalised.
        hypotheses: The same of the model.
        samples: Number of resamples for the interval, see `bootstrap_ratio`.
        seed: Seed of the resampling.
        clusters: Labels from `choose_clusters`; None draws single utterances.
    """
    spoken, found, false_alarms = Counter[int](), Counter[int](), Counter[int]()
    columns = np.zeros((2, len(references)), dtype=np.int64)  # found and spoken of each utterance
    for number, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        said, written = finder.count(reference), finder.count(hypothesis)
        columns[:, number] = (said & written).total(), said.total()
        spoken.update(said)
        found.update(said & written)
        false_alarms.update(written - said)
    low, high = 0.0, 1.0
    if spoken:
        low, high = bootstrap_ratio(columns[0], columns[1], samples, seed, clusters).ci95
    by_term = {
        term: TermCounts(spoken[number], found[number], false_alarms[number])
        for number, term in enumerate(finder.terms)
        if spoken[number] or false_alarms[number]
    }
    total = TermCounts(spoken.total(), found.total(), false_alarms.total())
    ci95 = max(low, 0.0), min(high, 1.0)
    return TermScore(len(finder.terms), **vars(total), recall=total.recall, ci95=ci95, by_term=by_term)

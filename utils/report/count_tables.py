"""Puts counts of all models side by side: failures, invented words, confused words."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.evaluation.records import EvaluationResult
from utils.report.advice import CURES
from utils.report.labels import in_percent, share_in_percent
from utils.report.series import ScoredDataset, Series, list_series
from utils.runtime.messages import counted
from utils.scoring.error_causes import ERROR_CAUSES
from utils.scoring.failures import FAILURE_KINDS
from utils.scoring.term_scores import TermCounts
from utils.scoring.word_alignment import MAX_CONFUSIONS

MOST_TERMS = 100  # rows of a table of terms; terms.csv has all


@dataclass(frozen=True)
class Count:
    """A count of one model."""

    figure: str
    aside: str  # what the figure means
    height: float  # that a bar shows


@dataclass(frozen=True)
class CountRow:
    """A kind of failure or sound, with the count of each model."""

    name: str
    meaning: str
    counts: list[Count]


@dataclass(frozen=True)
class CountTable:
    """A table of counts. All rows have the same models in the same order."""

    series: Sequence[Series]
    rows: list[CountRow]

    @property
    def top(self) -> float:
        """The largest count."""
        return max((count.height for row in self.rows for count in row.counts), default=0.0) or 1.0


@dataclass(frozen=True)
class ConfusionRow:
    """A word that was said, the word that was written instead, and the count of each model.

    A count is None if the pair is not common for that model.
    """

    reference: str | None
    hypothesis: str | None
    counts: list[int | None]


@dataclass(frozen=True)
class ConfusionTable:
    """The confused pairs of words."""

    name: str
    series: list[Series]
    rows: list[ConfusionRow]


def failure_table(series: Sequence[Series]) -> CountTable:
    """Count clips by kind of failure. Kinds without a clip are left out."""
    rows = []
    for kind, meaning in FAILURE_KINDS.items():
        shares = [(one.result.failures[kind], one.result.num_utterances) for one in series]
        if any(count for count, _ in shares):
            counts = [Count(f"{n:,}", f"{in_percent(n / total)} %", 100 * n / total) for n, total in shares]
            rows.append(CountRow(kind, meaning, counts))
    return CountTable(series, rows)


def cause_table(series: Sequence[Series]) -> CountTable:
    """Return the share of each cause in the errors of raw text, with its cure. Absent causes are left out.

    There are no rows if no rate is over 100 %.
    """
    rows = list[CountRow]()
    if not any(one.result.is_over_100_percent for one in series):
        return CountTable(series, rows)
    for cause, meaning in ERROR_CAUSES.items():
        shares = [
            (one.result.error_causes.get(cause, 0), sum(one.result.error_causes.values())) for one in series
        ]
        if any(count for count, _ in shares):
            counts = [
                Count(share_in_percent(n, total), f"{n:,}", 100 * n / max(total, 1)) for n, total in shares
            ]
            rows.append(CountRow(cause, f"{meaning}. {CURES[cause]}", counts))
    return CountTable(series, rows)


def made_up_word_table(results: Sequence[EvaluationResult]) -> CountTable:
    """Return how many words per minute each model writes for sounds without speech.

    Each model has one row.
    """
    probed: dict[tuple[str, str], EvaluationResult] = {}
    for result in results:
        if result.hallucination:
            probed.setdefault((result.model, result.audio_context), result)
    probes = [result.hallucination or {} for result in probed.values()]
    rows = []
    for sound in probes[0] if probes else ():
        heard = [sounds[sound] for sounds in probes]
        counts = [
            Count(
                f"{probe.words_per_minute:.1f}",
                f"{probe.clips_with_text:,} of {probe.clips:,} clips",
                probe.words_per_minute,
            )
            for probe in heard
        ]
        rows.append(CountRow(sound, "", counts))
    return CountTable(list_series(results, list(probed.values())), rows)


def term_table(dataset: ScoredDataset) -> CountTable:
    """Return the recall and the false alarms of each term that was said or written.

    Those that the last model misses most come first.
    """
    series = [one for one in dataset.series if one.result.terms]
    scores = [one.result.terms.by_term for one in series if one.result.terms]
    terms = dict.fromkeys(term for by_term in scores for term in by_term)
    counts = {term: [by_term.get(term, TermCounts(0, 0, 0)) for by_term in scores] for term in terms}
    worst_first = sorted(terms, key=lambda term: -counts[term][-1].faults)
    rows = [CountRow(term, "", list(map(_term_count, counts[term]))) for term in worst_first[:MOST_TERMS]]
    return CountTable(series, rows)


def _term_count(counts: TermCounts) -> Count:
    made_up = counted(counts.false_alarms, "false alarm") if counts.false_alarms else ""
    if counts.recall is None:
        return Count("–", made_up or "never said, never written", 0.0)
    said = f"{counts.found:,} of {counts.spoken:,}"
    return Count(
        f"{in_percent(counts.recall)} %", ", ".join(filter(None, (said, made_up))), 100 * counts.recall
    )


def confusion_table(dataset: ScoredDataset) -> ConfusionTable:
    """Return pairs of words. They are sorted by the counts of the last model, then by those of the others."""
    series = [one for one in dataset.series if one.result.confusions]
    counts = [{(c.reference, c.hypothesis): c.count for c in one.result.confusions} for one in series]
    pairs = dict.fromkeys(pair for count in counts for pair in count)
    ordered = sorted(pairs, key=lambda pair: [-count.get(pair, 0) for count in reversed(counts)])
    # a model with fewer pairs than are kept shows all of its own
    absent = [0 if len(count) < MAX_CONFUSIONS else None for count in counts]
    rows = [
        ConfusionRow(*pair, [own.get(pair, no) for own, no in zip(counts, absent, strict=True)])
        for pair in ordered[: 2 * MAX_CONFUSIONS]
    ]
    return ConfusionTable(dataset.name, series, rows)

"""Decide whether a model can be delivered, and whether an export does what its source does."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from utils.delivery.parity.measures import Score
from utils.delivery.runtimes.runtime import Way

WER_RISE = 0.02  # of the error rate, from the source to an export

WER_RISE_REDUCED = 0.03  # the same for weights of fewer than 16 bits

ERRORS_BY_CHANCE = 3  # more errors than in the source, however few words there are

MISSING_RISE = 0.03  # of the share of seconds that are missing

MOST_MISSING = 0.2  # share of seconds, whatever the source does

TIME_RISE = 0.08  # seconds, of the median error of word times

F1_LOSS = 0.35  # of the F1 of word times within 200 ms; libraries differ by up to 0.3 on the same weights

CURES = {
    "previous_text": "Train with --condition_on_prev_probability 0.5, or never give the previous text.",
    "timestamps": (
        "Train with --timestamp_probability 0.5 and --stitch_probability 0.5: the model has to hear windows "
        "full of speech, with timestamps."
    ),
}
"""How to train a model that fails on recordings, by the way of use that it has not learnt."""


@dataclass(frozen=True)
class RuntimeScores:
    """The scores of a model in a runtime, or why it failed."""

    runtime: str
    scores: Sequence[Score]
    failure: str | None = None

    def find(self, way: Way, on_recordings: bool) -> Score | None:
        """Return the score of one way, on clips or on recordings.

        On recordings, the text with times of words stands for any text without previous text.
        """
        alike = [way, Way(timestamps=True, words=True)] if not way.previous_text else [way]
        found = (s for way in alike for s in self.scores if (s.way, s.on_recordings) == (way, on_recordings))
        return next(found, None)


def find_model_faults(source: RuntimeScores) -> list[str]:
    """Return why the model itself fails on recordings but not on clips, and how to train it better."""
    faults = []
    for score in source.scores:
        on_clips = source.find(Way(timestamps=score.way.timestamps), False)
        if not score.on_recordings or on_clips is None:
            continue
        if score.loops and not on_clips.loops:
            faults.append(f"{_place(source, score)}: the model loops in {score.loops}. {_cure(score.way)}")
        elif score.missing > max(MOST_MISSING, on_clips.missing):
            faults.append(
                f"{_place(source, score)}: {score.missing:.0%} of the speech is missing. {_cure(score.way)}"
            )
    return faults


def find_export_faults(
    source: RuntimeScores, export: RuntimeScores, *, reduced: bool, rough_times: bool = False
) -> list[str]:
    """Return all ways in which an export is worse than its source by more than the tolerances.

    Args:
        source: The source in transformers.
        export: The export in a runtime of its own.
        reduced: The weights have fewer than 16 bits.
        rough_times: The runtime only estimates the times of words, so they need not be as good.
    """
    if export.failure:
        return [f"{export.runtime}: {export.failure}"]
    rise = WER_RISE_REDUCED if reduced else WER_RISE
    return [
        f"{_place(export, score)}: {fault}"
        for score in export.scores
        if (counterpart := source.find(score.way, score.on_recordings)) is not None
        for fault in [
            *_text_faults(counterpart, score, rise),
            *([] if rough_times else _time_faults(counterpart, score)),
        ]
    ]


def _text_faults(source: Score, export: Score, rise: float) -> Iterator[str]:
    # the standard deviation of the difference, if both counts were drawn from one Poisson distribution
    chance = max(math.sqrt(source.errors.errors + export.errors.errors), ERRORS_BY_CHANCE)
    allowed = max(rise * source.errors.reference_length, chance)
    if export.errors.errors > source.errors.errors + allowed:
        yield f"WER {export.errors.rate:.1%}, source {source.errors.rate:.1%}"
    if export.loops > source.loops:
        yield f"loops in {export.loops} sounds, source in {source.loops}"
    if export.missing > source.missing + MISSING_RISE:
        yield f"{export.missing:.1%} of the speech is missing, source {source.missing:.1%}"


def _time_faults(source: Score, export: Score) -> Iterator[str]:
    if not export.way.words or source.timing is None or source.timing.median_error is None:
        return
    if export.timing is None or export.timing.median_error is None:
        yield "no times of words"
    elif export.timing.median_error > source.timing.median_error + TIME_RISE:
        yield (
            f"median error of the times of words {export.timing.median_error:.2f} s, source "
            f"{source.timing.median_error:.2f} s"
        )
    elif export.timing.f1[1] < source.timing.f1[1] - F1_LOSS:
        yield f"F1 of times of words {export.timing.f1[1]:.2f}, source {source.timing.f1[1]:.2f}"


def _place(of: RuntimeScores, score: Score) -> str:
    return f"{of.runtime}, {'recordings' if score.on_recordings else 'clips'}, {score.way}"


def _cure(way: Way) -> str:
    return CURES["previous_text" if way.previous_text else "timestamps"]

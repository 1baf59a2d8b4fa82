"""Hypotheses of one model scored, over the corpus and over every group."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from utils.evaluation.evaluation_set import members_by_value
from utils.evaluation.records import (
    Decoding,
    EvaluationResult,
    EvaluationSet,
    GroupScore,
    MadeUpWords,
    Prediction,
    ScoredDecoding,
    TextScore,
    UtteranceCounts,
)
from utils.scoring.error_counts import bootstrap_interval, count_errors, total_counts
from utils.scoring.failures import DECODER_ERROR, count_failures, find_failures
from utils.scoring.intervals import choose_clusters
from utils.scoring.word_alignment import align_words, count_confusions
from utils.text.cleaning import clean_text
from utils.text.normalizing import count_words, normalize_text
from utils.text.scripts import has_spaceless_script

Row = TypeVar("Row")


def score_decoding(
    evaluation_set: EvaluationSet, decoding: Decoding, normalizer: str, bootstrap_samples: int, seed: int
) -> ScoredDecoding:
    """Score one decoding over the corpus and over every group, in both forms of the text."""
    counts = _count_both_forms(evaluation_set.references, decoding.hypotheses, normalizer)
    alignments = counts["normalized"].alignments
    failures = _find_failures(evaluation_set, decoding, counts["normalized"])
    everyone = range(len(evaluation_set.ids))
    overall = _score_subset(evaluation_set, counts, everyone, bootstrap_samples, seed)
    groups = {
        column: {
            value: _score_subset(evaluation_set, counts, members, bootstrap_samples, seed)
            for value, members in members_by_value(values).items()
        }
        for column, values in evaluation_set.groups.items()
    }
    result = EvaluationResult(
        model=decoding.model,
        dataset=evaluation_set.dataset,
        split=evaluation_set.split,
        audio_context=decoding.audio_context,
        backend=decoding.backend,
        normalizer=normalizer,
        measure=counts["raw"].measure,
        is_guard=evaluation_set.is_guard,
        num_utterances=overall.num_utterances,
        audio_seconds=overall.audio_seconds,
        rtfx=round(overall.audio_seconds / max(decoding.seconds, 1e-9), 2),
        raw=overall.raw,
        normalized=overall.normalized,
        groups=groups,
        confusions=count_confusions(alignments),
        failures=count_failures(failures),
        hallucination=decoding.hallucination,
        detected_languages=evaluation_set.detected_languages,
        **dataclasses.asdict(decoding.model_size),
    )
    _, clusters = _choose_clusters(evaluation_set, everyone)
    return ScoredDecoding(decoding, counts, clusters, failures, result)


def _find_failures(
    evaluation_set: EvaluationSet, decoding: Decoding, counts: UtteranceCounts
) -> list[list[str]]:
    """The kinds of failure of every utterance; where the decoder failed, that alone."""
    rows = zip(
        evaluation_set.references,
        decoding.hypotheses,
        counts.alignments,
        evaluation_set.languages,
        strict=True,
    )
    return [
        [DECODER_ERROR] if number in decoding.errors else find_failures(*row, measure=counts.measure)
        for number, row in enumerate(rows)
    ]


def count_made_up_words(
    sorts: Sequence[str],
    durations: Sequence[float],
    texts: Sequence[str | None],
    normalizer: str = "basic",
) -> dict[str, MadeUpWords]:
    """Words in what a model wrote for sounds without speech, by sort of sound; None where it failed."""
    found = {}
    for sort in dict.fromkeys(sorts):
        own = [number for number, name in enumerate(sorts) if name == sort]
        words = [count_words(normalize_text(texts[number] or "", normalizer)) for number in own]
        errors = sum(texts[number] is None for number in own)
        seconds = round(sum(durations[number] for number in own), 3)
        found[sort] = MadeUpWords(len(own), sum(count > 0 for count in words), sum(words), seconds, errors)
    return found


def _count_both_forms(
    references: list[str], hypotheses: list[str], normalizer: str
) -> dict[str, UtteranceCounts]:
    """Errors in raw and normalised text; by characters first where the script has no spaces."""
    measure = "cer" if has_spaceless_script(" ".join(references)) else "wer"
    forms: dict[str, Callable[[str], str]] = {
        "raw": clean_text,
        "normalized": partial(normalize_text, normalizer=normalizer),
    }
    counts = {}
    for form, change in forms.items():
        said, heard = [change(text) for text in references], [change(text) for text in hypotheses]
        counts[form] = UtteranceCounts(
            count_errors(said, heard, "word"),
            count_errors(said, heard, "char"),
            [
                align_words(*pair, unit="char" if measure == "cer" else "word")
                for pair in zip(said, heard, strict=True)
            ],
            measure,
        )
    return counts


def _score_subset(
    evaluation_set: EvaluationSet,
    counts: dict[str, UtteranceCounts],
    members: Sequence[int],
    bootstrap_samples: int,
    seed: int,
) -> GroupScore:
    unit, clusters = _choose_clusters(evaluation_set, members)
    options = (members, unit, clusters, bootstrap_samples, seed)
    return GroupScore(
        num_utterances=len(members),
        audio_seconds=round(sum(evaluation_set.durations[i] for i in members), 3),
        raw=_score_text(counts["raw"], *options),
        normalized=_score_text(counts["normalized"], *options),
    )


def _choose_clusters(
    evaluation_set: EvaluationSet, members: Sequence[int]
) -> tuple[str, list[str | None] | None]:
    """What is drawn anew for the interval of these utterances, and the labels to draw by."""
    columns = evaluation_set.speakers, evaluation_set.recordings
    return choose_clusters(*(values and [values[i] for i in members] for values in columns))


def _score_text(
    counts: UtteranceCounts,
    members: Sequence[int],
    unit: str,
    clusters: Sequence[str | None] | None,
    bootstrap_samples: int,
    seed: int,
) -> TextScore:
    total = total_counts(counts.words[i] for i in members)
    measured = [counts.measured[i] for i in members]
    return TextScore(
        wer=total.rate,
        cer=total_counts(counts.characters[i] for i in members).rate,
        mer=total.match_error_rate,
        wil=total.information_lost,
        num_words=total.reference_length,
        substitutions=total.substitutions,
        insertions=total.insertions,
        deletions=total.deletions,
        ci95=bootstrap_interval(measured, bootstrap_samples, seed, clusters),
        ci95_unit=unit,
    )


def list_predictions(evaluation_set: EvaluationSet, scored: ScoredDecoding) -> list[Prediction]:
    """What a model wrote for every utterance, with its errors."""
    raw, normalized = scored.counts["raw"], scored.counts["normalized"]
    return [
        Prediction(
            model=scored.decoding.model,
            dataset=evaluation_set.dataset,
            audio_context=scored.decoding.audio_context,
            id=evaluation_set.ids[i],
            reference=evaluation_set.references[i],
            hypothesis=hypothesis,
            raw_word_errors=raw.words[i].errors,
            normalized_word_errors=normalized.words[i].errors,
            measure=normalized.measure,
            normalized_errors=normalized.measured[i].errors,
            duration=evaluation_set.durations[i],
            alignment=normalized.alignments[i],
            failures=scored.failures[i],
            error=scored.decoding.errors.get(i),
        )
        for i, hypothesis in enumerate(scored.decoding.hypotheses)
    ]

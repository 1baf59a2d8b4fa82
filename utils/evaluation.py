"""From hypotheses and references to the records that evaluate.py writes: scores, comparisons, verdict."""

import bisect
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from utils.errors import UserError
from utils.failures import DECODER_ERROR, count_failures, find_failures
from utils.intervals import choose_clusters
from utils.metrics import (
    Comparison,
    Confusion,
    Edit,
    ErrorCounts,
    align_words,
    bootstrap_interval,
    compare,
    count_confusions,
    count_errors,
    total_counts,
)
from utils.text import clean_text, count_words, has_spaceless_script, normalize_text

if TYPE_CHECKING:
    from datasets import Dataset

Row = TypeVar("Row")

TEXT_FORMS = ("raw", "normalized")
DURATION_EDGES = (2.0, 5.0, 10.0, 20.0)  # seconds, between the groups by duration
SIGNIFICANT = 0.05
FEWEST_UTTERANCES = 4  # below, an interval is just their range, and a range without 0 says little
MAX_GROUP_VALUES = 50  # more distinct values than this name utterances rather than groups
GROUP_COLUMNS = ("language", "speaker", "group")
# every prepared dataset's own columns; what else a dataset holds came from its source
PREPARED_COLUMNS = frozenset(
    {"id", "audio", "text", "duration", "language", "speaker", "group"}
    | {"start", "end", "source", "previous_text", "segments"}
)


@dataclass(frozen=True)
class EvaluationSet:
    """One split of one prepared dataset, without its audio."""

    dataset: str  # the folder as it was given
    split: str
    ids: list[str]
    references: list[str]
    durations: list[float]  # seconds
    groups: dict[str, list[str | None]]  # column -> each utterance's value; None where it is not known
    languages: list[str | None]
    speakers: list[str | None] | None = None  # None where the dataset tells none
    recordings: list[str | None] | None = None  # that the utterances were cut from
    is_guard: bool = False  # there to see what is forgotten, not what is learnt
    detected_languages: list[str] = field(default_factory=list)  # that the model has no token for

    @property
    def told_languages(self) -> list[str | None]:
        """What the model is told of each utterance's language; None where it detects one itself."""
        return [None if code in self.detected_languages else code for code in self.languages]


@dataclass(frozen=True)
class MadeUpWords:
    """What a model wrote for sounds of one sort in which nobody speaks."""

    clips: int
    clips_with_text: int
    words: int  # normalised; characters where they have no spaces between words
    audio_seconds: float
    errors: int = 0  # clips that the decoder failed on

    @property
    def words_per_minute(self) -> float:
        return 60 * self.words / max(self.audio_seconds, 1e-9)


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model."""

    trainable_parameters: int | None = None  # of the run that made it; None where that is not known
    total_parameters: int = 0


@dataclass(frozen=True)
class Decoding:
    """One model's hypotheses for one evaluation set in one audio context."""

    model: str  # as it was given to --models
    audio_context: str
    hypotheses: list[str]
    seconds: float  # wall-clock time of decoding
    backend: str = "transformers"
    errors: dict[int, str] = field(default_factory=dict)  # why the decoder failed, by utterance
    model_size: ModelSize = ModelSize()
    hallucination: dict[str, MadeUpWords] | None = None  # by sort of sound: silence, noise, music


@dataclass(frozen=True)
class TextScore:
    """Corpus scores in one form of the text; rates as fractions, edits in words."""

    wer: float
    cer: float
    mer: float  # match error rate: errors over errors and matches
    wil: float  # word information lost
    num_words: int
    substitutions: int
    insertions: int
    deletions: int
    ci95: tuple[float, float]  # of the WER, or of the CER where that is the measure
    ci95_unit: str  # what was drawn anew for it: speaker, recording or utterance


@dataclass(frozen=True)
class GroupScore:
    """Scores of the utterances that share one value of a column."""

    num_utterances: int
    audio_seconds: float
    raw: TextScore
    normalized: TextScore


@dataclass(frozen=True)
class EvaluationResult:
    """One row of evaluation_results.json."""

    model: str
    dataset: str
    split: str
    audio_context: str
    backend: str
    normalizer: str
    measure: str  # wer; cer where the script has no spaces between words
    is_guard: bool
    num_utterances: int
    audio_seconds: float
    rtfx: float  # audio seconds per second of decoding
    raw: TextScore
    normalized: TextScore
    groups: dict[str, dict[str, GroupScore]]
    confusions: list[Confusion]  # of normalised words, the commonest first
    failures: dict[str, int]  # utterances by kind
    hallucination: dict[str, MadeUpWords] | None
    trainable_parameters: int | None
    total_parameters: int
    detected_languages: list[str] = field(default_factory=list)  # the model has no token for these, and chose

    def rate(self, score: TextScore) -> float:
        """The error rate of one of the scores that its interval is of, as a fraction."""
        return score.cer if self.measure == "cer" else score.wer


@dataclass(frozen=True)
class ModelComparison:
    """One row of comparative_analysis.json; `wer_reduction` is of the CER where that is the measure.

    A candidate's dynamic context is compared with the baseline's dynamic context if that was decoded, and
    otherwise with its full context. `audio_context` is the candidate's.
    """

    baseline: str
    candidate: str
    dataset: str
    split: str
    text: str
    audio_context: str
    wer_reduction: float
    relative_reduction: float
    ci95: tuple[float, float]
    test: str
    p_value: float
    wins: int
    losses: int
    ties: int

    @property
    def is_significant(self) -> bool:
        """By the test, which asks about these speakers, and by the interval, which may ask about others."""
        low, high = self.ci95
        return not self.has_too_few and self.p_value < SIGNIFICANT and not low <= 0 <= high

    @property
    def has_too_few(self) -> bool:
        """Whether the utterances, or whole recordings, are too few to tell anything from chance."""
        return self.wins + self.losses + self.ties < FEWEST_UTTERANCES


@dataclass(frozen=True)
class UtteranceCounts:
    """Errors of every utterance in one form of the text."""

    words: list[ErrorCounts]
    characters: list[ErrorCounts]
    alignments: list[list[Edit]]  # by the measure: of words or of characters
    measure: str  # wer or cer

    @property
    def measured(self) -> list[ErrorCounts]:
        """What intervals and comparisons are of."""
        return self.characters if self.measure == "cer" else self.words


@dataclass(frozen=True)
class ScoredDecoding:
    """A decoding, its row of results, and the per-utterance errors behind it (by form of the text)."""

    decoding: Decoding
    counts: dict[str, UtteranceCounts]
    clusters: list[str | None] | None  # of the utterances, for the intervals of comparisons
    failures: list[list[str]]
    result: EvaluationResult


def build_evaluation_set(
    rows: "Dataset", dataset: str, split: str, *, is_guard: bool = False
) -> EvaluationSet:
    """Read what scoring needs from a loaded split; the audio stays where it is.

    Raises:
        UserError: An utterance has no reference. An empty one is none of these: nothing is said there.
    """
    references, durations = list(rows["text"]), list(rows["duration"])
    missing = [row_id for row_id, text in zip(rows["id"], references, strict=True) if text is None]
    if missing:
        raise UserError(
            f"{dataset} ({split}): {len(missing)} of {len(references)} utterances have no reference, first "
            f"{missing[0]!r}. Give them a text (an empty one where nothing is said), or leave them out."
        )
    return EvaluationSet(
        dataset=dataset,
        split=split,
        ids=list(rows["id"]),
        references=references,
        durations=durations,
        groups=_read_groups(rows) | _group_by_duration(durations),
        languages=list(rows["language"]),
        speakers=list(rows["speaker"]) if "speaker" in rows.column_names else None,
        recordings=_read_recordings(rows),
        is_guard=is_guard,
    )


def _read_recordings(rows: "Dataset") -> list[str | None]:
    """What each utterance was cut from; a file of its own says nothing of what else was recorded with it."""
    nothing = [None] * len(rows)
    columns = [
        list(rows[name]) if name in rows.column_names else nothing
        for name in ("recording", "source", "start")
    ]
    return [
        str(recording) if recording is not None else (None if start is None else source)
        for recording, source, start in zip(*columns, strict=True)
    ]


def _group_by_duration(durations: list[float]) -> dict[str, list[str | None]]:
    """A column of ranges such as `2 to 5 s`, where there is more than one."""
    edges = [0.0, *DURATION_EDGES]
    names = [f"{low:g} to {high:g} s" for low, high in itertools.pairwise(edges)] + [f"over {edges[-1]:g} s"]
    found: list[str | None] = [names[bisect.bisect_right(DURATION_EDGES, seconds)] for seconds in durations]
    return {"duration": found} if len(set(found)) > 1 else {}


def _read_groups(rows: "Dataset") -> dict[str, list[str | None]]:
    """Columns worth a breakdown: language, speaker, group and the source's text columns of 2 to 50 values."""
    extras = [
        name
        for name, feature in rows.features.items()
        if name not in PREPARED_COLUMNS and getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    columns = {name: list(rows[name]) for name in (*GROUP_COLUMNS, *extras) if name in rows.column_names}
    return {
        name: values
        for name, values in columns.items()
        if 2 <= len({value for value in values if value is not None}) <= MAX_GROUP_VALUES
    }


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
            for value, members in _members_by_value(values).items()
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


def _members_by_value(values: list[str | None]) -> dict[str, list[int]]:
    """Utterance numbers of each known value, values in alphabetical order, numbers in theirs."""
    known = {value for value in values if value is not None}
    members: dict[str, list[int]] = {value: [] for value in sorted(known, key=_natural_order)}
    for number, value in enumerate(values):
        if value is not None:
            members[value].append(number)
    return members


def _natural_order(value: str) -> list[str | int]:
    """Texts and numbers in turns, so that `2 to 5 s` comes before `10 to 20 s`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", value)]


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


def prediction_records(evaluation_set: EvaluationSet, scored: ScoredDecoding) -> list[dict]:
    """The lines of predictions.jsonl, texts as they are; errors count edits, not rates.

    `normalized_errors` are words, or characters, by the `measure`; so is the alignment.
    """
    return [
        {
            "model": scored.decoding.model,
            "dataset": evaluation_set.dataset,
            "audio_context": scored.decoding.audio_context,
            "id": evaluation_set.ids[i],
            "reference": evaluation_set.references[i],
            "hypothesis": hypothesis,
            "raw_word_errors": scored.counts["raw"].words[i].errors,
            "normalized_word_errors": scored.counts["normalized"].words[i].errors,
            "measure": scored.counts["normalized"].measure,
            "normalized_errors": scored.counts["normalized"].measured[i].errors,
            "duration": evaluation_set.durations[i],
            "alignment": scored.counts["normalized"].alignments[i],
            "failures": scored.failures[i],
            **({"error": scored.decoding.errors[i]} if i in scored.decoding.errors else {}),
        }
        for i, hypothesis in enumerate(scored.decoding.hypotheses)
    ]


def compare_models(
    scored: Sequence[ScoredDecoding], bootstrap_samples: int, seed: int
) -> list[ModelComparison]:
    """Compare every model with the first one, per dataset, context and form of the text."""
    if not scored:
        return []
    baseline_model = scored[0].decoding.model
    by_key = {(s.decoding.model, s.result.dataset, s.decoding.audio_context): s for s in scored}
    comparisons = []
    for candidate in scored:
        if candidate.decoding.model == baseline_model:
            continue
        baseline = find_baseline(by_key, baseline_model, candidate.result)
        if baseline is None:
            continue
        for text in TEXT_FORMS:
            before, after = baseline.counts[text], candidate.counts[text]
            outcome = compare(
                before.measured,
                after.measured,
                bootstrap_samples,
                seed,
                candidate.clusters,
                (before.alignments, after.alignments),
            )
            comparisons.append(_name_comparison(baseline_model, candidate.result, text, outcome))
    return comparisons


def find_baseline(
    by_key: dict[tuple[str, str, str], Row], baseline_model: str, candidate: EvaluationResult
) -> Row | None:
    """The baseline's row that a candidate's row is held against: the same context, else the full one."""
    same = by_key.get((baseline_model, candidate.dataset, candidate.audio_context))
    return same or by_key.get((baseline_model, candidate.dataset, "full"))


def _name_comparison(
    baseline_model: str, candidate: EvaluationResult, text: str, outcome: Comparison
) -> ModelComparison:
    return ModelComparison(
        baseline=baseline_model,
        candidate=candidate.model,
        dataset=candidate.dataset,
        split=candidate.split,
        text=text,
        audio_context=candidate.audio_context,
        **dataclasses.asdict(outcome),
    )


def write_verdict(
    results: Sequence[EvaluationResult],
    comparisons: Sequence[ModelComparison],
    promoted: Collection[str] = (),
) -> str:
    """One plain sentence on the best candidate, see `rank_candidates`, a clause for each dataset."""
    ranked = rank_candidates(results, comparisons, promoted)
    if not ranked:
        return "There is nothing to compare."
    by_key = {(r.model, r.dataset, r.audio_context): r for r in results}
    rows = [c for c in _in_deciding_contexts(comparisons) if c.candidate == ranked[0]]
    clauses = [_verdict_clause(c, by_key) for c in rows]
    opening = f"Best of {len(ranked)} candidates: " if len(ranked) > 1 else ""
    return opening + "; ".join(clauses) + "."


def rank_candidates(
    results: Sequence[EvaluationResult],
    comparisons: Sequence[ModelComparison],
    promoted: Collection[str] = (),
) -> list[str]:
    """Every candidate, the most promising first: promoted ones, then by how far the normalised rate fell.

    It is summed over the datasets that are no guards.
    """
    guards = {(r.dataset, r.split) for r in results if r.is_guard}
    rows = _in_deciding_contexts(comparisons)
    gains = {c.candidate: 0.0 for c in rows}
    for c in rows:
        if (c.dataset, c.split) not in guards:
            gains[c.candidate] += c.wer_reduction
    return sorted(gains, key=lambda name: (name not in promoted, -gains[name]))


def _in_deciding_contexts(comparisons: Sequence[ModelComparison]) -> list[ModelComparison]:
    """Of normalised text, in the full context where that was decoded: every other runtime uses it."""
    rows = [c for c in comparisons if c.text == "normalized"]
    in_full = {(c.candidate, c.dataset, c.split) for c in rows if c.audio_context == "full"}
    return [c for c in rows if c.audio_context == "full" or (c.candidate, c.dataset, c.split) not in in_full]


def _verdict_clause(comparison: ModelComparison, by_key: dict[tuple[str, str, str], EvaluationResult]) -> str:
    after = by_key[comparison.candidate, comparison.dataset, comparison.audio_context]
    before = find_baseline(by_key, comparison.baseline, after)
    assert before is not None  # it was compared
    low, high = comparison.ci95
    if not comparison.is_significant:
        finding = "is not shown to differ from"
    elif comparison.wer_reduction > 0:
        finding = f"makes {100 * comparison.relative_reduction:.0f} % fewer errors than"
    else:
        finding = f"makes {-100 * comparison.relative_reduction:.0f} % more errors than"
    where = f"{comparison.dataset} ({comparison.split}, {comparison.audio_context} context)"
    old, new = (result.rate(result.normalized) for result in (before, after))
    rates = f"{100 * old:.1f} % before and {100 * new:.1f} % after"
    measure = after.measure.upper()
    return (
        f"{comparison.candidate} {finding} {comparison.baseline} on {where}: normalised {measure} {rates}, "
        f"a reduction of {100 * comparison.wer_reduction:.1f} points with a 95 % interval from "
        f"{100 * low:.1f} to {100 * high:.1f}"
    )


def read_results(path: Path) -> list[EvaluationResult]:
    """Read evaluation_results.json back into records."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [_read_result(row) for row in rows]


def _read_result(row: dict) -> EvaluationResult:
    groups = {
        column: {
            value: GroupScore(**group | {text: _read_score(group[text]) for text in TEXT_FORMS})
            for value, group in values.items()
        }
        for column, values in row["groups"].items()
    }
    scores = {text: _read_score(row[text]) for text in TEXT_FORMS}
    made_up = row["hallucination"] and {sort: MadeUpWords(**v) for sort, v in row["hallucination"].items()}
    confusions = [Confusion(**confusion) for confusion in row["confusions"]]
    return EvaluationResult(
        **row | scores | {"groups": groups, "hallucination": made_up, "confusions": confusions}
    )


def _read_score(row: dict) -> TextScore:
    return TextScore(**row | {"ci95": tuple(row["ci95"])})


def read_comparisons(path: Path) -> tuple[list[ModelComparison], str]:
    """Read comparative_analysis.json back into records and the verdict."""
    analysis = json.loads(path.read_text(encoding="utf-8"))
    rows = [ModelComparison(**row | {"ci95": tuple(row["ci95"])}) for row in analysis["comparisons"]]
    return rows, analysis["verdict"]

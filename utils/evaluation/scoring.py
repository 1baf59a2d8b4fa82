"""Score the hypotheses of one model, over the corpus and over every group."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from utils.evaluation.evaluation_set import EvaluationSet
from utils.evaluation.material import members_by_value
from utils.evaluation.records import (
    Decoding,
    EvaluationResult,
    GroupScore,
    Prediction,
    ScoredDecoding,
    TextScore,
)
from utils.scoring.error_causes import count_causes
from utils.scoring.error_rates import (
    TEXT_FORMS,
    ScoredUtterance,
    bootstrap_interval,
    score_utterances,
    total_counts,
)
from utils.scoring.failures import DECODER_ERROR, count_failures, find_failures
from utils.scoring.intervals import choose_clusters
from utils.scoring.term_scores import TermScore, score_terms
from utils.scoring.word_alignment import Unit, align_words, count_confusions
from utils.text.scripts import has_spaceless_script
from utils.text.terms import TermFinder


def score_decoding(
    evaluation_set: EvaluationSet,
    decoding: Decoding,
    normalizer: str,
    bootstrap_samples: int,
    seed: int,
    finder: TermFinder | None = None,
) -> ScoredDecoding:
    """Score one decoding over the corpus and over every group, in both forms of the text.

    If a finder of terms is given, also count how these were written.
    """
    ids, references = evaluation_set.ids, evaluation_set.references
    utterances = score_utterances(ids, references, decoding.hypotheses, normalizer)
    measure = "cer" if has_spaceless_script(" ".join(references)) else "wer"
    unit: Unit = "char" if measure == "cer" else "word"
    texts = {form: [utterance.in_form(form) for utterance in utterances] for form in TEXT_FORMS}
    alignments = {
        form: [align_words(text.reference, text.hypothesis, unit) for text in texts[form]] for form in texts
    }
    columns = references, decoding.hypotheses, alignments["normalized"], evaluation_set.languages
    failures = [  # if the decoder failed, only this kind
        [DECODER_ERROR] if number in decoding.errors else find_failures(*row, measure=measure)
        for number, row in enumerate(zip(*columns, strict=True))
    ]
    scorer = _Scorer(evaluation_set, utterances, measure, bootstrap_samples, seed)
    everyone = range(len(utterances))
    overall = scorer.score(everyone)
    result = EvaluationResult(
        **_taken_over(EvaluationResult, evaluation_set, decoding, overall)
        | {
            "normalizer": normalizer,
            "measure": measure,
            "rtfx": round(overall.audio_seconds / max(decoding.seconds, 1e-9), 2),
            "groups": {
                column: {value: scorer.score(members) for value, members in members_by_value(values).items()}
                for column, values in evaluation_set.groups.items()
            },
            "confusions": count_confusions(alignments["normalized"]),
            "failures": count_failures(failures),
            "terms": None if finder is None else scorer.score_terms(finder),
            "error_causes": count_causes(alignments["raw"], failures),
        }
    )
    _, clusters = scorer.choose_clusters(everyone)
    return ScoredDecoding(evaluation_set, decoding, utterances, alignments, clusters, failures, result)


def _taken_over(kind: type, *records: object) -> dict:
    """Return the values of the records' fields that `kind` also has."""
    names = {field.name for field in fields(kind)}
    return {name: value for record in records for name, value in vars(record).items() if name in names}


@dataclass(frozen=True)
class _Scorer:
    """Scores chosen utterances of one decoding. They are chosen by their numbers."""

    evaluation_set: EvaluationSet
    utterances: list[ScoredUtterance]
    measure: str
    bootstrap_samples: int
    seed: int

    def score(self, members: Sequence[int]) -> GroupScore:
        return GroupScore(
            num_utterances=len(members),
            audio_seconds=round(sum(self.evaluation_set.durations[i] for i in members), 3),
            raw=self._score_form("raw", members),
            normalized=self._score_form("normalized", members),
        )

    def choose_clusters(self, members: Sequence[int]) -> tuple[str, list[str | None] | None]:
        """Choose the unit that is resampled for the interval of these utterances, and the label of each
        utterance.
        """
        columns = self.evaluation_set.speakers, self.evaluation_set.recordings
        return choose_clusters(*(values and [values[i] for i in members] for values in columns))

    def score_terms(self, finder: TermFinder) -> TermScore:
        _, clusters = self.choose_clusters(range(len(self.utterances)))
        return score_terms(
            finder,
            [utterance.reference for utterance in self.utterances],
            [utterance.hypothesis for utterance in self.utterances],
            samples=self.bootstrap_samples,
            seed=self.seed,
            clusters=clusters,
        )

    def _score_form(self, form: str, members: Sequence[int]) -> TextScore:
        texts = [self.utterances[i].in_form(form) for i in members]
        words = total_counts(text.words for text in texts)
        unit, clusters = self.choose_clusters(members)
        measured = [text.of(self.measure) for text in texts]
        return TextScore(
            wer=words.rate,
            cer=total_counts(text.characters for text in texts).rate,
            mer=words.match_error_rate,
            wil=words.information_lost,
            num_words=words.reference_length,
            substitutions=words.substitutions,
            insertions=words.insertions,
            deletions=words.deletions,
            ci95=bootstrap_interval(measured, self.bootstrap_samples, self.seed, clusters),
            ci95_unit=unit,
        )


def list_predictions(scored: ScoredDecoding) -> list[Prediction]:
    """List the hypothesis of every utterance, with its errors."""
    return [
        Prediction(
            **_taken_over(Prediction, scored.result, utterance)
            | {
                "raw_word_errors": utterance.raw.words.errors,
                "normalized_word_errors": utterance.normalized.words.errors,
                "normalized_errors": utterance.normalized.of(scored.result.measure).errors,
                "duration": scored.evaluation_set.durations[i],
                "alignment": scored.alignments["normalized"][i],
                "failures": scored.failures[i],
                "error": scored.decoding.errors.get(i),
            }
        )
        for i, utterance in enumerate(scored.utterances)
    ]

"""Error rates of a corpus, and each utterance's part in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from utils.scoring.error_counts import ErrorCounts, count_errors, total_counts
from utils.text.cleaning import clean_text
from utils.text.normalizing import normalize_text

METRICS = ("normalized_wer", "raw_wer", "normalized_cer", "raw_cer")  # the lower, the better

METRIC_LABELS = {
    "normalized_wer": "WER normalised",
    "raw_wer": "WER raw",
    "normalized_cer": "CER normalised",
    "raw_cer": "CER raw",
}


@dataclass(frozen=True)
class ErrorRates:
    """Corpus error rates of one evaluation, as fractions."""

    normalized_wer: float
    raw_wer: float
    normalized_cer: float
    raw_cer: float

    def of(self, metric: str) -> float:
        """The rate by its name in `METRICS`."""
        return {
            "normalized_wer": self.normalized_wer,
            "raw_wer": self.raw_wer,
            "normalized_cer": self.normalized_cer,
            "raw_cer": self.raw_cer,
        }[metric]


@dataclass(frozen=True)
class ScoredUtterance:
    """One utterance's texts in both forms, with their errors."""

    id: str
    reference: str
    hypothesis: str
    normalized_reference: str
    normalized_hypothesis: str
    raw_words: ErrorCounts
    raw_characters: ErrorCounts
    normalized_words: ErrorCounts
    normalized_characters: ErrorCounts


def score_utterances(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], normalizer: str
) -> list[ScoredUtterance]:
    """Count every utterance's errors, raw (cleaned only) and after Whisper's normaliser on both sides.

    Raises:
        ValueError: The lists differ in length.
    """
    raw = [clean_text(text) for text in references], [clean_text(text) for text in hypotheses]
    normalized = (
        [normalize_text(text, normalizer) for text in references],
        [normalize_text(text, normalizer) for text in hypotheses],
    )
    columns = (
        *(ids, references, hypotheses, *normalized),
        *(count_errors(*raw, "word"), count_errors(*raw, "char")),
        *(count_errors(*normalized, "word"), count_errors(*normalized, "char")),
    )
    return [ScoredUtterance(*values) for values in zip(*columns, strict=True)]


def error_rates(utterances: Sequence[ScoredUtterance]) -> ErrorRates:
    """Total errors over total length, not a mean over utterances."""
    return ErrorRates(
        normalized_wer=total_counts(utterance.normalized_words for utterance in utterances).rate,
        raw_wer=total_counts(utterance.raw_words for utterance in utterances).rate,
        normalized_cer=total_counts(utterance.normalized_characters for utterance in utterances).rate,
        raw_cer=total_counts(utterance.raw_characters for utterance in utterances).rate,
    )


def evaluation_record(rates: ErrorRates) -> dict[str, float]:
    """The rates as an evaluation's line of metrics.jsonl names them."""
    return {
        "eval_wer": rates.raw_wer,
        "eval_normalized_wer": rates.normalized_wer,
        "eval_cer": rates.raw_cer,
        "eval_normalized_cer": rates.normalized_cer,
    }


def describe_rates(rates: ErrorRates) -> str:
    """All four in percent, for a line in the terminal."""
    return (
        f"WER {100 * rates.raw_wer:.2f} % raw, {100 * rates.normalized_wer:.2f} % normalised, "
        f"CER {100 * rates.raw_cer:.2f} % raw, {100 * rates.normalized_cer:.2f} % normalised"
    )


def prediction_records(utterances: Sequence[ScoredUtterance]) -> list[dict]:
    """The lines of a file of predictions; word errors count edits, not rates."""
    return [
        {
            "id": utterance.id,
            "reference": utterance.reference,
            "hypothesis": utterance.hypothesis,
            "normalized_reference": utterance.normalized_reference,
            "normalized_hypothesis": utterance.normalized_hypothesis,
            "raw_words": utterance.raw_words.reference_length,
            "raw_word_errors": utterance.raw_words.errors,
            "normalized_words": utterance.normalized_words.reference_length,
            "normalized_word_errors": utterance.normalized_words.errors,
        }
        for utterance in utterances
    ]

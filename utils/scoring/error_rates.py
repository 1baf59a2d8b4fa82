"""Each utterance's errors in both forms of its text, and from them the rates of a corpus."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from utils.scoring.error_counts import ErrorCounts, count_errors, total_counts
from utils.text.cleaning import clean_text
from utils.text.normalizing import normalize_text

TEXT_FORMS = ("raw", "normalized")

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
        return asdict(self)[metric]


@dataclass(frozen=True)
class TextErrors:
    """An utterance in one form of its text, and the errors in it."""

    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts

    def of(self, measure: str) -> ErrorCounts:
        """Those of words for wer, of characters for cer."""
        return {"wer": self.words, "cer": self.characters}[measure]


@dataclass(frozen=True)
class ScoredUtterance:
    """An utterance as it is, and its errors in both forms of the text."""

    id: str
    reference: str
    hypothesis: str
    raw: TextErrors  # cleaned only
    normalized: TextErrors  # by Whisper's normaliser on both sides

    def in_form(self, form: str) -> TextErrors:
        """The errors in one of `TEXT_FORMS`."""
        return {"raw": self.raw, "normalized": self.normalized}[form]


def score_utterances(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], normalizer: str
) -> list[ScoredUtterance]:
    """Count every utterance's errors in both forms of the text.

    Raises:
        ValueError: The lists differ in length.
    """
    raw = _count_in_form(references, hypotheses, clean_text)
    normalized = _count_in_form(references, hypotheses, partial(normalize_text, normalizer=normalizer))
    columns = (ids, references, hypotheses, raw, normalized)
    return [ScoredUtterance(*values) for values in zip(*columns, strict=True)]


def _count_in_form(
    references: Sequence[str], hypotheses: Sequence[str], change: Callable[[str], str]
) -> list[TextErrors]:
    said, heard = [change(text) for text in references], [change(text) for text in hypotheses]
    columns = said, heard, count_errors(said, heard, "word"), count_errors(said, heard, "char")
    return [TextErrors(*values) for values in zip(*columns, strict=True)]


def error_rates(utterances: Sequence[ScoredUtterance]) -> ErrorRates:
    """Total errors over total length, not a mean over utterances."""
    return ErrorRates(
        normalized_wer=total_counts(utterance.normalized.words for utterance in utterances).rate,
        raw_wer=total_counts(utterance.raw.words for utterance in utterances).rate,
        normalized_cer=total_counts(utterance.normalized.characters for utterance in utterances).rate,
        raw_cer=total_counts(utterance.raw.characters for utterance in utterances).rate,
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
            "normalized_reference": utterance.normalized.reference,
            "normalized_hypothesis": utterance.normalized.hypothesis,
            "raw_words": utterance.raw.words.reference_length,
            "raw_word_errors": utterance.raw.words.errors,
            "normalized_words": utterance.normalized.words.reference_length,
            "normalized_word_errors": utterance.normalized.words.errors,
        }
        for utterance in utterances
    ]

"""Count errors in words and characters, in raw and normalised texts, and compute the rates."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from rapidfuzz.distance import Levenshtein

from utils.scoring.intervals import bootstrap_ratio
from utils.scoring.word_alignment import Unit, words_or_characters
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
class ErrorCounts:
    """Numbers of edits that turn a reference into a hypothesis, in words or in characters."""

    substitutions: int
    insertions: int
    deletions: int
    reference_length: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Return errors divided by reference length, as a fraction.

        An empty reference has length 1, as in jiwer.
        """
        return self.errors / max(self.reference_length, 1)

    @property
    def hits(self) -> int:
        return self.reference_length - self.substitutions - self.deletions

    @property
    def hypothesis_length(self) -> int:
        return self.hits + self.substitutions + self.insertions

    @property
    def match_error_rate(self) -> float:
        """Return the MER: the share of errors among all steps of the alignment, at most 1.

        This and `information_lost` are defined by Morris, Maier and Green, "From WER and RIL to MER and WIL"
        (Interspeech 2004). Empty texts count as in jiwer.
        """
        return self.errors / max(self.hits + self.errors, 1)

    @property
    def information_lost(self) -> float:
        """Return the WIL: 1 minus the product of the shares of hits in reference and hypothesis."""
        if not self.reference_length and not self.hypothesis_length:
            return 0.0
        return 1 - self.hits**2 / max(self.reference_length * self.hypothesis_length, 1)

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return ErrorCounts(*(own + others for own, others in pairs))


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> list[ErrorCounts]:
    """Align every hypothesis with its reference by Levenshtein distance.

    An empty reference counts too: all words of its hypothesis are insertions. Spaces between words count as
    characters.

    Raises:
        ValueError: The two lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: must be equal.")
    return [
        _count_opcodes(words_or_characters(reference, unit), words_or_characters(hypothesis, unit))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]


def _count_opcodes(reference: list[str], hypothesis: list[str]) -> ErrorCounts:
    """Return the counts of `align_words`, without the list of edits."""
    lengths = {"replace": 0, "insert": 0, "delete": 0, "equal": 0}
    for block in Levenshtein.opcodes(reference, hypothesis):
        # one of the two is 0, or both are the same
        lengths[block.tag] += max(block.src_end - block.src_start, block.dest_end - block.dest_start)
    return ErrorCounts(lengths["replace"], lengths["insert"], lengths["delete"], len(reference))


def total_counts(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum counts over a corpus. The `rate` of the sum is the corpus rate, not a mean of utterance rates."""
    return sum(counts, start=ErrorCounts(0, 0, 0, 0))


def bootstrap_interval(
    counts: Sequence[ErrorCounts], samples: int, seed: int, clusters: Sequence[str | None] | None = None
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the corpus error rate.

    `utils.scoring.intervals` describes the method.

    Args:
        counts: Errors of each utterance.
        samples: Number of resamples.
        seed: Seed of the resampling.
        clusters: Labels from `choose_clusters`. Utterances with the same label are drawn together. None draws
            single utterances.
    """
    if not counts:
        return 0.0, 0.0
    errors, lengths = as_columns(counts)
    low, high = bootstrap_ratio(errors, lengths, samples, seed, clusters).ci95
    return max(low, 0.0), high


def as_columns(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """Return errors and reference lengths, int64 (2, utterances)."""
    pairs = [(count.errors, count.reference_length) for count in counts]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


@dataclass(frozen=True)
class ErrorRates:
    """Corpus error rates of one evaluation, as fractions."""

    normalized_wer: float
    raw_wer: float
    normalized_cer: float
    raw_cer: float

    def of(self, metric: str) -> float:
        """Return the rate by its name in `METRICS`."""
        return asdict(self)[metric]


@dataclass(frozen=True)
class TextErrors:
    """The text of an utterance in one form (raw or normalised), and its errors."""

    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts

    def of(self, measure: str) -> ErrorCounts:
        """Return the word errors for `wer`, and the character errors for `cer`."""
        return {"wer": self.words, "cer": self.characters}[measure]


@dataclass(frozen=True)
class ScoredUtterance:
    """An utterance, and its errors in both forms of the text."""

    id: str
    reference: str
    hypothesis: str
    raw: TextErrors  # cleaned only
    normalized: TextErrors  # by Whisper's normaliser on both sides

    def in_form(self, form: str) -> TextErrors:
        """Return the errors in one of `TEXT_FORMS`."""
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
    """Return the total errors divided by the total length. This is not a mean over utterances."""
    return ErrorRates(
        normalized_wer=total_counts(utterance.normalized.words for utterance in utterances).rate,
        raw_wer=total_counts(utterance.raw.words for utterance in utterances).rate,
        normalized_cer=total_counts(utterance.normalized.characters for utterance in utterances).rate,
        raw_cer=total_counts(utterance.raw.characters for utterance in utterances).rate,
    )


def evaluation_record(rates: ErrorRates) -> dict[str, float]:
    """Return the rates with their names in metrics.jsonl."""
    return {
        "eval_wer": rates.raw_wer,
        "eval_normalized_wer": rates.normalized_wer,
        "eval_cer": rates.raw_cer,
        "eval_normalized_cer": rates.normalized_cer,
    }


def describe_rates(rates: ErrorRates) -> str:
    """Describe all four rates in percent, for a line in the terminal."""
    return (
        f"WER {100 * rates.raw_wer:.2f} % raw, {100 * rates.normalized_wer:.2f} % normalised, "
        f"CER {100 * rates.raw_cer:.2f} % raw, {100 * rates.normalized_cer:.2f} % normalised"
    )


def prediction_records(utterances: Sequence[ScoredUtterance]) -> list[dict]:
    """Return the lines of a predictions file. They hold numbers of word errors, not rates."""
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

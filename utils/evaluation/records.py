"""Records of an evaluation: decodings, scores and comparisons of models."""

from dataclasses import dataclass, field

from utils.evaluation.evaluation_set import EvaluationSet
from utils.scoring.error_rates import ErrorCounts, ScoredUtterance
from utils.scoring.model_comparison import Comparison
from utils.scoring.term_scores import TermScore
from utils.scoring.word_alignment import Confusion, Edit

SIGNIFICANT = 0.05

FEWEST_UTTERANCES = 4  # with fewer, an interval is only their range, and a range without 0 says little


@dataclass(frozen=True)
class MadeUpWords:
    """Words that a model wrote for one kind of sound without speech."""

    clips: int
    clips_with_text: int
    words: int  # normalised; characters if the script has no spaces
    audio_seconds: float
    errors: int = 0  # clips that the decoder failed on

    @property
    def words_per_minute(self) -> float:
        return 60 * self.words / max(self.audio_seconds, 1e-9)


@dataclass(frozen=True)
class Decoding:
    """One model's hypotheses for one evaluation set in one audio context."""

    model: str  # as given to --models
    audio_context: str
    hypotheses: list[str]
    seconds: float  # wall-clock time of decoding
    backend: str = "transformers"
    errors: dict[int, str] = field(default_factory=dict)  # why the decoder failed, by utterance
    trainable_parameters: int | None = None  # in the model's training; None if unknown
    total_parameters: int = 0
    hallucination: dict[str, MadeUpWords] | None = None  # by kind of sound: silence, noise, music
    warnings: list[str] = field(default_factory=list)  # why scores of this model are too good
    is_prompted: bool = False  # whether listed terms were the prompt of each clip


RATES = {  # of a `TextScore`, in the words that reports have for them
    "wer": "words substituted (sub), inserted (ins) and deleted (del) over the words of the references, "
    "summed over all clips; it can exceed 100 %",
    "cer": "the same for characters",
    "mer": "the share of words that do not match",
    "wil": "the share of word information that is lost",
}


@dataclass(frozen=True)
class TextScore:
    """Corpus scores in one form of the text. Rates are fractions, and edits are counted in words."""

    wer: float
    cer: float
    mer: float  # match error rate: errors over errors and matches
    wil: float  # word information lost
    num_words: int
    substitutions: int
    insertions: int
    deletions: int
    ci95: tuple[float, float]  # of the WER, or of the CER if that is the measure
    ci95_unit: str  # unit of the resampling: speaker, recording or utterance


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
    measure: str  # wer; cer if the script has no spaces between words
    is_guard: bool
    num_utterances: int
    audio_seconds: float
    rtfx: float  # audio seconds per second of decoding
    raw: TextScore
    normalized: TextScore
    groups: dict[str, dict[str, GroupScore]]
    confusions: list[Confusion]  # of normalised words, most frequent first
    failures: dict[str, int]  # utterances by kind
    hallucination: dict[str, MadeUpWords] | None
    trainable_parameters: int | None
    total_parameters: int
    detected_languages: list[str] = field(default_factory=list)  # without a token; the model detected one
    warnings: list[str] = field(default_factory=list)  # why scores of this model are too good
    terms: TermScore | None = None  # how listed terms were written
    is_prompted: bool = False  # whether listed terms were the prompt of each clip
    error_causes: dict[str, int] = field(default_factory=dict)  # errors of raw text by cause

    @property
    def is_over_100_percent(self) -> bool:
        """Check whether there are more errors than words (or characters), in raw or normalised text."""
        return max(self.rate(self.raw), self.rate(self.normalized)) > 1

    def rate(self, score: TextScore) -> float:
        """Return the error rate to which the interval belongs, as a fraction."""
        return score.cer if self.measure == "cer" else score.wer


@dataclass(frozen=True)
class _Compared:
    """Names the two models, the data and the form of the text that a row of comparative_analysis.json
    compares.
    """

    baseline: str
    candidate: str
    dataset: str
    split: str
    text: str
    audio_context: str


@dataclass(frozen=True)
class ModelComparison(Comparison, _Compared):
    """One row of comparative_analysis.json.

    If the measure is the CER, `wer_reduction` is the reduction of the CER. A candidate in the dynamic context
    is compared with the baseline in the dynamic context. If the baseline was not decoded in it, its full
    context is used. `audio_context` is that of the candidate.
    """

    @property
    def is_significant(self) -> bool:
        """Check that both the test and the interval show a difference.

        The test is about these speakers; the interval may be about others too.
        """
        low, high = self.ci95
        return not self.has_too_few and self.p_value < SIGNIFICANT and not low <= 0 <= high

    @property
    def has_too_few(self) -> bool:
        """Check whether there are too few utterances (or whole recordings) to rule out chance."""
        return self.wins + self.losses + self.ties < FEWEST_UTTERANCES


@dataclass(frozen=True)
class Gate:
    """The decision whether a candidate should replace the baseline, with reasons in sentences."""

    candidate: str
    promote: bool
    reasons: list[str]  # against it
    passed: list[str]


@dataclass(frozen=True)
class Analysis:
    """The content of comparative_analysis.json: all models compared with the first, which is the baseline."""

    comparisons: list[ModelComparison]
    gates: list[Gate]
    candidates: list[str]  # best first
    verdict: str


@dataclass(frozen=True)
class Prediction:
    """One line of predictions.jsonl. Texts are unchanged; errors are numbers of edits, not rates."""

    model: str
    dataset: str
    audio_context: str
    id: str
    reference: str
    hypothesis: str
    raw_word_errors: int
    normalized_word_errors: int
    measure: str  # wer or cer
    normalized_errors: int  # of words or characters, by the measure
    duration: float  # seconds
    alignment: list[Edit]  # of normalised words or characters, by the measure
    failures: list[str]
    error: str | None = None  # why the decoder failed

    def as_line(self) -> dict[str, object]:
        """Return the line to write. It has the decoder's error only if there is one."""
        return {key: value for key, value in vars(self).items() if key != "error" or value is not None}


@dataclass(frozen=True)
class ScoredDecoding:
    """A decoding, its row of results, and the errors of each utterance."""

    evaluation_set: EvaluationSet
    decoding: Decoding
    utterances: list[ScoredUtterance]
    alignments: dict[str, list[list[Edit]]]  # by form of the text; of words, or of characters, by the measure
    clusters: list[str | None] | None  # of the utterances, for the intervals of comparisons
    failures: list[list[str]]
    result: EvaluationResult

    def measured(self, text: str) -> list[ErrorCounts]:
        """Return the errors of each utterance in one form of the text.

        They are in words or characters, like the intervals.
        """
        return [utterance.in_form(text).of(self.result.measure) for utterance in self.utterances]

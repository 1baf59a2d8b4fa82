"""Records of an evaluation: what was decoded, how it scored, how models compare."""

from collections import Counter
from dataclasses import dataclass, field

from utils.scoring.error_rates import ErrorCounts, ScoredUtterance
from utils.scoring.model_comparison import Comparison
from utils.scoring.word_alignment import Confusion, Edit

SIGNIFICANT = 0.05

FEWEST_UTTERANCES = 4  # below, an interval is just their range, and a range without 0 says little


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

    @property
    def commonest_language(self) -> str | None:
        """Of those told."""
        return Counter(self.told_languages).most_common(1)[0][0]


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
class Decoding:
    """One model's hypotheses for one evaluation set in one audio context."""

    model: str  # as it was given to --models
    audio_context: str
    hypotheses: list[str]
    seconds: float  # wall-clock time of decoding
    backend: str = "transformers"
    errors: dict[int, str] = field(default_factory=dict)  # why the decoder failed, by utterance
    trainable_parameters: int | None = None  # of the run that made the model; None where that is not known
    total_parameters: int = 0
    hallucination: dict[str, MadeUpWords] | None = None  # by sort of sound: silence, noise, music


RATES = {  # of a `TextScore`, in the words that reports have for them
    "wer": "words substituted (sub), inserted (ins) and deleted (del) over the words of the references, "
    "summed over all clips; it can exceed 100 %",
    "cer": "the same for characters",
    "mer": "the share of words that do not match",
    "wil": "the share of word information that is lost",
}


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
class _Compared:
    """What a row of comparative_analysis.json is of."""

    baseline: str
    candidate: str
    dataset: str
    split: str
    text: str
    audio_context: str


@dataclass(frozen=True)
class ModelComparison(Comparison, _Compared):
    """One row of comparative_analysis.json; `wer_reduction` is of the CER where that is the measure.

    A candidate's dynamic context is compared with the baseline's dynamic context if that was decoded, and
    otherwise with its full context. `audio_context` is the candidate's.
    """

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
class Gate:
    """Whether a candidate should take the baseline's place; plain sentences on either side."""

    candidate: str
    promote: bool
    reasons: list[str]  # not to
    passed: list[str]


@dataclass(frozen=True)
class Analysis:
    """What comparative_analysis.json holds: models against the first, the baseline."""

    comparisons: list[ModelComparison]
    gates: list[Gate]
    candidates: list[str]  # the most promising first
    verdict: str


@dataclass(frozen=True)
class Prediction:
    """One line of predictions.jsonl, texts as they are; errors count edits, not rates."""

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
        """What is written; the error only where there is one."""
        return {key: value for key, value in vars(self).items() if key != "error" or value is not None}


@dataclass(frozen=True)
class ScoredDecoding:
    """A decoding, its row of results, and the per-utterance errors behind it."""

    evaluation_set: EvaluationSet
    decoding: Decoding
    utterances: list[ScoredUtterance]
    alignments: dict[str, list[list[Edit]]]  # by form of the text; of words, or of characters, by the measure
    clusters: list[str | None] | None  # of the utterances, for the intervals of comparisons
    failures: list[list[str]]
    result: EvaluationResult

    def measured(self, text: str) -> list[ErrorCounts]:
        """Errors of each utterance in one form of the text, in what intervals and comparisons are of."""
        return [utterance.in_form(text).of(self.result.measure) for utterance in self.utterances]

"""Records of test results, as a model card shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from utils.training.card_facts import DatasetFacts


@dataclass(frozen=True)
class HeldOutScores:
    """Test results of this model, or of the one before it, on one set in one audio context.

    Rates are fractions. An interval belongs to the rate that `measure` names.
    """

    model: str  # as the card calls it
    is_this_model: bool
    data: DatasetFacts
    split: str
    audio_context: str
    normalizer: str
    measure: str  # wer or cer
    clips: int
    hours: float
    raw: Mapping[str, float]  # by wer and cer
    normalized: Mapping[str, float]
    raw_ci95: tuple[float, float]
    normalized_ci95: tuple[float, float]
    is_guard: bool = False
    failures: Mapping[str, int] = field(default_factory=dict)  # utterances by kind, only kinds that occur
    words_in_noise: float | None = None  # invented per minute of silence, noise and music


@dataclass(frozen=True)
class HeldOutReport:
    """What an evaluation found out about this model."""

    scores: Sequence[HeldOutScores]
    is_promoted: bool | None = None  # by the gate; None if it was not compared
    findings: Sequence[str] = ()  # sentences of the gate

    @property
    def own(self) -> list[HeldOutScores]:
        """Return the scores of this model alone."""
        return [scores for scores in self.scores if scores.is_this_model]

"""What a model is scored on: the utterances of a split, with their references."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class EvaluationSet:
    """One split of one prepared dataset, without its audio."""

    dataset: str  # the folder as given by the user
    split: str
    ids: list[str]
    references: list[str]
    durations: list[float]  # seconds
    groups: dict[str, list[str | None]]  # column -> each utterance's value; None if unknown
    languages: list[str | None]
    speakers: list[str | None] | None = None  # None if the dataset has none
    recordings: list[str | None] | None = None  # source of each utterance
    is_guard: bool = False  # measures what is forgotten, not what is learnt
    detected_languages: list[str] = field(default_factory=list)  # that the model has no token for

    @property
    def told_languages(self) -> list[str | None]:
        """Return the language that the model is given for each utterance.

        None if the model must detect it.
        """
        return [None if code in self.detected_languages else code for code in self.languages]

    @property
    def commonest_language(self) -> str | None:
        """Return the most frequent of the given languages."""
        return Counter(self.told_languages).most_common(1)[0][0]

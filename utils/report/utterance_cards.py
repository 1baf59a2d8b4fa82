"""Chooses utterances to show: the worst, those that changed most, and examples of every failure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from utils.evaluation.records import Prediction
from utils.report.labels import shorten
from utils.report.players import AudioExample, Player, load_players
from utils.report.word_differences import LONGEST_TEXT

CASES_IN_A_LIST, CASES_OF_A_FAILURE = 8, 3

MOST_CANDIDATES = 3  # models whose utterances are shown

LONGEST_CLIP = 15.0  # seconds; longer ones are cut

MOST_CHARACTERS = 3_900_000  # of all players as base64, so that the page stays below 5 MB

ClipOf = Callable[[str, str], bytes | None]


@dataclass(frozen=True)
class Case:
    """One utterance with the text of a candidate, and with that of the baseline if it was decoded."""

    dataset: str
    id: str
    prediction: Prediction  # the candidate's
    before: Prediction | None  # the baseline's

    @property
    def errors(self) -> int:
        return self.prediction.normalized_errors

    @property
    def gain(self) -> int:
        """Return how many fewer errors the candidate makes than the baseline."""
        return self.before.normalized_errors - self.errors if self.before else 0


@dataclass(frozen=True)
class Card:
    """One utterance in the form in which a page shows it."""

    case: Case
    player: Player  # its text is the reference
    anchor: str  # of the utterance, where it stands first
    is_first: bool


@dataclass(frozen=True)
class CardList:
    """The cards under one heading."""

    title: str
    cards: list[Card]


@dataclass(frozen=True)
class CaseList:
    """Utterances under one heading. The most important ones come first."""

    title: str
    cases: list[Case]


def list_utterances(
    predictions: Sequence[Prediction],
    candidates: Sequence[str],
    baseline: str | None,
    clip_of: ClipOf,
    *,
    several_datasets: bool,
) -> dict[str, list[CardList]]:
    """Return the utterances that a page shows, for each of the best candidates. A candidate may have none.

    Args:
        predictions: Predictions of all models.
        candidates: The candidates. The best one comes first.
        baseline: The model with which they are compared.
        clip_of: (dataset, id) to 16 kHz mono FLAC, or None where there is no sound.
        several_datasets: Whether each card names its dataset.
    """
    models = candidates[:MOST_CANDIDATES]
    lists = {model: pick_cases(join_cases(predictions, model, baseline)) for model in models}
    together = [case_list for found in lists.values() for case_list in found]
    cards = iter(build_cards(together, clip_of, several_datasets=several_datasets))
    return {model: [next(cards) for _ in found] for model, found in lists.items() if found}


def join_cases(predictions: Iterable[Prediction], candidate: str, baseline: str | None) -> list[Case]:
    """Pair the utterances of a candidate with those of the baseline, in the full context if possible."""
    of_model: dict[str | None, dict[tuple[str, str], Prediction]] = {candidate: {}, baseline: {}}
    for prediction in predictions:
        kept, key = of_model.get(prediction.model), (prediction.dataset, prediction.id)
        if kept is not None and (key not in kept or prediction.audio_context == "full"):
            kept[key] = prediction
    before = of_model[baseline]
    return [Case(*key, prediction, before.get(key)) for key, prediction in of_model[candidate].items()]


def pick_cases(cases: Sequence[Case]) -> list[CaseList]:
    """Choose the utterances that improved most, those that became worse most, the worst, and examples of
    every failure.
    """
    improved = sorted((c for c in cases if c.gain > 0), key=lambda c: (-c.gain, c.dataset, c.id))
    worsened = sorted((c for c in cases if c.gain < 0), key=lambda c: (c.gain, c.dataset, c.id))
    by_errors = sorted(cases, key=lambda c: (-c.errors, c.dataset, c.id))
    worst = [case for case in by_errors if case.errors > 0]
    lists = [("Most worsened", worsened), ("Most improved", improved), ("Most errors", worst)]
    picked = [CaseList(title, found[:CASES_IN_A_LIST]) for title, found in lists if found]
    kinds = dict.fromkeys(kind for case in by_errors for kind in case.prediction.failures)
    for kind in kinds:
        found = [case for case in by_errors if kind in case.prediction.failures]
        picked.append(CaseList(f"Failure: {kind}", found[:CASES_OF_A_FAILURE]))
    return picked


def build_cards(lists: Sequence[CaseList], clip_of: ClipOf, *, several_datasets: bool) -> list[CardList]:
    """Build a list of cards for each list of cases.

    If an utterance is in several lists, only its first card has the sound.

    Args:
        lists: Lists of cases from `pick_cases`.
        clip_of: (dataset, id) to 16 kHz mono FLAC, or None where there is no sound.
        several_datasets: Whether each card names its dataset.
    """
    anchors: dict[tuple[str, str], str] = {}
    firsts: list[list[bool]] = []
    groups: list[list[AudioExample]] = []
    for case_list in lists:
        firsts.append([])
        groups.append([])
        for case in case_list.cases:
            key = (case.dataset, case.id)
            firsts[-1].append(key not in anchors)
            anchors.setdefault(key, f"clip-{len(anchors) + 1}")
            title = f"{case.id} · {shorten(case.dataset)}" if several_datasets else case.id
            flac = clip_of(*key) if firsts[-1][-1] else None
            groups[-1].append(AudioExample(title, _cut(case.prediction.reference), flac, ""))
    players = load_players(groups, most_characters=MOST_CHARACTERS, longest=LONGEST_CLIP)
    built = []
    for case_list, its_players, are_first in zip(lists, players, firsts, strict=True):
        parts = zip(case_list.cases, its_players, are_first, strict=True)
        cards = [Card(case, player, anchors[case.dataset, case.id], first) for case, player, first in parts]
        built.append(CardList(case_list.title, cards))
    return built


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"

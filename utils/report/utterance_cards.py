"""Utterances worth a look: the worst, those that improved or worsened most, and examples of every failure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from utils.evaluation.records import Prediction
from utils.report.labels import counted, shorten
from utils.report.page import Html, isolated, tag
from utils.report.players import AudioExample, Player, audio_element, load_players
from utils.report.word_differences import LONGEST_TEXT, mark_differences

CASES_IN_A_LIST, CASES_OF_A_FAILURE = 8, 3

MOST_CANDIDATES = 3  # models whose utterances are shown

LONGEST_CLIP = 15.0  # seconds; longer ones are cut

MOST_CHARACTERS = 3_900_000  # of all players as base64, so that the page stays below 5 MB

ClipOf = Callable[[str, str], bytes | None]


@dataclass(frozen=True)
class Case:
    """One utterance with what a candidate wrote, and the baseline where it was decoded too."""

    dataset: str
    id: str
    prediction: Prediction  # the candidate's
    before: Prediction | None  # the baseline's

    @property
    def errors(self) -> int:
        return self.prediction.normalized_errors

    @property
    def gain(self) -> int:
        """Errors fewer than the baseline's."""
        return self.before.normalized_errors - self.errors if self.before else 0


@dataclass(frozen=True)
class CaseList:
    """Utterances under one heading, the most telling first."""

    title: str
    cases: list[Case]


def join_cases(predictions: Iterable[Prediction], candidate: str, baseline: str | None) -> list[Case]:
    """The utterances of a candidate beside the baseline's, both in the full context where they have it."""
    of_model: dict[str | None, dict[tuple[str, str], Prediction]] = {candidate: {}, baseline: {}}
    for prediction in predictions:
        kept, key = of_model.get(prediction.model), (prediction.dataset, prediction.id)
        if kept is not None and (key not in kept or prediction.audio_context == "full"):
            kept[key] = prediction
    before = of_model[baseline]
    return [Case(*key, prediction, before.get(key)) for key, prediction in of_model[candidate].items()]


def pick_cases(cases: Sequence[Case]) -> list[CaseList]:
    """What is worth a look: most improved, most worsened, worst, and examples of every kind of failure."""
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


def build_cards(lists: Sequence[CaseList], clip_of: ClipOf, *, several_datasets: bool) -> list[Html]:
    """A list of cards for each list of cases; an utterance plays where it stands first.

    Args:
        lists: As `pick_cases` gives them.
        clip_of: (dataset, id) to 16 kHz mono FLAC, or None where there is no sound.
        several_datasets: Whether each card names its dataset.
    """
    shown: dict[tuple[str, str], tuple[str, AudioExample]] = {}  # where, and as what, it stands first
    groups: list[list[AudioExample]] = []
    for case_list in lists:
        groups.append([])
        for case in case_list.cases:
            key = (case.dataset, case.id)
            title = f"{case.id} · {shorten(case.dataset)}" if several_datasets else case.id
            flac = None if key in shown else clip_of(*key)
            groups[-1].append(AudioExample(title, None, flac, ""))
            shown.setdefault(key, (f"clip-{len(shown) + 1}", groups[-1][-1]))
    players = load_players(groups, most_characters=MOST_CHARACTERS, longest=LONGEST_CLIP)
    built = []
    for case_list, its_players in zip(lists, players, strict=True):
        pairs = zip(case_list.cases, its_players, strict=True)
        cards = [_card(case, player, *shown[case.dataset, case.id]) for case, player in pairs]
        built.append(tag("ul", *cards, class_="examples cards"))
    return built


def _card(case: Case, player: Player, anchor: str, first: AudioExample) -> Html:
    is_first = player.example is first
    length = f" · {case.prediction.duration:.1f} s"
    parts = [tag("p", isolated(player.example.title), length, class_="title"), audio_element(player)]
    if player.note:
        parts.append(tag("p", player.note, class_="detail"))
    if not is_first:
        parts.append(tag("p", tag("a", "Also shown further up", href=f"#{anchor}"), class_="detail"))
    parts += [tag("p", "reference, as given", class_="who"), _plain(case.prediction.reference)]
    for prediction in (case.before, case.prediction):
        if prediction is not None:
            parts += _hypothesis(prediction)
    return tag("li", *parts, **({"id": anchor} if is_first else {}))


def _hypothesis(prediction: Prediction) -> list[Html]:
    """Who wrote it, with how many errors, and its words against the reference's."""
    in_characters = prediction.measure == "cer"
    unit = "character error" if in_characters else "word error"
    name = tag(
        "span", isolated(shorten(prediction.model)), f": {counted(prediction.normalized_errors, unit)}"
    )
    kinds = [tag("span", kind, class_="chip") for kind in prediction.failures]
    who = tag("p", name, *kinds, class_="who")
    if not prediction.alignment:
        return [who, tag("p", "nothing was said, and nothing written", class_="detail")]
    return [who, mark_differences(prediction.alignment, between="" if in_characters else " ")]


def _plain(text: str) -> Html:
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    return tag("p", shown or "–", dir="auto", class_="text")

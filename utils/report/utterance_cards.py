"""Utterances worth a look: the worst, those that improved or worsened most, and examples of every failure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from utils.report.result_rows import shorten

from utils.report.page import Html, isolated, tag
from utils.report.players import AudioExample, Player, audio_element, load_players
from utils.report.word_differences import LONGEST_TEXT, mark_differences

CASES_IN_A_LIST, CASES_OF_A_FAILURE = 8, 3

MOST_CANDIDATES = 3  # models whose utterances are shown

LONGEST_CLIP = 15.0  # seconds; longer ones are cut

MOST_CHARACTERS = 3_900_000  # of all players as base64, so that the page stays below 5 MB

CARD_STYLE = """
.cards { grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
.cards .title { color: var(--ink); font-weight: 600; font-size: .9rem; }
.cards .who {
  display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .4rem;
  color: var(--soft); font-size: .82rem; margin: .6rem 0 .1rem;
}
.chip {
  display: inline-block; background: var(--warning); border: 1px solid var(--warning-line);
  border-radius: 1rem; padding: 0 .55rem; line-height: 1.45; color: var(--ink);
}
"""

ClipOf = Callable[[str, str], bytes | None]


def count_errors(line: dict) -> int:
    """Errors of a line of predictions.jsonl: of characters where that is the measure, else of words."""
    return line.get("normalized_errors", line["normalized_word_errors"])


@dataclass(frozen=True)
class Case:
    """One utterance with what a candidate wrote, and the baseline where it was decoded too."""

    dataset: str
    id: str
    prediction: dict  # the candidate's line of predictions.jsonl
    before: dict | None  # the baseline's

    @property
    def errors(self) -> int:
        return count_errors(self.prediction)

    @property
    def gain(self) -> int:
        """Errors fewer than the baseline's."""
        return count_errors(self.before) - self.errors if self.before else 0


@dataclass(frozen=True)
class CaseList:
    """Utterances under one heading, the most telling first."""

    title: str
    cases: list[Case]


def join_cases(predictions: Iterable[dict], candidate: str, baseline: str | None) -> list[Case]:
    """The utterances of a candidate beside the baseline's, both in the full context where they have it."""
    of_candidate: dict[tuple[str, str], dict] = {}
    of_baseline: dict[tuple[str, str], dict] = {}
    for line in predictions:
        kept = {candidate: of_candidate, baseline: of_baseline}.get(line["model"])
        key = (line["dataset"], line["id"])
        if kept is not None and (key not in kept or line["audio_context"] == "full"):
            kept[key] = line
    return [Case(*key, line, of_baseline.get(key)) for key, line in of_candidate.items()]


def pick_cases(cases: Sequence[Case]) -> list[CaseList]:
    """What is worth a look: most improved, most worsened, worst, and examples of every kind of failure."""
    improved = sorted((c for c in cases if c.gain > 0), key=lambda c: (-c.gain, c.dataset, c.id))
    worsened = sorted((c for c in cases if c.gain < 0), key=lambda c: (c.gain, c.dataset, c.id))
    by_errors = sorted(cases, key=lambda c: (-c.errors, c.dataset, c.id))
    worst = [case for case in by_errors if case.errors > 0]
    lists = [("Most worsened", worsened), ("Most improved", improved), ("Most errors", worst)]
    picked = [CaseList(title, found[:CASES_IN_A_LIST]) for title, found in lists if found]
    kinds = dict.fromkeys(kind for case in by_errors for kind in case.prediction.get("failures") or ())
    for kind in kinds:
        found = [case for case in by_errors if kind in (case.prediction.get("failures") or ())]
        picked.append(CaseList(f"Failure: {kind}", found[:CASES_OF_A_FAILURE]))
    return picked


def build_cards(lists: Sequence[CaseList], clip_of: ClipOf, *, several_datasets: bool) -> list[Html]:
    """A list of cards for each list of cases; an utterance plays where it stands first.

    Args:
        lists: As `pick_cases` gives them.
        clip_of: (dataset, id) to 16 kHz mono FLAC, or None where there is no sound.
        several_datasets: Whether each card names its dataset.
    """
    anchors: dict[tuple[str, str], str] = {}
    first: list[list[bool]] = []
    groups: list[list[AudioExample]] = []
    for case_list in lists:
        first.append([(case.dataset, case.id) not in anchors for case in case_list.cases])
        groups.append([])
        for case, is_first in zip(case_list.cases, first[-1], strict=True):
            anchors.setdefault((case.dataset, case.id), f"clip-{len(anchors) + 1}")
            title = f"{case.id} · {shorten(case.dataset)}" if several_datasets else case.id
            flac = clip_of(case.dataset, case.id) if is_first else None
            groups[-1].append(AudioExample(title, None, flac, ""))
    players = load_players(groups, most_characters=MOST_CHARACTERS, longest=LONGEST_CLIP)
    built = []
    for case_list, its_players, its_first in zip(lists, players, first, strict=True):
        cards = [
            _card(case, player, anchors[case.dataset, case.id], shown_first)
            for case, player, shown_first in zip(case_list.cases, its_players, its_first, strict=True)
        ]
        built.append(tag("ul", *cards, class_="examples cards"))
    return built


def _card(case: Case, player: Player, anchor: str, is_first: bool) -> Html:
    seconds = case.prediction.get("duration")
    length = f" · {seconds:.1f} s" if seconds is not None else ""
    parts = [tag("p", isolated(player.example.title), length, class_="title"), audio_element(player)]
    if player.note:
        parts.append(tag("p", player.note, class_="detail"))
    if not is_first:
        parts.append(tag("p", tag("a", "Also shown further up", href=f"#{anchor}"), class_="detail"))
    parts += [tag("p", "reference, as given", class_="who"), _plain(case.prediction["reference"])]
    for line in (case.before, case.prediction):
        if line is not None:
            parts += _hypothesis(line)
    return tag("li", *parts, **({"id": anchor} if is_first else {}))


def _hypothesis(line: dict) -> list[Html]:
    """Who wrote it, with how many errors, and its words against the reference's."""
    errors, alignment, measure = count_errors(line), line.get("alignment"), line.get("measure", "wer")
    unit = "character" if measure == "cer" else "word"
    count = f"{errors:,} {unit} error{'' if errors == 1 else 's'}"
    kinds = [tag("span", kind, class_="chip") for kind in line.get("failures") or ()]
    who = tag("p", tag("span", isolated(shorten(line["model"])), f": {count}"), *kinds, class_="who")
    if alignment is None:
        return [who, _plain(line["hypothesis"])]
    if not alignment:
        return [who, tag("p", "nothing was said, and nothing written", class_="detail")]
    return [who, mark_differences(alignment, between="" if measure == "cer" else " ")]


def _plain(text: str) -> Html:
    shown = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    return tag("p", shown or "–", dir="auto", class_="text")

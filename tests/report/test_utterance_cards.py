"""Which utterances are shown, and that each plays once."""

from tests.support.made_up_results import BASE, TUNED, build_prediction
from tests.support.pages import tone
from utils.evaluation.records import Prediction
from utils.report.utterance_cards import (
    CASES_IN_A_LIST,
    CASES_OF_A_FAILURE,
    build_cards,
    join_cases,
    pick_cases,
)
from utils.report.word_differences import LONGEST_TEXT


def picked(lines: list[Prediction], baseline: str | None = BASE) -> dict[str, list[str]]:
    lists = pick_cases(join_cases(lines, TUNED, baseline))
    return {one.title: [case.id for case in one.cases] for one in lists}


def test_the_full_context_counts():
    lines = [build_prediction(1, TUNED, 4, audio_context="dynamic"), build_prediction(1, TUNED, 2)]
    lines += [
        build_prediction(1, TUNED, 5, audio_context="dynamic"),
        build_prediction(2, TUNED, 3, audio_context="dynamic"),
    ]
    cases = join_cases([build_prediction(1, BASE, 3), *lines, build_prediction(1, "other", 0)], TUNED, BASE)
    assert [(case.id, case.errors, case.gain) for case in cases] == [("clip 1", 2, 1), ("clip 2", 3, 0)]
    assert cases[1].before is None


def test_lists_begin_with_the_largest_change():
    lines = [build_prediction(n, BASE, before) for n, before in enumerate((0, 6, 3, 2))]
    lines += [build_prediction(n, TUNED, after) for n, after in enumerate((5, 0, 1, 2))]
    assert picked(lines) == {
        "Most worsened": ["clip 0"],
        "Most improved": ["clip 1", "clip 2"],
        "Most errors": ["clip 0", "clip 3", "clip 2"],
    }
    assert list(picked(lines, None)) == ["Most errors"]


def test_characters_decide_where_they_are_the_measure():
    lines = [
        build_prediction(n, TUNED, 1, measure="cer", normalized_errors=errors)
        for n, errors in ((1, 2), (2, 6))
    ]
    assert picked(lines, None) == {"Most errors": ["clip 2", "clip 1"]}


def test_a_failure_is_shown_also_where_no_word_is_wrong():
    lines = [build_prediction(n, TUNED, 0, failures=["no casing"]) for n in range(5)]
    assert picked(lines) == {"Failure: no casing": ["clip 0", "clip 1", "clip 2"]}
    assert CASES_OF_A_FAILURE == 3 and picked([]) == {}


def test_lists_are_limited():
    lines = [build_prediction(n, TUNED, 1 + n % 5) for n in range(100)]
    assert len(picked(lines)["Most errors"]) == CASES_IN_A_LIST


def test_the_same_name_in_two_datasets_is_two_utterances():
    lines = [
        build_prediction(1, TUNED, 2, dataset=name, failures=["loop"]) for name in ("data/it", "data/en")
    ]
    asked = []
    lists = pick_cases(join_cases(lines, TUNED, None))
    flac = tone(0.5)
    cards = build_cards(lists, lambda *key: asked.append(key) or flac, several_datasets=True)
    assert sorted(asked) == [("data/en", "clip 1"), ("data/it", "clip 1")]
    assert [one.title for one in cards] == ["Most errors", "Failure: loop"]
    shown = [card for one in cards for card in one.cards]
    assert [card.is_first for card in shown] == [True, True, False, False]
    assert [card.player.audio is not None for card in shown] == [True, True, False, False]
    assert [card.anchor for card in shown] == ["clip-1", "clip-2", "clip-1", "clip-2"]
    assert shown[0].player.example.title == "clip 1 · data/en"


def test_a_long_reference_is_cut():
    lines = [build_prediction(1, TUNED, 1, reference="a" * 5000), build_prediction(2, TUNED, 1)]
    (worst,) = build_cards(
        pick_cases(join_cases(lines, TUNED, None)), lambda *_: None, several_datasets=False
    )
    assert [card.player.example.text for card in worst.cards] == [
        "a" * LONGEST_TEXT + "…",
        "Parola2 due tre quattro cinque sei.",
    ]

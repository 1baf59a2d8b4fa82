"""Causes of errors in texts written by hand; the counts are counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.scoring.error_causes import ERROR_CAUSES, count_causes
from utils.scoring.failures import FAILURE_KINDS, find_failures
from utils.scoring.word_alignment import align_words


def causes_of(*pairs: tuple[str, str], language: str | None = "it", measure: str = "wer") -> dict[str, int]:
    """Counts above 0 for pairs of a reference and a hypothesis."""
    alignments = [align_words(*pair, "char" if measure == "cer" else "word") for pair in pairs]
    kinds = [
        find_failures(*pair, edits, language, measure) for pair, edits in zip(pairs, alignments, strict=True)
    ]
    return {cause: count for cause, count in count_causes(alignments, kinds).items() if count}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("Buongiorno a tutti.", "Buongiorno a tutti.", {}),
        ("Buongiorno a tutti.", "buongiorno a tutti", {"case or punctuation": 2}),
        ("Sì, grazie.", "si GRAZIE!", {"other": 1, "case or punctuation": 1}),  # an accent is spelling
        ("grazie", "grazie a lei –", {"insertion": 2, "case or punctuation": 1}),
        ("grazie a lei", "Grazie", {"case or punctuation": 1, "other": 2}),  # words that are missing
        ("uno", "uno due" + " tre" * 12, {"loop": 13}),  # all errors of the clip
        (
            "Il numero chiamato non è al momento raggiungibile, la preghiamo di riprovare.",
            "The number you called cannot be reached, please try again later.",
            {"wrong language": 12},
        ),
        ("", "Grazie a tutti", {"insertion": 3}),
    ],
)
def test_each_error_has_one_cause(reference, hypothesis, expected):
    assert causes_of((reference, hypothesis)) == expected


def test_a_text_in_another_script_counts_as_another_language():
    assert causes_of(("привет как дела", "privet kak dela"), language="ru") == {"wrong language": 3}


def test_the_first_cause_that_applies_counts():
    """A loop in another script is a loop; a failed decoder comes before missing words."""
    edits = [align_words("привет", "privet privet"), align_words("Ciao a tutti", "")]
    found = count_causes(edits, [["loop", "wrong script"], ["decoder error"]])
    assert (found["loop"], found["decoder error"]) == (2, 3) and sum(found.values()) == 5


def test_characters_are_counted_where_characters_are_aligned():
    found = causes_of(("請再說一次。", "請再說二次謝謝"), language="zh", measure="cer")
    assert found == {"other": 2, "insertion": 1}  # 一 → 二, 。→ 謝, and one 謝 more


@given(
    st.lists(st.tuples(st.text("aA .,bé", max_size=20), st.text("aA .,bé", max_size=20)), max_size=5),
    st.lists(st.sampled_from(list(FAILURE_KINDS)), max_size=3),
)
def test_causes_add_up_to_all_errors(pairs, kinds):
    alignments = [align_words(*pair) for pair in pairs]
    errors = sum(edit.operation != "equal" for edits in alignments for edit in edits)
    found = count_causes(alignments, [kinds] * len(pairs))
    assert sum(found.values()) == errors and list(found) == list(ERROR_CAUSES)

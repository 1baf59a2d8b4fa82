"""Differences between texts, as elements of a page."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.pages import HOSTILE, RIGHT_TO_LEFT, Page
from utils.report.page import make_environment
from utils.report.word_differences import LONGEST_RUN, LONGEST_TEXT, list_passages
from utils.scoring.word_alignment import Edit

words = st.text(min_size=1, max_size=5)
equal = words.map(lambda word: Edit("equal", word, word))
substitute = st.tuples(words, words).map(lambda pair: Edit("substitute", *pair))
MACROS = make_environment().get_template("macros.html").module
one_sided = words.flatmap(
    lambda word: st.sampled_from([Edit("insert", None, word), Edit("delete", word, None)])
)


def mark_differences(alignment: list[Edit], between: str = " ") -> str:
    return MACROS.differences(list_passages(alignment, between), between)


def test_runs_are_marked_together_and_substitutions_one_by_one():
    alignment = [
        Edit("equal", "a", "a"),
        Edit("equal", "b", "b"),
        Edit("delete", "c", None),
        Edit("delete", "d", None),
    ]
    alignment += [Edit("substitute", "e", "f"), Edit("substitute", "g", "h"), Edit("insert", None, "i")]
    assert mark_differences(alignment) == (
        '<p class="text differences" dir="auto"><span>a b</span> <del>c d</del> '
        '<span class="swapped"><del>e</del> <ins>f</ins></span> '
        '<span class="swapped"><del>g</del> <ins>h</ins></span> <ins>i</ins> </p>'
    )


def test_foreign_words_are_only_text():
    page = Page(mark_differences([Edit("substitute", HOSTILE, RIGHT_TO_LEFT)]))
    assert not page.find("script") and not page.find("img")
    assert "document.title" in "".join(page.texts) and RIGHT_TO_LEFT in "".join(page.texts)


def test_a_loop_is_cut_and_counted():
    page = Page(mark_differences([Edit("insert", None, "eco")] * 300))
    text = "".join(page.texts)
    assert text.count("eco") == LONGEST_RUN and f"… {300 - LONGEST_RUN} more words" in text


def test_characters_stand_together():
    alignment = [Edit("equal", "ก", "ก"), Edit("equal", "ิ", "ิ"), Edit("insert", None, "น")]
    page = Page(mark_differences(alignment, between=""))
    assert "".join(page.texts) == "กิน"


@given(st.lists(st.one_of(equal, substitute, one_sided), max_size=400))
def test_every_text_stays_short_and_whole_where_it_is_short(alignment):
    page = Page(mark_differences(alignment))
    assert len("".join(page.texts)) < 2 * LONGEST_TEXT + 400
    if len(alignment) <= LONGEST_RUN:
        changed = sum(op in ("substitute", "delete") for op, *_ in alignment)
        assert sum("del" in tag for tag, _ in page.elements) <= changed
        assert "more words" not in "".join(page.texts)


def test_the_legend_shows_all_three():
    page = Page(MACROS.differences_legend())
    assert len(page.find("li")) == 3 and len(page.find("del")) == len(page.find("ins")) == 2

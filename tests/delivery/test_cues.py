"""utils/delivery/cues.py: words to cues of readable lines, and the speech that no word covers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.support.spoken_words import layouts, spoken, texts_of, words_at
from utils.audio.voice_activity import SpeechSpan
from utils.delivery.cues import Layout, break_lines, cut_cues, stay_readable, uncovered_speech, width_of
from utils.delivery.transcript import Cue, Word

WIDE = Layout(42, 2, 20.0)
ROUNDING = 1e-9

quick = settings(max_examples=150, deadline=None)


def texts(words, layout=WIDE) -> list[str]:
    return [cue.text for cue in cut_cues(words, layout)]


# ---- any words ---------------------------------------------------------------------------------------------


@quick
@given(spoken(), layouts(), st.sampled_from([None, "loop"]))
def test_every_word_is_in_one_cue_and_every_cue_fits(words, layout, doubt):
    cues = cut_cues(words, layout, doubt)
    assert [word for cue in cues for word in cue.words] == words
    for cue in cues:
        assert (cue.start, cue.end, cue.doubt) == (cue.words[0].start, cue.words[-1].end, doubt)
        lines = break_lines(cue.words, layout.beside_mark(doubt))
        assert len(cue.words) == 1 or (len(lines) <= layout.lines and cue.end - cue.start <= 7.0)
        pauses = [after.start - before.end for before, after in itertools.pairwise(cue.words)]
        assert all(pause <= 1.0 for pause in pauses)
    for cue, after in itertools.pairwise(cues):
        assert cue.end <= after.start


@quick
@given(spoken(min_size=1), layouts())
def test_lines_hold_all_words_and_only_a_word_alone_is_wider(words, layout):
    lines = break_lines(words, layout)
    assert "".join("".join(lines).split()) == "".join("".join(texts_of(words)).split())
    alone = {word.text.strip() for word in words}
    assert all(line in alone or width_of(line) <= layout.line_width for line in lines)
    assert all(line == line.strip() and line for line in lines)


@quick
@given(spoken(min_size=1), layouts())
def test_cues_stay_as_long_as_they_need_if_there_is_time(words, layout):
    cues, duration = cut_cues(words, layout), words[-1].end + 0.5
    shown = stay_readable(cues, layout, duration)
    assert [(cue.start, cue.words) for cue in shown] == [(cue.start, cue.words) for cue in cues]
    latest = [*(cue.start - 0.08 for cue in cues[1:]), duration]
    for cue, before, until in zip(shown, cues, latest, strict=True):
        needed = max(1.0, width_of(cue.text) / layout.reading_speed)
        assert before.end <= cue.end <= max(before.end, until)
        assert cue.end - cue.start >= min(needed, until - cue.start) - ROUNDING
        assert cue.end == before.end or cue.end - cue.start <= needed + ROUNDING


@quick
@given(st.text("aé日ﾊｶ한e\u0301\u0302न्दﬁ", max_size=20))
def test_widths_are_those_of_a_terminal(text):
    """Each text begins with a letter: rich counts a mark at the very beginning as a column."""
    assert width_of(f"a{text}") == cell_len(f"a{text}")


# ---- by hand -----------------------------------------------------------------------------------------------


def test_no_words_no_cues():
    assert cut_cues([], WIDE) == [] and stay_readable([], WIDE, 5.0) == []


def test_cues_end_with_sentences():
    words = words_at("Buongiorno a tutti. Oggi parliamo di treni. Domani no.", seconds=0.6)
    assert texts(words) == ["Buongiorno a tutti.", "Oggi parliamo di treni.", "Domani no."]


def test_sentences_too_short_to_be_seen_share_a_cue():
    assert texts(words_at("Sì. No.", seconds=0.2)) == ["Sì. No."]
    assert texts(words_at("Sì. No.", seconds=1.2)) == ["Sì.", "No."]


def test_a_long_sentence_is_cut_after_a_clause():
    text = "Quando il treno arriva in stazione, i viaggiatori scendono tutti insieme e vanno verso l'uscita."
    assert texts(words_at(text, seconds=0.4)) == [
        "Quando il treno arriva in stazione,",
        "i viaggiatori scendono tutti insieme e vanno verso l'uscita.",
    ]


def test_a_long_sentence_without_a_comma_is_cut_at_a_pause():
    first, second = "uno due tre quattro cinque sei", "sette otto nove dieci undici dodici"
    words = [*words_at(first, seconds=0.5), *words_at(second, start=3.4, seconds=0.5)]
    assert texts(words, Layout(40, 1, 20.0)) == [first, second]
    earlier = [*words[:5], *words_at(f"sei {second}", start=2.9, seconds=0.5)]
    assert texts(earlier, Layout(40, 1, 20.0)) == ["uno due tre quattro cinque", f"sei {second}"]


@pytest.mark.parametrize(("pause", "number"), [(1.0, 1), (1.01, 2)])
def test_no_cue_contains_a_pause_of_over_a_second(pause, number):
    words = [Word(" uno", 0.0, 1.0), Word(" due", 1.0 + pause, 2.0 + pause)]
    assert len(cut_cues(words, WIDE)) == number


@pytest.mark.parametrize(("seconds", "number"), [(3.5, 1), (3.6, 2)])
def test_no_cue_of_several_words_is_longer_than_seven_seconds(seconds, number):
    assert len(cut_cues(words_at("uno due", seconds=seconds), WIDE)) == number
    assert len(cut_cues(words_at("uno", seconds=9.0), WIDE)) == 1


def test_quick_speech_gets_cues_that_can_be_read():
    """40 characters in a second would need two; so the next cue begins later where it can."""
    words = [*words_at("uno due tre quattro cinque sei sette otto.", seconds=0.1), Word(" nove.", 4.0, 4.5)]
    (first, second) = stay_readable(cut_cues(words, WIDE), WIDE, 10.0)
    assert first.end == pytest.approx(42 / 20) and second.end == 5.0


def test_a_cut_gives_quick_speech_the_longer_time():
    """Either cut is after a comma; 30 characters in a second are too many, 41 in 3.5 s are not."""
    quick_part, middle = words_at("abcdefghi abcdefghi abcdefghi,", seconds=1 / 3), "abcdefghi,"
    words = [*quick_part, Word(f" {middle}", 1.0, 3.5), *words_at("abcdefghi abcdefghi abcdefghi.", 3.5, 0.8)]
    assert texts(words, Layout(42, 1))[0].endswith(f"abcdefghi, {middle}")
    assert texts(words, Layout(42, 1, 40.0))[0].endswith("abcdefghi abcdefghi,")


def test_a_cue_ends_before_the_next_and_with_the_recording():
    cues = [Cue(0.0, 0.2, [Word(" a", 0.0, 0.2)]), Cue(0.6, 0.7, [Word(" b", 0.6, 0.7)])]
    assert [cue.end for cue in stay_readable(cues, WIDE, 1.0)] == pytest.approx([0.52, 1.0])
    assert [cue.end for cue in stay_readable(cues, WIDE, 0.7)] == pytest.approx([0.52, 0.7])


def test_lines_are_as_few_as_fit_and_of_like_length():
    text = "uno due tre quattro cinque sei sette otto nove"  # 46 columns
    assert break_lines(words_at(text), WIDE) == ["uno due tre quattro cinque", "sei sette otto nove"] or (
        break_lines(words_at(text), WIDE) == ["uno due tre quattro", "cinque sei sette otto nove"]
    )
    assert break_lines(words_at(text), Layout(46)) == [text]
    assert len(break_lines(words_at(text), Layout(45))) == 2


def test_a_line_ends_rather_after_a_clause():
    """The squares of 17 and 17 columns are less than those of 14 and 20."""
    layout = Layout(30)
    assert break_lines(words_at("abbiamo detto, di no e adesso basta"), layout)[0] == "abbiamo detto,"
    assert break_lines(words_at("abbiamo detto. di no e adesso basta"), layout)[0] == "abbiamo detto. di"


def test_a_word_wider_than_a_line_is_alone():
    long = "precipitevolissimevolmente"
    assert break_lines(words_at(f"va {long} via"), Layout(10)) == ["va", long, "via"]
    assert texts(words_at(f"va {long} via"), Layout(10, 3)) == [f"va {long} via"]
    assert texts(words_at(f"va {long} via"), Layout(10, 1)) == ["va", long, "via"]


def test_wide_characters_count_twice_and_have_no_space_between_words():
    words = [Word(character, 0.3 * n, 0.3 * n + 0.3) for n, character in enumerate("今日は天気がいい")]
    assert break_lines(words, Layout(16)) == ["今日は天気がいい"]
    assert break_lines(words, Layout(15)) == ["今日は天", "気がいい"]
    assert texts(words, Layout(15, 1)) != ["今日は天気がいい"]
    assert texts(words, Layout(16, 1)) == ["今日は天気がいい"]


def test_marks_have_no_width():
    assert width_of("e\u0301") == 1 and width_of("नमस्ते") == cell_len("नमस्ते")


def test_the_mark_of_a_doubt_needs_four_columns():
    words = words_at("abcd efgh ij")  # 12 columns
    assert len(cut_cues(words, Layout(12, 1))) == 1
    assert len(cut_cues(words, Layout(12, 1), "loop")) == 2
    assert len(cut_cues(words, Layout(16, 1), "loop")) == 1


# ---- speech without words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speech", "words", "seconds"),
    [
        ([], [], 0.0),
        ([], [(1, 2)], 0.0),
        ([(0, 1.2)], [], 1.2),
        ([(0, 1.0)], [], 1.0),
        ([(0, 0.9), (2, 2.9)], [], 0.0),  # two short ones
        ([(0, 10)], [(2, 3), (3.2, 4)], 1.5 + 5.5),
        ([(0, 10)], [(0.5, 3), (5.0, 9.9)], 1.0),  # 3.5 to 4.5
        ([(0, 10)], [(0.5, 3), (4.9, 9.9)], 0.0),
        ([(0, 3), (5, 9)], [(3.2, 3.4)], 2.7 + 4.0),  # a word in the pause
        ([(0, 3), (5, 9)], [(4.4, 4.7)], 3.0 + 3.8),
        ([(0, 3), (5, 9), (20, 30)], [(0, 9), (25, 26)], 4.5 + 3.5),
        ([(0, 6)], [(0, 5.9), (1, 2)], 0.0),  # a word within another
    ],
)
def test_speech_without_a_word_is_counted_from_half_a_second_beside_words(speech, words, seconds):
    spans = [SpeechSpan(*span) for span in speech]
    assert uncovered_speech(spans, [Word(" x", *times) for times in words]) == pytest.approx(seconds)

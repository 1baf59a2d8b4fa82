"""Segmentation: what is joined, where it is parted, what is refused, and that no text is lost or doubled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.data.segmentation.joining import join_pieces
from utils.data.segmentation.overlaps import OVERLAP_TOLERANCE
from utils.data.segmentation.pieces import BadPiece, Piece, Segment, join_texts, segment_problem
from utils.data.utterance import TimedText
from utils.runtime.problems import Problem


def join(
    pieces: list[Piece | BadPiece],
    target: float = 0.0,
    longest: float = 30.0,
    gap: float = 1.0,
    shortest: float = 0.0,
    padding: float = 0.0,
) -> list[Segment | BadPiece]:
    options = {"target_duration": target, "max_duration": longest, "max_gap": gap}
    return list(join_pieces(pieces, **options, min_duration=shortest, padding=padding))


def pieces(*rows: tuple) -> list[Piece | BadPiece]:
    """Pieces of (start, end, text) or (start, end, text, speaker), numbered from 1."""
    return [Piece(number, *row) for number, row in enumerate(rows, start=1)]


def spans(items: list[Segment | BadPiece]) -> list[tuple[float | None, float | None]]:
    return [(item.start, item.end) for item in items]


def test_without_a_target_each_piece_is_a_segment():
    assert join(pieces((0, 1.5, "ciao"), (1.5, 3, "bella gente"))) == [
        Segment(1, 0, 1.5, "ciao", None, (TimedText(0, 1.5, "ciao"),), None),
        Segment(2, 1.5, 3, "bella gente", None, (TimedText(0, 1.5, "bella gente"),), "ciao"),
    ]


def test_joined_pieces_keep_their_texts_and_times():
    (segment,) = join(pieces((10.1, 12, "ciao", "Anna"), (12.5, 15, "come va", "Anna")), target=25)
    assert segment == Segment(
        1,
        10.1,
        15,
        "ciao come va",
        "Anna",
        (TimedText(0, 1.9, "ciao"), TimedText(2.4, 4.9, "come va")),
        None,
    )


def test_nothing_is_joined_over_a_long_pause_another_speaker_or_a_reject():
    found = join(
        [
            *pieces((0, 1, "a", "Anna"), (2.01, 3, "b", "Anna"), (3, 4, "c", "Bruno"), (4, 5, "d", "Anna")),
            BadPiece(5, Problem("no speech", "music"), 5, 6),
            Piece(6, 6, 7, "e", "Anna"),
        ],
        target=25,
    )
    assert spans(found) == [(0, 1), (2.01, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert [item.previous_text for item in found if isinstance(item, Segment)] == [None, "a", "b", "c", None]


def test_a_run_is_parted_at_the_longest_pause_near_the_target():
    # ten pieces of 3 s; pauses of 0.1 s but one of 0.8 s after the sixth: 18.5 s fit before it
    rows, start = [], 0.0
    for number in range(10):
        rows.append((round(start, 1), round(start + 3, 1), f"w{number}"))
        start += 3.8 if number == 5 else 3.1
    first, second = join(pieces(*rows), target=25)
    assert first.text == "w0 w1 w2 w3 w4 w5" and second.text == "w6 w7 w8 w9"
    assert second.previous_text == first.text


def test_no_short_rest_is_left_where_it_would_be_rejected():
    # 10 s and 10 s and 0.3 s, target 20.2: parted after the first piece, not before the last
    found = join(pieces((0, 10, "a"), (10, 20, "b"), (20, 20.3, "c")), target=20.2, shortest=0.5)
    assert [item.text for item in found if isinstance(item, Segment)] == ["a", "b c"]


def test_pieces_out_of_order_are_sorted():
    found = join(pieces((5, 6, "due"), (0, 1, "uno")))
    assert [item.text for item in found if isinstance(item, Segment)] == ["uno", "due"]


def test_a_reject_without_times_stays_behind_what_came_before_it():
    given_items = [*pieces((3, 4, "b")), BadPiece(2, Problem("malformed line", "x")), Piece(3, 0, 1, "a")]
    assert [item.position for item in join(given_items)] == [3, 1, 2]


def test_two_speakers_at_once_are_both_rejected():
    late = 7 - OVERLAP_TOLERANCE
    rows = [(0, 5, "a", "Anna"), (4, 6, "b", "Bruno"), (6, 7, "c", "Anna"), (late, 9, "d", "Bruno")]
    found = join(pieces(*rows))
    assert [type(item) for item in found] == [BadPiece, BadPiece, Segment, Segment]
    assert "overlapping speech: 0 to 5 s while 'Bruno' speaks (4 to 6 s)" in str(found[0].problem)
    assert "'Anna'" in str(found[1].problem)


def test_a_short_remark_within_a_long_turn_rejects_both_and_nothing_else():
    rows = [(0, 10, "a", "Anna"), (2, 3, "b", "Bruno"), (4, 5, "c", "Anna"), (10, 11, "d", "Bruno")]
    assert [isinstance(item, Segment) for item in join(pieces(*rows))] == [False, False, True, True]


def test_loose_borders_of_one_speaker_are_kept():
    named = pieces((0, 2, "a", "Anna"), (1.5, 3, "b", "Anna"))
    assert spans(join(named)) == [(0, 2), (1.5, 3)]
    (joined,) = join(named, target=25)
    assert joined.segments == (TimedText(0, 2, "a"), TimedText(1.5, 3, "b"))


def test_what_ends_last_counts_where_one_piece_lies_within_another():
    """Of one speaker, whose remark is timed within a long turn: pauses begin where the turn ends."""
    turn, remark = (0, 10, "a", "Anna"), (2, 3, "b", "Anna")
    (joined,) = join(pieces(turn, remark, (10.5, 12, "c", "Anna")), target=25)  # 0.5 s, not 7.5 s
    assert (joined.start, joined.end, joined.text) == (0, 12, "a b c")
    # together they last 10 s, not 3 s
    assert spans(join(pieces(turn, remark), target=9)) == [(0, 10), (2, 3)]
    # parted at the pause of 0.3 s before d: there is none before c
    first, second = join(pieces(turn, remark, (10, 15, "c", "Anna"), (15.3, 22, "d", "Anna")), target=20)
    assert (first.text, second.text) == ("a b c", "d")
    # half of the pause from 10 to 11 s
    assert spans(join(pieces(turn, remark, (11, 12, "c", "Anna")), padding=2))[2] == (10.5, 12)


def test_loose_borders_without_speakers_are_kept():
    # 0.2 s, and 0.4 s of 1.6 s, which is a quarter
    assert spans(join(pieces((0, 0.6, "a"), (0.4, 2, "b"), (1.6, 4, "c")))) == [(0, 0.6), (0.4, 2), (1.6, 4)]


def test_two_texts_at_once_without_speakers_are_both_rejected():
    rows = [(0, 4, "a"), (2, 6, "b"), (6, 8, "c"), (8, 10, "d"), (8.5, 9, "e"), (10, 14, "f"), (13, 16, "g")]
    found = join(pieces(*rows))
    # 2 s of 4, 0.5 s of 0.5, 1 s of 3
    assert [item.position for item in found if isinstance(item, Segment)] == [3]
    assert str(found[0].problem) == (
        "overlapping speech: 0 to 4 s overlaps another text (2 to 6 s); correct the times"
    )
    assert "(0 to 4 s)" in str(found[1].problem)


def test_lines_that_stay_on_the_screen_end_where_the_next_begins():
    rows = [(0, 4.2, "a"), (2, 6.2, "b"), (4, 8.2, "c"), (6, 10.2, "d"), (20, 24.2, "e")]
    assert spans(join(pieces(*rows))) == [(0, 2), (2, 4), (4, 6), (6, 10.2), (20, 24.2)]


def test_a_line_within_another_is_rejected_with_it_where_most_stay_on_the_screen():
    rows = [(0, 4.2, "a"), (2, 6.2, "b"), (4, 8.2, "c"), (6, 10.2, "d"), (10, 14, "e"), (11, 12, "f")]
    found = join(pieces(*rows))
    assert [item.position for item in found if isinstance(item, Segment)] == [1, 2, 3, 4]


def test_texts_in_two_languages_are_not_taken_for_lines_that_stay():
    rows = [(n, n + 1, f"{language}{n}") for n in range(5) for language in ("it", "en")]
    assert not any(isinstance(item, Segment) for item in join(pieces(*rows)))


def test_a_credit_over_the_whole_film_takes_nothing_with_it():
    found = join(pieces((0, 100, "subtitles by x"), (2, 4, "a"), (5, 7, "b")))
    assert [item.position for item in found if isinstance(item, Segment)] == [
        1,
        2,
        3,
    ]  # its sound is too long


def test_a_repeated_piece_is_rejected():
    first, second = join(pieces((0, 2, "a"), (0, 2, "a")))
    assert (
        isinstance(first, Segment) and str(second.problem) == "repeated piece: the same times and text as 1"
    )


def words(*rows: tuple[float, float, str]) -> tuple[TimedText, ...]:
    return tuple(TimedText(*row) for row in rows)


def test_a_long_piece_is_cut_at_the_widest_pause_near_its_middle():
    timed = words((0, 2, "uno"), (9, 14, " due"))
    timed += words((14.5, 19, " tre"), (22, 24, " quattro"), (24, 40, " cinque"))
    first, second = join([Piece(1, 0, 40, "uno due tre quattro cinque", "Anna", timed)])
    # pauses: 7 s at 5.5 (too near the start), 0.5 s at 14.25, 3 s at 20.5, 0 s at 24; middle half 10 to 30
    assert (first.start, first.end, first.text) == (0, 19, "uno due tre")
    assert (second.start, second.end, second.text) == (22, 40, "quattro cinque")
    assert second.previous_text == first.text and second.speaker == "Anna"


def test_the_middle_half_of_a_long_piece_reaches_to_its_quarters():
    # middle half 10 to 30 s; pauses: 3 s at 13, 0.5 s at 19.75, 4 s at 32
    timed = words((0, 11.5, "uno"), (14.5, 19.5, " due"), (20, 30, " tre"), (34, 40, " quattro"))
    first, second = join([Piece(1, 0, 40, "uno due tre quattro", "Anna", timed)])
    assert (first.text, second.text) == ("uno", "due tre quattro")
    assert (first.end, second.start) == (11.5, 14.5)


def test_a_long_piece_without_words_stays_whole_and_alone():
    """Its silence may be cut off, or its text be aligned, once the sound is there."""
    found = join(pieces((0, 2, "uno"), (2.5, 32.51, "due"), (33, 35, "tre")), target=30.0, padding=0.2)
    assert [(item.start, item.end, item.text) for item in found] == [
        (0.0, 2.2, "uno"),
        (2.5, 32.51, "due"),
        (32.8, 35, "tre"),
    ]


def test_a_long_piece_of_one_long_word_says_what_to_do():
    (item,) = join([Piece(1, 0, 40, "ciao", None, words((0, 40, "ciao")))])
    assert str(item.problem).startswith("segment too long: 40 s") and "no pause between" in str(item.problem)


def test_limits_are_kept_exactly():
    # 1.6 - 1.1 is 0.50000000000000011 and 0.8 - 0.3 exactly 0.5 only after rounding
    found = join(pieces((0.3, 0.8, "b"), (1.1, 1.6, "a"), (5.7, 35.7, "c")), shortest=0.5)
    assert all(isinstance(item, Segment) for item in found)
    (item,) = join(pieces((0, 0.49, "a")), shortest=0.5)
    assert str(item.problem) == "segment too short: 0.49 s, expected at least 0.5 s"


def test_padding_reaches_into_pauses_and_no_further():
    found = join(pieces((0.2, 1, "a"), (1.3, 2, "b"), (2, 3, "c"), (10, 12, "d")), padding=0.25)
    assert spans(found) == [
        (0.0, pytest.approx(1.15)),  # the start of the recording; half of 0.3 s
        (pytest.approx(1.15), 2),
        (2, 3.25),
        (9.75, 12),  # the recording may end at 12 s
    ]
    assert found[0].segments == (TimedText(0.2, 1.0, "a"),)
    (full,) = join(pieces((1, 31, "a")), padding=0.5)
    assert spans([full]) == [(1, 31)]


def test_texts_are_joined_as_their_script_joins_words():
    assert join_texts(["ciao", "bella"]) == "ciao bella"
    assert join_texts(["今日は", "いい天気", "Tokyo です。", "はい"]) == "今日はいい天気 Tokyo です。はい"
    assert join_texts(["안녕", "세상"]) == "안녕 세상"


def test_segment_beyond_the_audio():
    assert segment_problem(0.0, 9.9, 10.0) is None
    assert segment_problem(9.0, 10.04, 10.0) is None  # rounded to a tenth
    assert "beyond the end" in str(segment_problem(9.0, 10.2, 10.0))
    assert "beyond the end" in str(segment_problem(10.0, 10.04, 10.0))
    assert "end not after start" in str(segment_problem(3.0, 2.0, 1.0))


@st.composite
def transcripts(draw) -> list[Piece | BadPiece]:
    """Pieces in any order, some overlapping, some too long, some with words, some rejects between them."""
    items: list[Piece | BadPiece] = []
    for number in range(draw(st.integers(0, 12))):
        start = draw(st.integers(0, 3000)) / 20
        if draw(st.integers(0, 9)) == 0:
            items.append(BadPiece(number, Problem("no speech", "x"), draw(st.sampled_from([None, start]))))
            continue
        speaker = draw(st.sampled_from([None, "Anna", "Bruno"]))
        lengths = draw(st.lists(st.integers(0, 100), min_size=1, max_size=12).filter(any))
        pauses = draw(st.lists(st.integers(0, 40), min_size=len(lengths), max_size=len(lengths)))
        timed, time = [], start
        for index, (length, pause) in enumerate(zip(lengths, pauses, strict=True)):
            end = time + length / 20
            timed.append(TimedText(time, end, f"{' ' if index else ''}{number}.{index}"))
            time = end + pause / 20
        end = timed[-1].end
        if end <= start:
            continue
        text = "".join(word.text for word in timed)
        items.append(Piece(number, start, end, text, speaker, tuple(timed) if draw(st.booleans()) else ()))
    return items


@given(
    transcripts(),
    st.sampled_from([0.0, 3.0, 12.5, 25.0]),
    st.sampled_from([5.0, 30.0]),
    st.sampled_from([0.0, 0.5, 5.0]),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([0.0, 0.2, 2.0]),
)
def test_any_transcript(items, target, longest, gap, shortest, padding):
    found = join(items, target, longest, gap, shortest, padding)
    segments = [item for item in found if isinstance(item, Segment)]

    # no text is lost or doubled: each word is in one segment, or in a piece that is rejected
    spoken = [word for segment in segments for word in segment.text.split()]
    rejected = {item.position for item in found if isinstance(item, BadPiece)}
    assert len(spoken) == len(set(spoken))
    everything = {word for item in items if isinstance(item, Piece) for word in item.text.split()}
    assert set(spoken) <= everything
    lost = everything - set(spoken)
    too_short = [item for item in found if isinstance(item, BadPiece) and "too short" in str(item.problem)]
    if not too_short:  # a joined segment that is too short is one reject of several pieces
        assert {int(word.split(".")[0]) for word in lost} <= rejected

    # order, limits, and times within their utterance
    too_long = {
        item.position
        for item in items
        if isinstance(item, Piece) and not item.words and item.end - item.start > longest
    }
    unpadded = [segment for segment in segments if not padding]
    assert [s.start for s in unpadded] == sorted(s.start for s in unpadded)
    for segment in segments:
        duration = round(segment.end - segment.start, 6)
        assert segment.start >= 0 and shortest <= duration
        assert duration <= longest or (segment.position in too_long and len(segment.segments) == 1)
        assert segment.text == " ".join(part.text for part in segment.segments)
        for part in segment.segments:
            assert -1e-6 <= part.start < part.end <= duration + 1e-6
        if len(segment.segments) > 1 and not padding:
            assert duration <= target

    # no word is cut: each word of a segment lies within it
    times = {w.text.strip(): w for item in items if isinstance(item, Piece) for w in item.words}
    for segment in segments:
        for word in segment.text.split():
            if word in times:
                assert segment.start - 1e-6 <= times[word].start <= times[word].end <= segment.end + 1e-6


@given(transcripts(), st.floats(0.1, 3))
def test_padding_takes_no_part_of_a_neighbour(items, padding):
    plain = join(items, padding=0.0)
    padded = join(items, padding=padding)
    assert [(item.position, type(item)) for item in plain] == [(item.position, type(item)) for item in padded]
    for index, (narrow, wide) in enumerate(zip(plain, padded, strict=True)):
        if isinstance(narrow, BadPiece):
            continue
        assert wide.start <= narrow.start and wide.end >= narrow.end
        assert wide.end - wide.start <= max(30, narrow.end - narrow.start) + 1e-6
        for other in plain[:index]:
            if other.end is not None:
                assert wide.start >= min(narrow.start, other.end)
        for other in plain[index + 1 :]:
            if other.start is not None:
                assert wide.end <= max(narrow.end, other.start)

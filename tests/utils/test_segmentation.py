"""Timed transcripts: what becomes a segment, what is refused and why, and that no line is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.segmentation import BadLine, Segment, cut_transcript, is_timed, read_seconds, segment_problem


def cut(transcript: str, shortest: float = 0.5) -> list[Segment | BadLine]:
    return list(cut_transcript(transcript, min_segment_duration=shortest))


def test_lines_become_segments():
    assert cut("0.0\t1.5\tciao\n1.5\t3\tbella  gente\n") == [
        Segment(1, 0.0, 1.5, "ciao"),
        Segment(2, 1.5, 3.0, "bella gente"),
    ]


def test_further_tabs_belong_to_the_text():
    assert cut("0\t2\tuno\tdue\ttre") == [Segment(1, 0.0, 2.0, "uno due tre")]


def test_blank_lines_and_line_ends_count_as_lines_but_not_as_items():
    assert [item.line for item in cut("0\t1\ta\r\n\r\n \n1\t2\tb\r2\t3\tc")] == [1, 4, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0.0 1.5 ciao", "malformed line: found 0 tabs"),
        ("0.0\t1.5", "malformed line: found 1 tabs"),
        ("zero\t1.5\tciao", "malformed line: times 'zero'"),
        ("-1\t1.5\tciao", "malformed line"),
        ("nan\t1.5\tciao", "malformed line"),
        ("0\tinf\tciao", "malformed line"),
        ("2\t1\tciao", "end not after start"),
        ("1\t1\tciao", "end not after start"),
        ("0\t1\t  ", "empty text"),
        ("0\t0.49\tciao", "segment too short: 0.49 s"),
        ("0\t30.01\tciao", "segment too long: 30.01 s"),
    ],
)
def test_unfit_lines_say_why(line, reason):
    (item,) = cut(line)
    assert isinstance(item, BadLine) and item.reason.startswith(reason)


def test_limits_are_kept_exactly():
    # 1.6 - 1.1 is 0.50000000000000011 and 0.8 - 0.3 exactly 0.5 only after rounding
    assert all(isinstance(item, Segment) for item in cut("1.1\t1.6\ta\n0.3\t0.8\tb\n5.7\t35.7\tc"))


@pytest.mark.parametrize(
    ("transcript", "timed"),
    [
        ("0.0\t1.5\tciao", True),
        ("ciao\tbella", True),
        ("0.0 1.5 ciao", True),
        ("ciao a tutti", False),
        ("3 2 1 via", False),
        ("ciao\t\n", False),
    ],
)
def test_is_timed(transcript, timed):
    assert is_timed(transcript) is timed


def test_segment_beyond_the_audio():
    assert segment_problem(0.0, 9.9, 10.0) is None
    assert segment_problem(9.0, 10.04, 10.0) is None  # rounded to a tenth
    assert "beyond the end" in str(segment_problem(9.0, 10.2, 10.0))
    assert "beyond the end" in str(segment_problem(10.0, 10.04, 10.0))
    assert "end not after start" in str(segment_problem(3.0, 2.0, 1.0))


def test_read_seconds():
    assert [read_seconds(text) for text in ("1.5", " 2 ", "1e1", "-1", "inf", "x", "")] == [
        1.5, 2.0, 10.0, None, None, None, None,
    ]  # fmt: skip


@given(st.text())
def test_any_text_is_read_and_no_line_lost(transcript):
    items = cut(transcript)
    lines = transcript.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [item.line for item in items] == [n for n, line in enumerate(lines, 1) if line.strip()]


times = st.floats(-5, 100) | st.sampled_from([float("nan"), float("inf")])


@given(st.lists(st.tuples(times, times, st.text(alphabet="ab \t", max_size=5))), st.floats(0, 5))
def test_every_segment_keeps_the_rules(rows, shortest):
    items = cut("\n".join(f"{start!r}\t{end!r}\t{text}" for start, end, text in rows), shortest)
    assert len(items) == len(rows)
    for item, (start, end, text) in zip(items, rows, strict=True):
        fits = 0 <= start < end and shortest <= round(end - start, 6) <= 30 and text.strip() != ""
        assert isinstance(item, Segment) == fits
        if isinstance(item, Segment):
            assert (item.start, item.end, item.text) == (start, end, " ".join(text.split()))

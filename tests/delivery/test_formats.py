"""utils/delivery/formats.py: each format as text by hand, and read again by readers of other authors."""

import csv
import html
import io
import json

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.spoken_words import layouts, spoken, words_at
from utils.delivery.cues import Layout, cut_cues, width_of
from utils.delivery.formats import FORMATS, as_json, as_srt, as_tsv, as_txt, as_vtt
from utils.delivery.transcript import Cue, Transcript, Word

LAYOUT = Layout(20, 2, 20.0)

LOOP = "loop: 'no' again and again"

DOUBTS = st.sampled_from([None, None, LOOP])

quick = settings(max_examples=100, deadline=None)


def of_cues(*cues: Cue, duration: float = 4000.0) -> Transcript:
    return Transcript("it", duration, cues, 2.5)


def cue(text: str, start: float, end: float, doubt: str | None = None) -> Cue:
    words = text.split()
    step = (end - start) / len(words)
    return Cue(
        start,
        end,
        [Word(f" {word}", start + step * n, start + step * (n + 1)) for n, word in enumerate(words)],
        doubt,
    )


@st.composite
def transcripts(draw: st.DrawFn) -> tuple[Transcript, Layout]:
    """Runs of words, each doubted or not, with time between them."""
    layout, cues, now = draw(layouts()), list[Cue](), 0.0
    for words in draw(st.lists(spoken(min_size=1), max_size=3)):
        later = [Word(word.text, word.start + now, word.end + now) for word in words]
        cues += cut_cues(later, layout, draw(DOUBTS))
        now = later[-1].end + 0.001 * draw(st.integers(0, 2000))
    return Transcript("it", now + 1.0, cues), layout


THREE = of_cues(
    cue("Buongiorno a tutti, e mille grazie.", 0.0, 2.0),
    cue("no no", 62.5, 63.25, LOOP),
    cue("Fine.", 3661.0045, 3661.5),
)


# ---- by hand -----------------------------------------------------------------------------------------------


def test_srt():
    """The first needs no more time than it has, the others a second."""
    assert as_srt(THREE, LAYOUT) == (
        "1\n00:00:00,000 --> 00:00:02,000\nBuongiorno a tutti,\ne mille grazie.\n\n"
        "2\n00:01:02,500 --> 00:01:03,500\n[?] no no\n\n"
        "3\n01:01:01,004 --> 01:01:02,004\nFine.\n"
    )


def test_vtt():
    assert as_vtt(THREE, LAYOUT) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nBuongiorno a tutti,\ne mille grazie.\n\n"
        "00:01:02.500 --> 00:01:03.500\n[?] no no\n\n"
        "01:01:01.004 --> 01:01:02.004\nFine.\n"
    )


def test_tsv_has_milliseconds_and_the_times_of_the_words():
    assert as_tsv(THREE, LAYOUT) == (
        "start\tend\ttext\n0\t2000\tBuongiorno a tutti, e mille grazie.\n62500\t63250\t[?] no no\n"
        "3661004\t3661500\tFine.\n"
    )


def test_txt_has_a_sentence_a_line():
    cues = [
        cue("Uno due,", 0, 1),
        cue("tre quattro.", 1, 2),
        cue("Cinque", 2, 3),
        cue("sei", 4.1, 5),  # after a long pause
        cue("sette", 6.0, 7),
        cue("otto", 7, 8, LOOP),
        cue("nove", 8, 9, LOOP),
        cue("dieci", 9, 10),
    ]
    lines = ["Uno due, tre quattro.", "Cinque", "sei sette", "[?] otto nove", "dieci"]
    assert as_txt(of_cues(*cues), LAYOUT) == "".join(f"{line}\n" for line in lines)


def test_json():
    word = Word(" Ciao", 0.12345, 0.5, 0.98765)
    found = json.loads(
        as_json(of_cues(Cue(0.12345, 0.5, [word], LOOP), cue("a tutti", 1, 2), duration=2.00049), LAYOUT)
    )
    assert found == {
        "text": "Ciao a tutti",
        "language": "it",
        "duration": 2.0,
        "uncovered": 2.5,
        "segments": [
            {
                "id": 0,
                "start": 0.123,
                "end": 0.5,
                "text": "Ciao",
                "doubt": LOOP,
                "words": [{"word": " Ciao", "start": 0.123, "end": 0.5, "probability": 0.988}],
            },
            {
                "id": 1,
                "start": 1,
                "end": 2,
                "text": "a tutti",
                "doubt": None,
                "words": [
                    {"word": " a", "start": 1.0, "end": 1.5, "probability": None},
                    {"word": " tutti", "start": 1.5, "end": 2.0, "probability": None},
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n"), ("tsv", "start\tend\ttext\n")],
)
def test_a_recording_without_speech_has_files_without_cues(name, text):
    assert FORMATS[name](Transcript(None, 3.0, []), LAYOUT) == text
    empty = json.loads(FORMATS["json"](Transcript(None, 3.0, []), LAYOUT))
    assert (empty["text"], empty["language"], empty["segments"]) == ("", None, [])


def test_the_mark_of_a_doubt_leaves_the_lines_within_their_width():
    (only,) = cut_cues(words_at("abcd efgh ijkl mnop", seconds=0.5), LAYOUT, LOOP)
    assert as_srt(of_cues(only), LAYOUT).splitlines()[2:] == ["[?] abcd efgh", "ijkl mnop"]


def test_vtt_is_what_browsers_take_and_srt_has_no_arrow():
    odd = of_cues(cue("a<b & c --> d", 0, 1))
    assert "a&lt;b &amp; c → d\n" in as_vtt(odd, LAYOUT)
    assert as_srt(odd, LAYOUT).endswith("a<b & c → d\n")


# ---- any transcript, read again ----------------------------------------------------------------------------


def check_subtitles(events: pysubs2.SSAFile, transcript: Transcript, layout: Layout, read=str) -> None:
    assert len(events) == len(transcript.cues)
    for number, (event, own) in enumerate(zip(events, transcript.cues, strict=True)):
        lines = read(event.text).split(r"\N")
        mark = "[?] " if own.doubt else ""
        assert "".join("".join(lines).split()) == "".join((mark + own.text).replace("-->", "→").split())
        alone = {word.text.strip() for word in own.words}
        for line in lines:
            assert (
                line.removeprefix("[?] ").replace("→", "-->") in alone or width_of(line) <= layout.line_width
            )
        assert event.start == round(1000 * own.start) and event.end >= round(1000 * own.end)
        assert number == 0 or event.start >= events[number - 1].end


@quick
@given(transcripts())
def test_srt_is_read_with_the_same_texts_and_times(given_transcript):
    transcript, layout = given_transcript
    events = pysubs2.SSAFile.from_string(as_srt(transcript, layout), format_="srt", keep_html_tags=True)
    check_subtitles(events, transcript, layout)


@quick
@given(transcripts())
def test_vtt_is_read_with_the_same_texts_and_times(given_transcript):
    """pysubs2 leaves the escapes of HTML as they are."""
    transcript, layout = given_transcript
    events = pysubs2.SSAFile.from_string(as_vtt(transcript, layout), format_="vtt")
    check_subtitles(events, transcript, layout, read=html.unescape)


@quick
@given(transcripts())
def test_tsv_is_read_with_the_same_texts_and_times(given_transcript):
    transcript, layout = given_transcript
    text = as_tsv(transcript, layout)
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["start", "end", "text"]
    assert [row[:2] for row in rows[1:]] == [
        [str(round(1000 * own.start)), str(round(1000 * own.end))] for own in transcript.cues
    ]
    assert [row[2].removeprefix("[?] ") for row in rows[1:]] == [own.text for own in transcript.cues]


@quick
@given(transcripts())
def test_txt_and_json_have_all_words(given_transcript):
    transcript, layout = given_transcript
    everything = "".join("".join(own.text for own in transcript.cues).split())
    lines = as_txt(transcript, layout).splitlines()
    assert "".join("".join(line.removeprefix("[?] ") for line in lines).split()) == everything
    found = json.loads(as_json(transcript, layout))
    assert "".join(found["text"].split()) == everything
    words = [word for segment in found["segments"] for word in segment["words"]]
    own = [word for cue in transcript.cues for word in cue.words]
    assert [(word["word"], word["start"], word["end"]) for word in words] == [
        (word.text, round(word.start, 3), round(word.end, 3)) for word in own
    ]

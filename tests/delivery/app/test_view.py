"""The HTML of the page: escaped, marked, in the direction of its script; choosing and differences."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pages import HOSTILE, Page
from utils.delivery.app.choosing import Given
from utils.delivery.app.differences import differing_words
from utils.delivery.app.view import (
    as_time,
    render_message,
    render_player,
    render_progress,
    render_title,
    render_transcripts,
)
from utils.delivery.cues import Layout
from utils.delivery.growing import Growing
from utils.delivery.transcript import Cue, Transcript, Word
from utils.text.scripts import is_right_to_left


def growing(*texts: str, language: str | None = "it", doubt: str | None = None) -> Growing:
    words = [Word(f" {text}", 1.0 * place, place + 0.5) for place, text in enumerate(texts)]
    cues = [Cue(0.0, float(len(words)), words, doubt)] if words else []
    return Growing(Transcript(language, 90.0, cues), 90.0)


def transcripts(*steps: Growing, names=("tuned", "base"), task="transcribe", is_complete=True) -> Page:
    return Page(render_transcripts(names[: len(steps)], steps, Layout(), task, is_complete=is_complete))


def marked(page: Page) -> list[str]:
    return re.findall(r'class="word differs"[^>]*>([^<]*)<', page.source)


def test_words_have_their_times_and_stand_apart():
    page = transcripts(growing("uno", "due."))
    assert [span["data-start"] for span in page.find("span") if "word" in span.get("class", "").split()] == [
        "0.00",
        "1.00",
    ]
    assert "uno</span> <span" in page.source and marked(page) == []
    assert page.find("button")[0]["data-start"] == "0.00"


def test_foreign_text_is_only_text():
    page = transcripts(growing(HOSTILE, HOSTILE, language=HOSTILE, doubt=HOSTILE), names=(HOSTILE,))
    for source in (page, *map(Page, (render_message(HOSTILE), render_title([HOSTILE])))):
        assert not source.find("script") and not source.find("img")
        assert HOSTILE.split()[0] in "".join(source.texts)


def test_words_of_one_model_alone_are_marked():
    page = transcripts(growing("Il", "gatto,", "dorme."), growing("il", "gatto", "non", "dorme"))
    assert marked(page) == ["non"] and len(page.find("section")) == 2


def test_right_to_left_and_languages():
    page = transcripts(growing("سلام", "دنیا", "ok", language="fa"), growing("hello", language="fa"))
    boxes = [div for div in page.find("div") if div.get("class") == "cues"]
    assert [(box["dir"], box["lang"]) for box in boxes] == [("rtl", "fa"), ("ltr", "fa")]
    translated = transcripts(growing("hello", language="fa"), task="translate")
    assert 'lang="en"' in translated.source and "fa → en" in "".join(translated.texts)


def test_downloads_hold_the_transcript_and_come_last():
    assert not transcripts(growing("uno"), is_complete=False).find("a")
    links = transcripts(growing("uno", "<due>."), names=("runs/it/best",)).find("a")
    assert [link["download"] for link in links] == [
        f"runs-it-best.{kind}" for kind in ("srt", "vtt", "txt", "json")
    ]
    srt, vtt, txt, data = (base64.b64decode(link["href"].split(",")[1]).decode() for link in links)
    assert srt.startswith("1\n00:00:00,000 --> ") and "&lt;due&gt;" in vtt and txt == "uno <due>.\n"
    assert [word["word"] for word in json.loads(data)["segments"][0]["words"]] == [" uno", " <due>."]


def test_no_speech_is_said_at_the_end_only():
    assert "No speech" in "".join(transcripts(growing()).texts)
    assert "No speech" not in "".join(transcripts(growing(), is_complete=False).texts)


def test_small_parts():
    assert 'value="30.0"' in render_progress(30, 90) and "0:30 of 1:30" in render_progress(30, 90)
    assert 'role="alert"' in render_message("x", is_problem=True) and 'role="status"' in render_message("x")
    assert "file=/tmp/a%20%22b.flac" in render_player('/tmp/a "b.flac')
    assert [as_time(seconds) for seconds in (0, 62.9, 3602)] == ["0:00", "1:02", "1:00:02"]


@pytest.mark.parametrize(
    ("text", "expected"), [("سلام ok", True), ("שלום", True), ("ciao", False), ("", False)]
)
def test_direction(text, expected):
    assert is_right_to_left(text) is expected


@given(st.lists(st.sampled_from(["a", "b", "c", "."])), st.lists(st.sampled_from(["A,", "b", "c"])))
def test_words_that_are_not_marked_are_the_same(first, second):
    ours, theirs = differing_words(first, second)
    kept = [
        [word.strip(",").lower() for place, word in enumerate(words) if place not in places]
        for words, places in ((first, ours), (second, theirs))
    ]
    assert kept[0] == kept[1]
    assert differing_words(first, first) == (set(), set())


@pytest.mark.parametrize(
    ("given_", "kind", "warning"),
    [
        (
            ("m", "f", "l"),
            "microphone",
            "The microphone is transcribed. Clear it to use the file and the link.",
        ),
        (("m", "f", None), "microphone", "The microphone is transcribed. Clear it to use the file."),
        ((None, "f", " "), "file", None),
        ((None, None, " https://a.b/c "), "link", None),
    ],
)
def test_the_microphone_goes_first(given_, kind, warning):
    chosen = Given(*given_).choose()
    assert (chosen.kind, chosen.warning) == (kind, warning)
    assert (chosen.upload is None) == (kind == "link") and chosen.value == chosen.value.strip()


def test_nothing_given():
    assert Given(None, None, "  ").choose() is None

"""utils/delivery/transcribing.py: what is read again and how, languages, batches, and what is told of it."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.support.scripted_transcriber import Asked, ScriptedTranscriber, marked_recording
from utils.delivery.cues import Layout
from utils.delivery.transcribing import Request, WindowReader, find_doubt, load_recording, transcribe_together
from utils.delivery.transcript import Cue
from utils.model.context import dynamic_context
from utils.model.loading import load_model

LOOP = "no " * 20
GOOD = "Una frase come tante altre."
PROMPT = (70, 71, 72)
LETTERS = 3 * "abcdefghilmnopqrstuvz"


@pytest.fixture(scope="module")
def tiny(tiny_whisper):
    return load_model(str(tiny_whisper))


def reader_of(tiny, script, *, most_clips: int | None = None, **options) -> WindowReader:
    request = {"task": "transcribe", "audio_context": "full", "batch_size": 8, "layout": Layout()} | options
    return WindowReader(ScriptedTranscriber(tiny, script, most_clips), Request(**request))


def asked_of(reader: WindowReader) -> list[Asked]:
    return reader._transcriber.asked


def text_of(cues: Sequence[Cue]) -> str:
    """A random model places words anywhere, so that cues are cut anywhere."""
    return " ".join(cue.text for cue in cues)


def attempts(reader: WindowReader) -> list[tuple[list[int], list[int], float]]:
    return [(asked.marks, asked.previous, asked.temperature) for asked in asked_of(reader)]


# ---- doubtful windows --------------------------------------------------------------------------------------

WITH_PROMPT = [(list(PROMPT), 0.0), ([], 0.0), ([], 0.4), ([], 0.8)]
WITHOUT = [([], 0.0), ([], 0.4), ([], 0.8)]


@pytest.mark.parametrize(
    ("previous", "ladder", "good_at"),
    [((), WITHOUT, n) for n in range(4)] + [(PROMPT, WITH_PROMPT, n) for n in range(5)],
)
def test_a_loop_is_read_again_without_the_prompt_then_warmer_then_marked(tiny, previous, ladder, good_at):
    def script(mark: int, asked: Asked) -> tuple[str, str]:
        attempt = ladder.index((asked.previous, asked.temperature))
        return (f"{GOOD} {attempt}" if mark == 1 or attempt >= good_at else f"{LOOP}{attempt}"), "it"

    reader = reader_of(tiny, script, previous=previous)
    (transcript,) = transcribe_together(reader, [marked_recording((1, 0, 20), (2, 21, 41))])
    own = [step for step in attempts(reader) if 2 in step[0]]
    assert own == [([1, 2], *ladder[0]), *(([2], *step) for step in ladder[1 : good_at + 1])]
    assert attempts(reader) == own
    is_marked = good_at == len(ladder)
    told = f"{LOOP}0" if is_marked else f"{GOOD} {good_at}"  # the first reading stays if none is better
    assert text_of(transcript.cues) == f"{GOOD} 0 {told}"
    doubted = [cue for cue in transcript.cues if cue.doubt]
    assert text_of(doubted) == (told if is_marked else "")
    assert {cue.doubt for cue in doubted} == ({"loop: 'no' again and again"} if is_marked else set())


def test_a_window_read_again_keeps_its_language(tiny):
    def script(mark: int, asked: Asked) -> tuple[str, str]:
        return (GOOD if asked.temperature else LOOP), "fa"

    reader = reader_of(tiny, script)
    transcribe_together(reader, [marked_recording((1, 0, 20))])
    assert [asked.languages for asked in asked_of(reader)] == [[None], ["fa"]]


def test_draws_follow_the_seed_and_leave_those_of_others_alone(tiny):
    drawn: list[float] = []

    def script(mark: int, asked: Asked) -> tuple[str, str]:
        drawn.append(float(torch.rand(())))
        return GOOD, "it"

    torch.manual_seed(5)
    expected = float(torch.rand(()))
    torch.manual_seed(5)
    for seed in (1, 1, 2):
        transcribe_together(reader_of(tiny, script, seed=seed), [marked_recording((1, 0, 5))])
    assert drawn[0] == drawn[1] != drawn[2]
    assert float(torch.rand(())) == expected


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("", 25.0, None),  # music
        (GOOD, 3.0, None),
        (LOOP, 20.0, "loop: 'no' again and again"),
        ("sì no " * 5, 20.0, None),
        ("sì no " * 6, 20.0, "loop: 'sì no' again and again"),
        (LETTERS[:58], 1.0, None),  # 50 a second, and 8 more
        (LETTERS[:59], 1.0, "speech rate"),
        ("abcd", 15.0, None),  # 0.3 a second after a pause of 2 s
        ("abc", 15.0, "speech rate"),
        ("7", 15.0, None),  # five letters
    ],
)
def test_doubts(text, seconds, expected):
    doubt = find_doubt(text, seconds)
    assert doubt is expected if expected is None else doubt.startswith(expected)


# ---- languages ---------------------------------------------------------------------------------------------


def test_windows_agree_on_the_language_of_most_seconds(tiny):
    """20 s of Italian against three windows with 15 s of English; each recording for itself."""
    detected = {1: "it", 2: "en", 3: "en", 4: "en", 5: "fa"}

    def script(mark: int, asked: Asked) -> tuple[str, str]:
        code = asked.languages[asked.marks.index(mark)] or detected[mark]
        return f"Testo {mark} detto in {code}.", code

    windows = (1, 0, 20), (2, 30, 35), (3, 60, 65), (4, 90, 95)
    reader = reader_of(tiny, script, previous=PROMPT)
    first, second = transcribe_together(reader, [marked_recording(*windows), marked_recording((5, 0, 9))])
    assert (first.language, second.language) == ("it", "fa")
    assert text_of(first.cues) == " ".join(f"Testo {mark} detto in it." for mark in (1, 2, 3, 4))
    again = asked_of(reader)[1]
    assert (sorted(again.marks), again.languages) == ([2, 3, 4], ["it"] * 3)
    assert (again.previous, again.temperature) == (list(PROMPT), 0.0) and len(asked_of(reader)) == 2


def test_a_given_language_is_given_to_every_window_and_nothing_is_read_again(tiny):
    reader = reader_of(tiny, lambda mark, asked: (GOOD, "en"))
    recordings = [
        marked_recording((1, 0, 20), (2, 30, 50), language="it"),
        marked_recording((3, 0, 20), language=None),
        marked_recording((4, 0, 20), language="fa"),
    ]
    found = transcribe_together(reader, recordings)
    (asked,) = asked_of(reader)
    assert dict(zip(asked.marks, asked.languages, strict=True)) == {1: "it", 2: "it", 3: None, 4: "fa"}
    assert [transcript.language for transcript in found] == ["it", "en", "fa"]


# ---- batches -----------------------------------------------------------------------------------------------


def numbered(mark: int, asked: Asked) -> tuple[str, str]:
    return f"Testo numero {mark} di tanti.", "it"


def three_recordings() -> list:
    return [
        marked_recording((1, 0, 20), (2, 22, 30), (3, 60, 61.5)),
        marked_recording((4, 2, 7)),
        marked_recording((5, 0, 8), (6, 28, 36.5), language="it"),
    ]


def test_a_batch_holds_windows_of_several_recordings_and_each_gets_its_own_text(tiny):
    told: list[tuple[int, float]] = []
    reader = reader_of(tiny, numbered, batch_size=4)
    found = transcribe_together(reader, three_recordings(), lambda *of: told.append(of))
    assert [len(asked.marks) for asked in asked_of(reader)] == [4, 2]
    assert sorted(mark for asked in asked_of(reader) for mark in asked.marks) == [1, 2, 3, 4, 5, 6]
    assert [text_of(transcript.cues) for transcript in found] == [
        " ".join(f"Testo numero {mark} di tanti." for mark in marks) for marks in ((1, 2, 3), (4,), (5, 6))
    ]
    assert sorted(told) == [(0, 1.5), (0, 8.0), (0, 20.0), (1, 5.0), (2, 8.0), (2, 8.5)]


def test_words_have_their_place_in_the_recording(tiny):
    found = transcribe_together(reader_of(tiny, numbered), three_recordings())
    spans = [[(0, 20), (22, 30), (60, 61.5)], [(2, 7)], [(0, 8), (28, 36.5)]]
    for transcript, own in zip(found, spans, strict=True):
        words = [word for cue in transcript.cues for word in cue.words]
        assert len(words) == 5 * len(own)
        for number, word in enumerate(words):
            start, end = own[number // 5]
            assert start <= word.start <= word.end <= end and 0 <= word.probability <= 1


def test_words_end_with_their_window_though_positions_are_of_20_ms(tiny):
    text = " ".join(["parola"] * 80)  # too long for the model: words of equal length to the very end
    recording = marked_recording((1, 0, 4.995), seconds=4.995)
    (transcript,) = transcribe_together(reader_of(tiny, lambda *_: (text, "it")), [recording])
    assert transcript.cues[-1].end == recording.duration


def test_a_batch_too_large_for_memory_is_read_in_halves_from_then_on(tiny, capsys):
    expected = transcribe_together(reader_of(tiny, numbered), three_recordings())
    reader = reader_of(tiny, numbered, most_clips=2, batch_size=6)
    found = transcribe_together(reader, three_recordings())
    assert [text_of(one.cues) for one in found] == [text_of(one.cues) for one in expected]
    assert [len(asked.marks) for asked in asked_of(reader)] == [2, 2, 2]
    assert capsys.readouterr().out.count("Out of memory") == 2  # with 6 and with 3
    transcribe_together(reader, three_recordings())
    assert "Out of memory" not in capsys.readouterr().out


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny):
    def script(mark: int, asked: Asked) -> tuple[str, str]:
        raise RuntimeError("another one")

    with pytest.raises(RuntimeError, match="another one"):
        transcribe_together(reader_of(tiny, script), three_recordings())


@pytest.mark.parametrize("audio_context", ["full", "dynamic"])
def test_the_context_of_windows_is_the_one_that_was_asked_for(tiny, audio_context):
    reader = reader_of(tiny, numbered, audio_context=audio_context)
    transcribe_together(reader, three_recordings())
    (asked,) = asked_of(reader)
    seconds = {1: 20, 2: 8, 3: 1.5, 4: 5, 5: 8, 6: 8.5}
    contexts = dict(zip(asked.marks, asked.contexts, strict=True))
    if audio_context == "full":
        assert set(contexts.values()) == {30.0}
    else:
        assert contexts == {mark: dynamic_context(of, 0.5) for mark, of in seconds.items()}


# ---- what is told of a recording ---------------------------------------------------------------------------


def test_nothing_is_decoded_where_nobody_speaks(tiny):
    reader = reader_of(tiny, numbered)
    silences = [load_recording(np.zeros(48_000, dtype=np.float32), code) for code in (None, "fa")]
    *empty, other = transcribe_together(reader, [*silences, marked_recording((1, 0, 20))])
    assert [transcript.language for transcript in empty] == [None, "fa"]
    for transcript in empty:
        assert (transcript.cues, transcript.duration, transcript.uncovered) == ([], 3.0, 0.0)
    assert text_of(other.cues) == "Testo numero 1 di tanti."
    assert [asked.marks for asked in asked_of(reader)] == [[1]]


def test_speech_is_found_where_somebody_speaks(italian_prompts):
    silence = np.zeros(32_000, dtype=np.float32)
    samples, _ = italian_prompts[0]
    recording = load_recording(np.concatenate([silence, samples, silence]), "it")
    assert recording.language == "it" and recording.duration == 4 + len(samples) / 16_000
    assert recording.speech[0].start > 1.7 and recording.speech[-1].end < recording.duration - 1.7


def test_speech_without_a_text_is_counted_and_not_doubted(tiny):
    reader = reader_of(tiny, lambda mark, asked: ("" if mark == 2 else GOOD, "it"))
    (transcript,) = transcribe_together(reader, [marked_recording((1, 0, 4), (2, 40, 52.5), language="it")])
    assert transcript.uncovered >= 12.5 and transcript.uncovered - 12.5 < 4
    assert len(asked_of(reader)) == 1 and {cue.doubt for cue in transcript.cues} == {None}


def test_a_sentence_goes_on_in_the_next_window_unless_one_of_them_is_doubtful(tiny):
    """There is no pause between the two."""

    recording = marked_recording((1, 0, 20), (2, 20, 40), language="it")
    for second, doubtful in (("vanno avanti ancora.", False), (LOOP, True)):
        texts = {1: "Prima parola di molte che", 2: second}
        reader = reader_of(tiny, lambda mark, asked, texts=texts: (texts[mark], "it"))
        (transcript,) = transcribe_together(reader, [recording])
        marks = {bool(cue.doubt) for cue in transcript.cues}
        assert marks == {False, doubtful}
        words = [word for cue in transcript.cues for word in cue.words]
        assert "".join(word.text for word in words).split() == f"Prima parola di molte che {second}".split()
        assert all(one.end <= other.start for one, other in itertools.pairwise(words))

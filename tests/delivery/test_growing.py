"""utils/delivery/growing.py: the last step is what `transcribe_together` gives, and earlier ones begin it."""

import itertools

import pytest

from tests.support.scripted_transcriber import Asked, ScriptedTranscriber, marked_recording
from utils.delivery.cues import Layout
from utils.delivery.growing import transcribe_in_steps
from utils.delivery.transcribing import LoadedRecording, Request, WindowReader, transcribe_together
from utils.model.loading import load_model

SPANS = [(number, 30.0 * number, 30.0 * number + 20) for number in range(1, 5)]


@pytest.fixture(scope="module")
def tiny(tiny_whisper):
    return load_model(str(tiny_whisper))


def reader_of(tiny, script, batch_size: int = 2) -> WindowReader:
    request = Request("transcribe", "full", batch_size, Layout())
    return WindowReader(ScriptedTranscriber(tiny, script), request)


def marks(reader: WindowReader) -> list[list[int]]:
    return [asked.marks for asked in reader._transcriber.asked]


def words_of(transcript) -> list[str]:
    return " ".join(cue.text for cue in transcript.cues).split()


def test_text_grows_in_the_order_of_time_and_ends_complete(tiny):
    def script(mark: int, asked: Asked) -> tuple[str, str]:
        return f"Questa è la frase numero {mark}.", "it"

    recording, reader = marked_recording(*SPANS), reader_of(tiny, script)
    steps = list(transcribe_in_steps(reader, recording))
    assert marks(reader) == [[1], [2, 3], [4]]
    assert [step.until for step in steps] == [50.0, 110.0, recording.duration]
    texts = [words_of(step.transcript) for step in steps]
    assert all(later[: len(text)] == text for text, later in itertools.pairwise(texts))
    (whole,) = transcribe_together(reader_of(tiny, script), [recording])
    assert steps[-1].transcript == whole


def test_the_main_language_wins_also_later(tiny):
    detected = {1: "en", 2: "it", 3: "it", 4: "it"}

    def script(mark: int, asked: Asked) -> tuple[str, str]:
        return f"{detected[mark]} {asked.languages[asked.marks.index(mark)]} {mark}.", detected[mark]

    reader = reader_of(tiny, script, batch_size=8)
    steps = list(transcribe_in_steps(reader, marked_recording(*SPANS)))
    assert [step.transcript.language for step in steps] == ["en", "it"]
    assert words_of(steps[1].transcript)[:3] == ["en", "it", "1."]  # read again as Italian
    assert marks(reader) == [[1], [2, 3, 4], [1]]


def test_a_loop_is_read_again_in_its_step(tiny):
    def script(mark: int, asked: Asked) -> tuple[str, str]:
        return ("Una frase come tante altre." if asked.temperature or mark != 2 else "no " * 20), "it"

    reader = reader_of(tiny, script)
    list(transcribe_in_steps(reader, marked_recording(*SPANS[:3])))
    assert marks(reader) == [[1], [2, 3], [2]]


def test_silence_gives_one_empty_step(tiny):
    silence = LoadedRecording(marked_recording((0, 0, 3)).samples, "it", [])
    (step,) = transcribe_in_steps(reader_of(tiny, lambda mark, asked: ("x", "it")), silence)
    assert (list(step.transcript.cues), step.until) == ([], silence.duration)


def test_an_error_of_the_check_ends_the_work(tiny):
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise TimeoutError

    reader = reader_of(tiny, lambda mark, asked: (f"Frase {mark} di tante.", "it"))
    with pytest.raises(TimeoutError):
        list(transcribe_in_steps(reader, marked_recording(*SPANS), check))
    assert marks(reader) == [[1]]

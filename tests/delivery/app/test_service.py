"""The service behind the page, and what it keeps: answers in order, refusals, stops, nothing left behind."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.pages import Page
from tests.support.scripted_transcriber import ScriptedTranscriber
from utils.delivery.app import service as service_module
from utils.delivery.app.choosing import NOTHING_GIVEN, Given
from utils.delivery.app.guarding import LOST
from utils.delivery.app.models import NamedReader, PageModels
from utils.delivery.app.service import FAILED, OUT_OF_TIME, STOPPED, TranscriptionService
from utils.delivery.app.sessions import Sessions, Stopped
from utils.delivery.app.taking import Limits
from utils.delivery.cues import Layout
from utils.delivery.transcribing import Request, WindowReader
from utils.model.loading import load_model


@pytest.fixture(scope="module")
def tiny(tiny_whisper):
    return load_model(str(tiny_whisper))


@pytest.fixture
def make_service(tiny, tmp_path):
    def make(script=lambda mark, asked: ("Ciao a tutti.", "it"), models=1, **limits) -> TranscriptionService:
        readers = [
            NamedReader(
                f"m{number}",
                WindowReader(ScriptedTranscriber(tiny, script), Request("transcribe", "full", 2, Layout())),
            )
            for number in range(models)
        ]
        return TranscriptionService(PageModels(readers), Sessions(tmp_path), Limits(**limits), Layout())

    return make


@pytest.fixture
def upload(tmp_path, italian_prompts):
    """A function that writes an upload with real speech, so often."""

    def write(name: str = "a.wav", times: int = 1) -> str:
        path = tmp_path / name / name
        path.parent.mkdir()
        clips = [samples for samples, _ in italian_prompts[:4]]
        soundfile.write(path, np.concatenate(clips * times), 16_000)
        return str(path)

    return write


def text_of(html: str | None) -> str:
    return " ".join("".join(Page(html or "").texts).split())


def files_in(folder) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def transcribe(service, visitor: str = "v", language: str | None = "it") -> list:
    return list(service.transcribe(visitor, language, "transcribe"))


def test_a_recording_is_taken_transcribed_and_can_be_played(make_service, upload, tmp_path):
    service = make_service()
    taken = list(service.take("v", Given(None, upload(), None)))
    assert [text_of(answer.message) for answer in taken] == [
        "Reading the recording …",
        "Waiting for the model …",
    ]
    assert "recording.flac" in taken[-1].player
    answers = transcribe(service)
    assert "Ciao" in text_of(answers[-1].transcripts) and text_of(answers[-1].message).startswith("Done in")
    assert [answer.can_stop for answer in answers] == [True] * (len(answers) - 1) + [False]
    assert files_in(tmp_path) == {"a.wav", "recording.flac"}
    service.leave("v")
    assert files_in(tmp_path) == set()


def test_both_models_hear_the_same_and_one_that_lacks_the_language_detects_it(make_service, upload):
    asked = []

    def script(mark, of):
        asked.append(of.languages)
        return "Ciao a tutti.", "it"

    service = make_service(script, models=2)
    service.models._readers[1].reader.languages = {"en"}
    list(service.take("v", Given(upload(), None, None)))
    answers = transcribe(service)
    assert text_of(answers[-1].transcripts).count("a tutti.") == 2
    assert asked[:2] == [["it"], [None]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is empty: it has 0 bytes."),
        (b"ciao\n" * 999, "The recording cannot be used: not audio: "),
        (None, "The recording is no longer here. Give it again."),
    ],
)
def test_bad_files_are_refused_in_one_sentence_without_a_path(make_service, tmp_path, data, message):
    path = tmp_path / "x.wav"
    if data is not None:
        path.write_bytes(data)
    service = make_service()
    *_, last = service.take("v", Given(None, str(path), None))
    assert text_of(last.message).startswith(message) and str(tmp_path) not in last.message
    assert 'role="alert"' in last.message and not last.can_stop
    (answer,) = transcribe(service)
    assert answer.transcripts is None and answer.message is None


def test_a_long_recording_and_links_to_this_machine_are_refused(make_service, upload):
    service = make_service(max_seconds=3.0)
    *_, last = service.take("v", Given(None, upload(), None))
    assert text_of(last.message).startswith("The recording is longer than 0.05 minutes.")
    for link in ("http://127.0.0.1:9/a.mp3", "file:///etc/passwd"):
        *_, last = service.take("v", Given(None, None, link))
        assert 'role="alert"' in last.message and text_of(last.message) != FAILED


def test_nothing_given(make_service):
    (answer,) = make_service().take("v", Given(None, None, None))
    assert text_of(answer.message) == NOTHING_GIVEN


def test_stopping_ends_the_work_between_two_decodings(make_service, upload):
    decoded, service = [], None

    def script(mark, asked):
        decoded.append(1)
        if len(decoded) == 2:
            assert text_of(service.stop("v").message) == STOPPED
        return "Ciao a tutti.", "it"

    service = make_service(script)
    list(service.take("v", Given(None, upload(times=3), None)))
    answers = transcribe(service)
    assert text_of(answers[-1].message) == STOPPED and "Ciao" in answers[1].transcripts
    assert len(decoded) <= 3  # the batch in work is finished


def test_too_much_work_ends_with_the_text_so_far(make_service, upload):
    service = make_service(max_work=0.0)
    list(service.take("v", Given(None, upload(times=3), None)))
    *_, last = transcribe(service)
    assert text_of(last.message) == OUT_OF_TIME and "download=" in last.transcripts


def test_a_failure_is_told_without_its_reason_and_the_next_request_works(make_service, upload, caplog):
    failing = [True]

    def script(mark, asked):
        if failing[0]:
            raise ValueError("secret")
        return "Ciao a tutti.", "it"

    service, path = make_service(script), upload()
    list(service.take("v", Given(None, path, None)))
    *_, last = transcribe(service)
    assert text_of(last.message) == FAILED and "secret" in caplog.text
    failing[0] = False
    list(service.take("v", Given(None, path, None)))
    assert "Ciao" in transcribe(service)[-1].transcripts


def test_an_unexpected_failure_to_read_is_told_too(make_service, upload, monkeypatch, caplog):
    service = make_service()
    monkeypatch.setattr(service_module, "write_bytes", lambda *_: 1 / 0)
    *_, last = service.take("v", Given(None, upload(), None))
    assert text_of(last.message) == FAILED and "ZeroDivisionError" in caplog.text


def test_two_visitors_do_not_decode_at_once(make_service, upload):
    active, most = [], []

    def script(mark, asked):
        active.append(1)
        most.append(len(active))
        time.sleep(0.05)
        active.pop()
        return "Ciao a tutti.", "it"

    service = make_service(script)
    for visitor in "ab":
        list(service.take(visitor, Given(None, upload(f"{visitor}.wav", times=3), None)))
    threads = [threading.Thread(target=transcribe, args=(service, visitor)) for visitor in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) >= 4 and max(most) == 1


# ---- sessions ----------------------------------------------------------------------------------------------


def write_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_the_next_request_of_a_visitor_replaces_the_first(tmp_path):
    sessions = Sessions(tmp_path)
    uploads = [write_file(tmp_path / name / "u.wav") for name in "ab"]
    first = sessions.begin("v", uploads[0])
    write_file(first.sound)
    second = sessions.begin("v", uploads[1])
    with pytest.raises(Stopped):
        first.check()
    second.check()
    assert not first.folder.exists() and second.folder.is_dir() and first.folder.name != second.folder.name
    assert [path.exists() for path in uploads] == [False, True]
    sessions.begin("v", uploads[1])  # the same upload once more, in another language
    assert uploads[1].exists()


def test_an_upload_that_another_visitor_uses_stays(tmp_path):
    sessions, upload = Sessions(tmp_path), write_file(tmp_path / "a" / "u.wav")
    for visitor in "vw":
        sessions.begin(visitor, upload)
    sessions.end("v")
    assert upload.exists()
    sessions.end("w")
    assert not upload.exists()


def test_idle_sessions_end(tmp_path):
    sessions = Sessions(tmp_path, kept=0.05)
    session = sessions.begin("v", None)
    time.sleep(0.1)
    sessions.begin("w", None)
    assert session.is_stopped and not session.folder.exists() and sessions.find("v") is None
    assert sessions.find("w") is not None


def test_only_files_of_the_folder_are_uploads(make_service, tmp_path):
    outside = write_file(tmp_path / "elsewhere.wav")
    sessions, upload = Sessions(tmp_path / "root"), write_file(tmp_path / "root" / "a" / "u.wav")
    (upload.parent / "link.wav").symlink_to(outside)
    assert sessions.holds(upload)
    for path in (
        *(outside, upload.parent, upload.parent / "link.wav", upload.parent / "none.wav", Path("u.wav")),
        *(
            upload.parent / ".." / ".." / "elsewhere.wav",
            Path("a\0b"),
            Path("x" * 5000),
            Path("http://a.b/c"),
        ),
    ):
        assert not sessions.holds(path), path
    (answer,) = make_service().take("v", Given(None, "/etc/passwd", None))
    assert text_of(answer.message) == LOST

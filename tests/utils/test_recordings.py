"""Recordings are decoded once, clips keep their order in any number of processes, a dead worker is told."""

import os
import pathlib

import numpy as np
import pytest
import soundfile

from utils import recordings
from utils.audio import SAMPLE_RATE, decode_flac
from utils.errors import UserError
from utils.recordings import Clip, encode_recording, encode_utterances
from utils.utterances import Reject, Utterance

LIMITS = {"min_duration": 0.1, "max_duration": 30.0}


@pytest.fixture
def ramp(tmp_path) -> pathlib.Path:
    """4 s whose samples rise from 0 to 1, so that a sample tells its own time."""
    soundfile.write(tmp_path / "ramp.wav", np.arange(64000) / 64000, SAMPLE_RATE, subtype="FLOAT")
    return tmp_path / "ramp.wav"


def utterance(audio, number: int, start: float | None = None, end: float | None = None) -> Utterance:
    return Utterance(f"u-{number}", audio, "ciao", "corpus", number, start, end)


def test_clips_are_cut_where_they_should(ramp):
    clips = encode_recording(ramp, [(1.0, 2.0), (3.5, 4.04), (3.0, 5.0), (2.0, 2.05), None], 0.1, 30.0)
    first, last, beyond, short, whole = clips
    assert isinstance(first, Clip) and first.duration == 1.0
    assert decode_flac(first.flac) == pytest.approx(np.linspace(0.25, 0.5, 16000, endpoint=False), abs=1e-4)
    assert isinstance(last, Clip) and last.duration == 0.5  # clipped to the end of the audio
    assert beyond == "segment beyond the end of the audio: 3 to 5 s of 4.00 s"
    assert short == "too short: 0.050 s, expected at least 0.1 s"
    assert isinstance(whole, Clip) and whole.duration == 4.0


@pytest.mark.parametrize(("seconds", "kept"), [(30.0, 30.0), (30.04, 30.0), (30.1, None)])
def test_thirty_seconds_are_the_limit(tmp_path, seconds, kept):
    soundfile.write(tmp_path / "a.wav", np.zeros(round(seconds * 16000)), SAMPLE_RATE)
    (clip,) = encode_recording(tmp_path / "a.wav", [None], 0.1, 30.0)
    if kept is None:
        assert isinstance(clip, str) and clip.startswith("too long: 30.1 s, expected at most 30 s; cut it")
    else:
        assert isinstance(clip, Clip) and clip.duration == kept and len(decode_flac(clip.flac)) == 480_000


def test_a_recording_is_decoded_once(ramp, monkeypatch):
    decoded = []
    decode = recordings.decode_audio
    monkeypatch.setattr(recordings, "decode_audio", lambda audio: decoded.append(audio) or decode(audio))
    items = [utterance(ramp, n, n / 2, n / 2 + 0.5) for n in range(8)]
    assert len(list(encode_utterances(items, num_proc=1, **LIMITS))) == 8
    assert decoded == [ramp]


@pytest.mark.parametrize("num_proc", [1, 2])
def test_order_and_rejects(ramp, tmp_path, num_proc):
    items = [
        Reject("corpus", 0, "empty text: nothing"),
        utterance(ramp, 1, 0.0, 1.0),
        utterance(ramp, 2, 1.0, 9.0),
        utterance(tmp_path / "missing.wav", 3),
        utterance(ramp.read_bytes(), 4),
        Reject("corpus", 5, "empty text: nothing"),
        *(utterance(ramp, n) for n in range(6, 20)),
    ]
    results = list(encode_utterances(items, num_proc=num_proc, **LIMITS))
    positions = [result.position if isinstance(result, Reject) else result[0].position for result in results]
    assert positions == list(range(20))
    kinds = {result.position: result.kind for result in results if isinstance(result, Reject)}
    beyond = "segment beyond the end of the audio"
    assert kinds == {0: "empty text", 2: beyond, 3: "no such file", 5: "empty text"}


class Deadly(type(pathlib.Path())):
    """Ends the process that receives it, as a system short of memory would."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_dead_worker_is_told(ramp):
    items = [utterance(ramp, 0), utterance(Deadly("x.wav"), 1), utterance(ramp, 2)]
    with pytest.raises(UserError, match=r"ended from outside.*smaller --num_proc"):
        list(encode_utterances(items, num_proc=2, **LIMITS))

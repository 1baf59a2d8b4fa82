"""Strangers' files, decoded in a child process with limits. The files are real, and so are the children."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import av
import numpy as np
import pytest
import soundfile

from tests.support.tones import flac_tone
from utils.audio.flac import AudioError
from utils.audio.reading import decode_audio
from utils.delivery.intake.decoding import decode_in_child
from utils.delivery.intake.decoding_child import DecodingLimits


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Folder with a tone, and silent WAV files of 300 MB without room on the disk; `long` lasts 2.6 hours."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "tone.flac").write_bytes(flac_tone(1.0))
    write_silence(folder / "long.wav", 1, "PCM_16")
    write_silence(folder / "rich.wav", 8, "DOUBLE")
    return folder


def write_silence(path, channels, subtype, size=300_000_000):
    soundfile.write(path, np.zeros((1, channels)), 16_000, subtype)
    place = path.read_bytes().index(b"data") + 8
    with path.open("r+b") as file:
        for start in (8, place):
            file.seek(start - 4)
            file.write((size - start).to_bytes(4, "little"))
        file.truncate(size)


def problem_of(path, limits=DecodingLimits()):  # noqa: B008
    with pytest.raises(AudioError) as error:
        decode_in_child(path, limits)
    return error.value.problem


def test_the_samples_are_those_of_a_decoder_in_this_process(recordings):
    samples = decode_in_child(recordings / "tone.flac")
    assert samples.dtype == np.float32
    assert np.array_equal(samples, decode_audio(recordings / "tone.flac"))


def write_video_without_sound(path):
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))


def test_a_bad_file_has_a_plain_reason(tmp_path):
    (tmp_path / "text.wav").write_text("a text that somebody has renamed")
    (tmp_path / "empty.mp3").touch()
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    write_video_without_sound(tmp_path / "silent.mp4")
    (tmp_path / "good.flac").write_bytes(flac_tone(0.1))
    (tmp_path / "link.flac").symlink_to("good.flac")
    assert {path.name: problem_of(path).kind for path in tmp_path.iterdir() if path.name != "good.flac"} == {
        "text.wav": "not audio",
        "empty.mp3": "empty file",
        "nan.wav": "NaN or infinite samples",
        "silent.mp4": "not audio",
        "link.flac": "not a file",
    }
    assert problem_of(tmp_path / "missing.wav").kind == "no such file"
    assert problem_of(tmp_path).kind == "not a file"


def test_ten_hours_of_silence_in_a_small_file_are_too_long(tmp_path):
    path = tmp_path / "long.aac"
    with av.open(path, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * 1024), dtype=np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes() * (36_000 * 8000 // (8 * 1024)))  # frames of AAC can be repeated
    assert path.stat().st_size < 10_000_000
    assert str(problem_of(path, DecodingLimits(audio_seconds=60))) == "too long: over 60 s of audio"


def test_a_file_of_300_megabytes_is_decoded_within_the_limits(recordings):
    assert decode_in_child(recordings / "rich.wav").size == pytest.approx(300_000_000 / 64, abs=10)


def test_a_decoder_that_takes_too_long_is_killed(recordings):
    start = time.monotonic()
    assert problem_of(recordings / "long.wav", DecodingLimits(seconds=0.15)).kind == "too slow"
    assert time.monotonic() - start < 3


def test_a_decoder_that_takes_too_much_memory_ends(recordings):
    limits = DecodingLimits(audio_seconds=3 * 3600, working_bytes=-300 << 20)  # 0.54 GB; samples take 0.6
    assert problem_of(recordings / "long.wav", limits).kind == "too much memory"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_crashes_harms_nobody_else(recordings, number):
    problems = []
    thread = threading.Thread(target=lambda: problems.append(problem_of(recordings / "long.wav")))
    thread.start()
    while not (children := multiprocessing.active_children()):
        time.sleep(0.01)
    time.sleep(0.05)
    os.kill(children[0].pid, number)
    thread.join()
    assert [problem.kind for problem in problems] == ["decoder stopped"]


def test_several_threads_decode_at_once(recordings):
    lengths = []
    threads = [
        threading.Thread(target=lambda: lengths.append(decode_in_child(recordings / "tone.flac").size))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [16_000] * 6
    assert multiprocessing.active_children() == []


def test_a_child_holds_the_limits_and_no_torch():
    tries = """
import resource, sys
from utils.delivery.intake.decoding_child import DecodingLimits, limit_decoding
limit_decoding(DecodingLimits(audio_seconds=100, seconds=7, working_bytes=1 << 30))
print("torch" in sys.modules)
names = ("AS", "CPU", "FSIZE", "NOFILE")
print(*(resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in names))
"""
    ran = subprocess.run([sys.executable, "-c", tries], capture_output=True, text=True, check=True)
    has_torch, limits = ran.stdout.splitlines()
    assert has_torch == "False"
    memory = (1 << 30) + 8_000_000  # 6.4 MB of samples and a quarter more
    assert limits.split() == [str(memory), "8", str(6_400_000 + (1 << 20)), "32"]

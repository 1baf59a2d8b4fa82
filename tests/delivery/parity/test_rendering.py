"""Runtimes in a process of their own: what they write comes back, and a crash is told."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from utils.delivery.parity import rendering
from utils.delivery.parity.rendering import RuntimeFailure, Trial, is_telling, render
from utils.delivery.parity.sounds import JoinedClip, ParitySound
from utils.delivery.runtimes.runtime import Rendition, Way
from utils.delivery.transcript import Word

PLAIN, TIMED = Way(), Way(timestamps=True)
WORDS, PREVIOUS = Way(timestamps=True, words=True), Way(timestamps=True, previous_text=True)


@dataclass(frozen=True)
class Echo:
    """Writes what it was given."""

    folder: Path
    threads: int
    task: str
    ways: tuple[Way, ...] = (PLAIN, TIMED, WORDS)
    finds_windows: bool = True

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        text = f"{self.folder.name} {self.threads} {len(samples)} {language} {way} {self.task}"
        return Rendition(text, [Word(" a", 0.5, 1.0)] if way.words else ())


class Crashing(Echo):
    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class Raising(Echo):
    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        raise ValueError("no such\nlayer")


class Hanging(Echo):
    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        time.sleep(60)
        raise AssertionError


def sounds() -> list[ParitySound]:
    clip = ParitySound("clip", np.zeros(160, dtype=np.float32), None, [JoinedClip("a", 0, 0.01)])
    recording = ParitySound("long", np.zeros(320, dtype=np.float32), "it", [JoinedClip("a", 0, 0.01)] * 2)
    return [clip, recording]


def test_every_sound_comes_back_in_every_way_that_the_runtime_has():
    found = render(Echo, Path("some/export"), Trial(sounds(), [PLAIN, WORDS, PREVIOUS], 2, "translate"))
    assert [(item.sound, item.way) for item in found] == [(0, PLAIN), (1, PLAIN), (1, WORDS)]
    assert found[0].rendition == Rendition("export 2 160 None plain translate", [])
    assert found[2].rendition == Rendition(
        "export 2 320 it timestamps + words translate", [Word(" a", 0.5, 1.0)]
    )
    assert all(0 <= item.seconds < 1 for item in found)


@pytest.mark.parametrize(
    ("way", "ways", "finds_windows", "on_clips", "on_recordings"),
    [
        (PLAIN, [PLAIN], True, True, True),
        (PLAIN, [PLAIN], False, True, False),
        (TIMED, [PLAIN, TIMED], False, True, True),
        (TIMED, [TIMED, WORDS], False, True, False),
        (WORDS, [WORDS], False, False, True),
        (PREVIOUS, [PREVIOUS], False, False, True),
    ],
)
def test_a_sound_is_not_transcribed_in_ways_that_show_nothing_new(
    way, ways, finds_windows, on_clips, on_recordings
):
    runtime = Echo(Path("x"), 1, "transcribe", finds_windows=finds_windows)
    found = [is_telling(way, ways, on_recording=kind, runtime=runtime) for kind in (False, True)]
    assert found == [on_clips, on_recordings]


@pytest.mark.parametrize(
    ("kind", "told"), [(Crashing, "ended by SIGSEGV"), (Raising, "ValueError: no such layer")]
)
def test_a_runtime_that_fails_does_not_take_the_script_along(kind, told):
    with pytest.raises(RuntimeFailure, match=told):
        render(kind, Path("x"), Trial(sounds(), [PLAIN], 1))


def test_a_runtime_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(rendering, "LEAST_PATIENCE", 3.0)
    started = time.monotonic()
    with pytest.raises(RuntimeFailure, match="no answer within"):
        render(Hanging, Path("x"), Trial(sounds(), [PLAIN], 1))
    assert time.monotonic() - started < 30


class Interrupted(Echo):
    """Gets the Ctrl-C that a terminal sends to all of a script's processes."""

    def transcribe(self, samples: np.ndarray, language: str | None, way: Way) -> Rendition:
        os.kill(os.getpid(), signal.SIGINT)
        return super().transcribe(samples, language, way)


def test_ctrl_c_ends_the_script_and_through_it_the_runtime():
    assert len(render(Interrupted, Path("x"), Trial(sounds(), [PLAIN], 1))) == 2
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            render(Hanging, Path("x"), Trial(sounds(), [PLAIN], 1))
    finally:
        signal.signal(signal.SIGINT, usual)
    assert multiprocessing.active_children() == []


def test_a_runtime_ends_soon_after_a_script_that_was_killed():
    script = multiprocessing.get_context("spawn").Process(
        target=render, args=(Hanging, Path("x"), Trial(sounds(), [PLAIN], 1))
    )
    script.start()
    started, runtimes = time.monotonic(), []
    while not runtimes and time.monotonic() - started < 60:
        time.sleep(0.1)
        family = psutil.Process(script.pid).children()
        runtimes = [child for child in family if "spawn_main" in " ".join(child.cmdline())]
    time.sleep(2)  # until it hangs
    script.kill()
    script.join()
    assert psutil.wait_procs(runtimes, timeout=20)[1] == []

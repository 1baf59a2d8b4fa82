"""Let a runtime transcribe test sounds in a process of its own: a bad export may crash it."""

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.delivery.parity.sounds import ParitySound
from utils.delivery.runtimes.runtime import Rendition, Runtime, Way
from utils.runtime.records import record_from

# opens an exported folder, with a number of threads and the task
Opener = Callable[[Path, int, str], AbstractContextManager[Runtime]]

PATIENCE = 20.0  # seconds of work for a second of sound; more is taken for a process that hangs

LEAST_PATIENCE = 300.0  # seconds: to load the library and the model


class RuntimeFailure(Exception):
    """The runtime cannot use the export. The message says what happened."""


@dataclass(frozen=True)
class Trial:
    """What every runtime is asked to do."""

    sounds: Sequence[ParitySound]
    ways: Sequence[Way]
    threads: int
    task: str = "transcribe"


@dataclass(frozen=True)
class Rendered:
    """What a runtime wrote for one sound in one way."""

    sound: int  # its number
    way: Way
    rendition: Rendition
    seconds: float  # of work


def render(opener: Opener, folder: Path, trial: Trial) -> list[Rendered]:
    """Transcribe all sounds in the ways that the runtime offers; see `is_telling`.

    Raises:
        RuntimeFailure: The runtime raised an error, crashed or hung.
    """
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "results.jsonl"
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=_render_all, args=(opener, folder, trial, results))
        limit = LEAST_PATIENCE + PATIENCE * len(trial.ways) * sum(sound.duration for sound in trial.sounds)
        with _deaf_to_ctrl_c():
            child.start()
        try:
            child.join(limit)
            if child.is_alive():
                raise RuntimeFailure(f"it gave no answer within {limit:.0f} s")
        finally:
            child.kill()
            child.join()
        found = list(_read(results))
        if child.exitcode:
            raise RuntimeFailure(_why(child.exitcode, found))
        return [record_from(Rendered, value) for value in found]


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let a process that is started in the block ignore Ctrl-C: this one ends it, without a traceback."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _end_with(parent: BaseProcess | None) -> None:
    if parent is not None:
        parent.join()
        os._exit(1)


def _render_all(opener: Opener, folder: Path, trial: Trial, results: Path) -> None:
    """Run in the child: write a line for each sound and way, or the error."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with results.open("w", encoding="utf-8") as file:
        try:
            with opener(folder, trial.threads, trial.task) as runtime:
                warm_up = np.zeros(SAMPLE_RATE, dtype=np.float32)
                runtime.transcribe(warm_up, trial.sounds[0].language, runtime.ways[0])
                offered = [way for way in trial.ways if way in runtime.ways]
                for way, (number, sound) in itertools.product(offered, enumerate(trial.sounds)):
                    if not is_telling(way, offered, on_recording=sound.is_recording, runtime=runtime):
                        continue
                    started = time.perf_counter()
                    rendition = runtime.transcribe(sound.samples, sound.language, way)
                    line = Rendered(number, way, rendition, time.perf_counter() - started)
                    file.write(json.dumps(asdict(line)) + "\n")
        except Exception as error:
            file.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            file.flush()
            raise SystemExit(1) from None


def is_telling(way: Way, ways: Sequence[Way], *, on_recording: bool, runtime: Runtime) -> bool:
    """Check whether a way shows something that the other ways do not show.

    Clips have no previous text. With times of words, the text is the same as with timestamps. Recordings are
    transcribed without timestamps only if the runtime cuts them at pauses.
    """
    if not on_recording:
        return way == Way(timestamps=way.timestamps)
    if way == Way():
        return runtime.finds_windows
    return way != Way(timestamps=True) or Way(timestamps=True, words=True) not in ways


def _read(results: Path) -> Iterator[dict]:
    for line in results.read_text(encoding="utf-8").splitlines() if results.is_file() else ():
        yield json.loads(line)


def _why(exit_code: int, found: Sequence[dict]) -> str:
    if found and "error" in found[-1]:
        return " ".join(str(found[-1]["error"]).split())[:500]
    if exit_code < 0:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    return f"its process ended with status {exit_code}"

"""Decode a stranger's file in a child process, so that no file can harm the process that asks."""

import json
import multiprocessing
import stat
from functools import cache
from multiprocessing.context import BaseContext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from utils.audio.flac import AudioError
from utils.delivery.intake.decoding_child import PROBLEM, SAMPLES, DecodingLimits, decode_into

PRELOADED = ["av", "numpy", "soundfile", "soxr"]
"""Libraries that the server of children imports once, so that each child starts fast."""

LARGEST_PROBLEM = 10_000  # characters


def decode_in_child(path: Path, limits: DecodingLimits = DecodingLimits()) -> np.ndarray:  # noqa: B008
    """Decode an untrusted file to 16 kHz mono, as `decode_audio` does, in a child process with limits.

    The child may use only so much memory, processor time and time, and a few open files. It may crash: this
    process only sees that no samples came. Samples come back through a temporary file and never as a
    pickle, which could hold code. Several threads may call this at once.

    Linux enforces all limits. macOS has no limit of memory for a process, so there only the length of the
    audio limits it. Windows has only the limit of time, and needs a third of a second to start a child.

    The start method imports the main script in the child again, as always with multiprocessing: keep heavy
    imports inside its functions.

    Returns:
        (samples,) float32, at least one sample, all finite.

    Raises:
        AudioError: As `decode_audio`. Also if the file is a link, or the decoder is too slow, needs too much
            memory, or crashes.
    """
    _check_file(path)
    with TemporaryDirectory(prefix="decoding-") as folder:
        child = _context().Process(  # type: ignore[attr-defined]
            target=decode_into, args=(Path(folder), path.absolute(), limits), daemon=True
        )
        child.start()
        child.join(limits.seconds)
        is_late = child.exitcode is None
        if is_late:
            child.kill()
            child.join()
        return _read_outcome(Path(folder), is_late, limits)


@cache
def _context() -> BaseContext:
    """Return the way to start children: from a small server process, never as a copy of this process.

    A copy would have the model in its memory, and the locks of other threads as they were.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _check_file(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):
        raise AudioError("no such file", f"{str(path)[-100:]!a}") from None
    if not stat.S_ISREG(mode):
        raise AudioError("not a file", "expected a file of its own, not a folder, a link or a device")


def _read_outcome(folder: Path, is_late: bool, limits: DecodingLimits) -> np.ndarray:
    """Read what the child has left. Files tell more reliably than its exit code, which threads may lose."""
    samples, problem = folder / SAMPLES, folder / PROBLEM
    if samples.is_file() and not is_late:
        return np.fromfile(samples, dtype=np.float32)
    if problem.is_file() and not is_late:
        kind, details = json.loads(problem.read_text(encoding="utf-8")[:LARGEST_PROBLEM])
        raise AudioError(str(kind), str(details))
    if is_late:
        raise AudioError("too slow", f"not decoded within {limits.seconds:g} s; convert it to WAV or FLAC")
    raise AudioError("decoder stopped", "its decoder crashed or passed a limit; convert it to WAV or FLAC")

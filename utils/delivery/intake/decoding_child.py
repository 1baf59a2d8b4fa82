"""Decode one file inside a child process with limits. It imports no torch, so that a child starts fast."""

import contextlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from utils.audio.flac import SAMPLE_RATE, AudioError
from utils.audio.reading import decode_audio

BYTES_OF_A_SECOND = 4 * SAMPLE_RATE  # float32

SAMPLES, PROBLEM = "samples.f32", "problem.json"
"""Files of the outcome. Exactly one of them is written, and only at the end."""

MOST_FILES = 32  # open at once


@dataclass(frozen=True)
class DecodingLimits:
    """How much the decoding of one file may cost."""

    audio_seconds: float = 3 * 3600.0
    seconds: float = 300.0  # of processor time, and of waiting
    working_bytes: int = 512 << 20  # memory for libraries and buffers, beside the samples

    @property
    def sample_bytes(self) -> int:
        return math.ceil(self.audio_seconds * BYTES_OF_A_SECOND)


def decode_into(folder: Path, path: Path, limits: DecodingLimits) -> None:
    """Decode `path` and write the samples, or the problem, into `folder`."""
    limit_decoding(limits)
    try:
        samples = decode_audio(path, max_seconds=limits.audio_seconds)
        partial = folder / "partial"
        samples.tofile(partial)
        partial.rename(folder / SAMPLES)
    except AudioError as error:
        problem = [error.problem.kind, error.problem.details]
    except MemoryError:
        problem = ["too much memory", "its decoder needs more memory than allowed; convert it to WAV or FLAC"]
    except OSError as error:  # a full disk
        problem = ["not decoded", f"the samples cannot be stored: {error.strerror}"]
    else:
        return
    (folder / PROBLEM).write_text(json.dumps(problem), encoding="utf-8")


def limit_decoding(limits: DecodingLimits) -> None:
    """Limit memory, processor time, files and their size for this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    # the samples grow in place, with an eighth to spare
    memory = limits.working_bytes + limits.sample_bytes * 5 // 4
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, math.ceil(limits.seconds) + 1),
        (resource.RLIMIT_FSIZE, limits.sample_bytes + (1 << 20)),
        (resource.RLIMIT_NOFILE, MOST_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses a limit of memory
            resource.setrlimit(kind, (most, most))

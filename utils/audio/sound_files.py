"""Draw random sounds from a folder: noises and room responses."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from utils.audio.flac import AudioError, to_int16
from utils.audio.reading import AUDIO_EXTENSIONS, decode_audio
from utils.runtime.errors import UserError

LONGEST_RESPONSE = 4.0  # seconds used of a file with a room response

CACHE_BYTES = 256_000_000  # of decoded noises and responses in one process: 2.2 hours

MOST_PROBLEMS = 10  # bad files named one by one

PUT_BACK = (  # advice if a file has gone since it was checked
    "It was readable when the run began. Put it back, then run the same command again to continue."
)


@dataclass(frozen=True)
class SoundFile:
    """A decoded file."""

    samples: np.ndarray  # (n,) int16: half the memory
    power: float  # mean, of full scale

    def as_floats(self) -> np.ndarray:
        return self.samples.astype(np.float32) / np.float32(32768.0)

    def stretch(self, num_samples: int, random: np.random.Generator) -> np.ndarray:
        """Return (num_samples,) float32 from a random start. A shorter sound is repeated."""
        size = len(self.samples)
        start = int(random.integers(max(size - num_samples + 1, 1) if size >= num_samples else size))
        part = self.samples[start : start + num_samples]
        if len(part) < num_samples:
            part = np.resize(np.roll(self.samples, -start), num_samples)
        return part.astype(np.float32) / np.float32(32768.0)


_SOUNDS: OrderedDict[Path, SoundFile] = OrderedDict()  # most recently used, up to CACHE_BYTES in each process


def _cached_sound(path: Path) -> SoundFile:
    """Return a sound from the cache. If it is not there, decode it."""
    if path not in _SOUNDS:
        _SOUNDS[path] = _read_sound(path)
        while len(_SOUNDS) > 1 and sum(sound.samples.nbytes for sound in _SOUNDS.values()) > CACHE_BYTES:
            _SOUNDS.popitem(last=False)
    _SOUNDS.move_to_end(path)
    return _SOUNDS[path]


def draw_sound(folder: str, random: np.random.Generator) -> SoundFile:
    """Draw one of the files in a folder.

    Raises:
        UserError: No file is left, or the file cannot be read; see `folder_problems`.
    """
    paths = _find_sounds(folder)
    if not paths:
        raise UserError(f"{folder}: the audio files are gone. {PUT_BACK}")
    path = paths[int(random.integers(len(paths)))]
    try:
        return _cached_sound(path)
    except AudioError as error:
        raise UserError(f"{path}: {error}. {PUT_BACK}") from None


@lru_cache(maxsize=4)
def _find_sounds(folder: str) -> tuple[Path, ...]:
    """Find audio files anywhere below a folder, in the same order on every machine."""
    root = Path(folder)
    found = (path for path in root.rglob("*") if path.suffix.lower() in AUDIO_EXTENSIONS and path.is_file())
    return tuple(sorted(found, key=lambda path: path.relative_to(root).as_posix()))


def _read_sound(path: Path) -> SoundFile:
    """Decode one file.

    Raises:
        AudioError: It cannot be used.
    """
    samples = to_int16(decode_audio(path))
    floats = samples.astype(np.float32)
    power = float(np.mean(np.square(floats))) / 32768.0**2
    if power == 0.0:
        raise AudioError("silent", "every sample is 0")
    return SoundFile(samples, power)


def folder_problems(folder: str) -> list[str]:
    """Decode every audio file in a folder and list the problems."""
    if not Path(folder).is_dir():
        return [f"{folder}: no such folder; expected one with audio files."]
    paths = _find_sounds(folder)
    if not paths:
        return [f"{folder}: no audio files; expected some of {', '.join(sorted(AUDIO_EXTENSIONS))}."]
    problems = []
    for path in paths:
        try:
            _read_sound(path)
        except AudioError as error:
            problems.append(f"{path}: {error}. Repair it or remove it from the folder.")
    more = len(problems) - MOST_PROBLEMS
    return problems[:MOST_PROBLEMS] + ([f"{folder}: {more} more files cannot be used."] if more > 0 else [])

"""Read audio of any common format as 16 kHz mono."""

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from utils.audio.containers import holds_mp3, missing_end, split_ogg_chain
from utils.audio.flac import SAMPLE_RATE, AudioError
from utils.audio.libraries import (
    HEADERLESS_FORMATS,
    MOST_MP3_TAGS,
    UNKNOWN_FRAMES,
    Block,
    BrokenOff,
    Miscounted,
    decode_with_av,
    decode_with_soundfile,
)

# fmt: off
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".webm", ".g722", ".mp4", ".aac", ".aiff",
    ".aif", ".amr", ".caf", ".mkv", ".mov", ".wma",
))
# fmt: on
"""Extensions of the files that a search for audio in a folder finds."""

LONGEST_AUDIO = 6 * 3600.0  # seconds; 6 h take 1.4 GB of memory

LOUDEST_SAMPLE = 8.0  # full scale is 1; floats far above it were never scaled and would be clipped to noise

CANCELLED = 0.01  # of the loudest channel's energy; below it the channels' mean has lost the sound


def decode_audio(
    source: Path | bytes,
    *,
    suffix: str | None = None,
    max_seconds: float = LONGEST_AUDIO,
    allow_truncated: bool = False,
) -> np.ndarray:
    """Decode a file or its bytes to 16 kHz mono.

    Several channels are averaged. If they cancel each other, for example because one has the opposite phase,
    the loudest channel is taken.

    Args:
        source: Path of a file, or the bytes of one.
        suffix: File name extension of the bytes, because some formats can only be recognised by it. Not
            needed for a path.
        max_seconds: Longer audio is an error, so that a small file made for an attack cannot fill the memory.
            A second of audio takes 64 kB.
        allow_truncated: Keep the decoded part of a file that ends earlier than its header says.

    Returns:
        (samples,) float32, at least one sample, all finite.

    Raises:
        AudioError: Missing, empty, not audio, broken, cut off, without samples, too long, or with NaN or Inf
            samples.
    """
    if suffix is None:
        suffix = "" if isinstance(source, bytes) else source.suffix
    with _open_binary(source) as file:
        headerless = _headerless_format(suffix.lower(), file)
        if headerless is None and not allow_truncated and (problem := missing_end(file)):
            raise AudioError(problem.kind, problem.details)
        usable = _until_it_breaks if allow_truncated else iter
        try:
            return _join(usable(_decode(file, headerless, to_the_last=allow_truncated)), max_seconds)
        except Miscounted:
            file.seek(0)
            return _join(usable(decode_with_av(file, "mp3")), max_seconds)


def _headerless_format(suffix: str, file: BinaryIO) -> str | None:
    """Return FFmpeg's name of the raw codec for the extension.

    Return None if the content has another format.
    """
    if suffix not in HEADERLESS_FORMATS:
        return None
    head = file.read(4)
    file.seek(0)
    return None if head in (b"RIFF", b"fLaC", b"OggS", b"FORM") else HEADERLESS_FORMATS[suffix]


def _decode(file: BinaryIO, headerless: str | None, *, to_the_last: bool) -> Iterator[Block]:
    """Decode the parts of a joined file one after the other.

    Raises:
        Miscounted: It is an MP3 file that must be decoded again. This is raised after the last block.
    """
    if headerless is not None:  # libsndfile could take bare bytes for an MP3 stream
        yield from decode_with_av(file, headerless)
        return
    for number, part in enumerate(split_ogg_chain(file)):
        try:
            yield from _decode_part(part, to_the_last)
        except AudioError as error:
            if number == 0:
                raise
            raise BrokenOff("broken audio", f"part {number + 1} of a chained Ogg file: {error}") from None


def _decode_part(file: BinaryIO, to_the_last: bool) -> Iterator[Block]:
    """Decode with libsndfile, which is faster, or with FFmpeg if libsndfile does not read it well."""
    file.seek(0)
    try:
        sound = soundfile.SoundFile(_PatientFile(file))
    except (soundfile.SoundFileError, TypeError):
        pass
    else:
        with sound:
            # not a stream without a length, nor FLAC that may break off: its last block would be lost
            if 0 < sound.frames < UNKNOWN_FRAMES and not (to_the_last and sound.format == "FLAC"):
                yield from decode_with_soundfile(sound)
                if sound.format == "MP3" and holds_mp3(file.read(MOST_MP3_TAGS)):
                    raise Miscounted
                return
    file.seek(0)
    yield from decode_with_av(file, None)


class _PatientFile:
    """A file that ignores a seek to a place before its start. libsndfile makes such a seek after a broken
    header.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


def _until_it_breaks(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield the blocks. If the decoder fails after at least one block, end without an error."""
    anything = False
    try:
        for block in blocks:
            yield block
            anything = True
    except BrokenOff:
        if not anything:
            raise


def _open_binary(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise AudioError("empty file", "0 bytes of audio")
        return io.BytesIO(source)
    try:
        if not source.exists():
            raise AudioError("no such file", str(source))
        if not source.is_file():
            raise AudioError("not a file", str(source))
        if source.stat().st_size == 0:
            raise AudioError("empty file", f"{source} has 0 bytes")
        return source.open("rb")
    except (OSError, ValueError) as error:  # no permission; a name too long or with a NUL character
        reason = getattr(error, "strerror", None) or error  # without the name, which may be very long
        raise AudioError("unreadable file", f"{str(source)[:200]!a}: {reason}") from None


def _join(blocks: Iterator[Block], max_seconds: float) -> np.ndarray:
    """Check, mix and resample blocks one after another, and join them to (samples,) float32 at 16 kHz."""
    joined = bytearray()  # grows in place: joining a list of blocks would take twice the memory
    resampler, source_rate, seconds = None, 0, 0.0
    for rate, block in blocks:
        if rate != source_rate and source_rate:
            raise AudioError("broken audio", f"the sample rate changes from {source_rate} to {rate} Hz")
        if not source_rate and rate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        source_rate = rate
        _check_samples(block, seconds)
        seconds += len(block) / rate
        if seconds > max_seconds:
            raise AudioError("too long", f"over {max_seconds:g} s of audio")
        mono = mix_channels(block)
        joined += (resampler.resample_chunk(mono) if resampler else mono).tobytes()
    if resampler:
        joined += resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True).tobytes()
    if not joined:
        raise AudioError("no samples", "the file is audio, but 0 samples long")
    return np.frombuffer(joined, dtype=np.float32)


def mix_channels(block: np.ndarray) -> np.ndarray:
    """Mix (n, channels) to (n,).

    Return the mean, or the loudest channel if the channels cancel each other.
    """
    num_channels = block.shape[1]
    if num_channels == 1:
        return block[:, 0]
    mono = block @ np.full(num_channels, 1 / num_channels, dtype=np.float32)
    energies = np.einsum("nc,nc->c", block, block)
    if mono @ mono < CANCELLED * energies.max():
        return np.ascontiguousarray(block[:, energies.argmax()])
    return mono


def _check_samples(block: np.ndarray, start: float) -> None:
    if not block.size:
        return
    low, high = float(block.min()), float(block.max())
    if not math.isfinite(low) or not math.isfinite(high):
        raise AudioError("NaN or infinite samples", f"first seen after {start:.1f} s")
    if (loudest := max(-low, high)) > LOUDEST_SAMPLE:
        raise AudioError("samples out of range", f"up to {loudest:.4g}, expected -1 to 1; scale the file")

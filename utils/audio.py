"""Audio of any common format to 16 kHz mono and back to FLAC bytes."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile
import soxr

from utils.archives import ArchiveMember, MemberError, read_member

SAMPLE_RATE = 16000
"""Samples per second everything is brought to; Whisper knows no other."""

HEADERLESS_FORMATS = {".g722": "g722"}
"""Extensions of raw codecs, which no decoder can recognise by content, and FFmpeg's names for them."""

# Names of FFmpeg's demuxers. Playlists (hls, concat, dash) are left out: they may name other files.
SAFE_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,ogg,mp3,wav,w64,flac,aac,amr,aiff,caf,asf,avi,mpegts,au"

# fmt: off
AUDIO_EXTENSIONS = frozenset((
    ".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".webm", ".g722", ".mp4", ".aac", ".aiff",
    ".aif", ".amr", ".caf", ".mkv", ".mov", ".wma",
))
# fmt: on
"""Files with these extensions are looked at when a folder is searched for audio."""

LOWEST_RATE, HIGHEST_RATE = 4000, 768_000  # Hz; outside them the header is broken or hostile
LOUDEST_SAMPLE = 8.0  # full scale is 1; floats far above it were never scaled and would be clipped to noise
BLOCK_SAMPLES = (
    1 << 18
)  # source samples decoded at once, so that a long recording is never held at its own rate


class AudioError(Exception):
    """Audio that cannot be used; its text is the reject reason, `kind: details`."""


def decode_audio(source: Path | bytes | ArchiveMember, *, max_seconds: float = 6 * 3600) -> np.ndarray:
    """Decode a file or its bytes to 16 kHz mono; several channels are averaged.

    Args:
        source: Path of a file, the bytes of one, or a member of an archive.
        max_seconds: Decoding stops with an error here, so that a small hostile file cannot fill the memory.

    Returns:
        (samples,) float32, at least one sample, all finite.

    Raises:
        AudioError: Missing, empty, not audio, broken, without samples, too long, or with NaN or Inf samples.
    """
    suffix = "" if isinstance(source, bytes) else Path(source.name).suffix.lower()
    if suffix in HEADERLESS_FORMATS:
        # before soundfile, which could take the bare bytes for an MP3 stream
        with _open_binary(source) as file:
            return _join(_decode_with_av(file, HEADERLESS_FORMATS[suffix]), max_seconds)
    with _open_binary(source) as file:
        try:
            sound = soundfile.SoundFile(file)
        except (soundfile.SoundFileError, TypeError):
            file.seek(0)
            return _join(_decode_with_av(file, None), max_seconds)
        with sound:
            return _join(_decode_with_soundfile(sound), max_seconds)


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode (samples,) float32 in [-1, 1] at 16 kHz as 16-bit mono FLAC; louder samples are clipped."""
    integers = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, integers, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """Decode what `encode_flac` wrote to (samples,) float32; nothing is checked or resampled.

    Raises:
        AudioError: The bytes are no FLAC at 16 kHz mono.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except soundfile.SoundFileError as error:
        raise AudioError(f"not audio: {error}") from None
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise AudioError(f"not 16 kHz mono: {rate} Hz, shape {samples.shape}; run preprocess.py on it")
    return samples


def _open_binary(source: Path | bytes | ArchiveMember) -> BinaryIO:
    if isinstance(source, ArchiveMember):
        try:
            source = read_member(source)
        except MemberError as problem:
            raise AudioError(str(problem)) from None
    if isinstance(source, bytes):
        if not source:
            raise AudioError("empty file: 0 bytes of audio")
        return io.BytesIO(source)
    try:
        if not source.exists():
            raise AudioError(f"no such file: {source}")
        if not source.is_file():
            raise AudioError(f"not a file: {source}")
        if source.stat().st_size == 0:
            raise AudioError(f"empty file: {source} has 0 bytes")
        return source.open("rb")
    except (OSError, ValueError) as error:  # no permission; a name too long or with a NUL character
        raise AudioError(f"unreadable file: {source!r}: {error}") from None


def _decode_with_soundfile(sound: soundfile.SoundFile) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the sample rate and mono blocks, (n,) float32, of an opened sound file."""
    _check_rate(sound.samplerate)
    frames = max(BLOCK_SAMPLES // sound.channels, 1)
    while True:
        try:
            block = sound.read(frames, dtype="float32", always_2d=True)  # (n, channels)
        except (soundfile.SoundFileError, OSError) as error:
            raise AudioError(f"broken audio: {error}") from None
        if not len(block):
            return
        yield sound.samplerate, block.mean(axis=1)


def _decode_with_av(file: BinaryIO, name: str | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the sample rate and mono frames, (n,) float32, of anything FFmpeg reads from SAFE_FORMATS."""
    # format_whitelist: see SAFE_FORMATS. protocol_whitelist: nothing but the open file itself may be read.
    options = {"format_whitelist": name or SAFE_FORMATS, "protocol_whitelist": "pipe"}
    try:
        container = av.open(file, mode="r", format=name, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise AudioError(f"not audio: no decoder recognises it ({_short(error)})") from None
    with container:
        if not container.streams.audio:
            raise AudioError("not audio: the file holds no audio stream")
        try:
            for frame in container.decode(container.streams.audio[0]):
                _check_rate(frame.sample_rate)
                yield frame.sample_rate, _mono(frame)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise AudioError(f"broken audio: {_short(error)}") from None


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The channels of a frame averaged, integers scaled to [-1, 1]: (n,) float32."""
    samples = frame.to_ndarray()  # planar (channels, n), packed (1, n * channels)
    channels = frame.layout.nb_channels
    by_channel = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    if by_channel.dtype == np.uint8:
        scaled = (by_channel.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(by_channel.dtype, np.integer):
        scaled = by_channel.astype(np.float32) / 2.0 ** (8 * by_channel.dtype.itemsize - 1)
    else:
        scaled = by_channel.astype(np.float32)
    return scaled.mean(axis=0)


def _join(blocks: Iterator[tuple[int, np.ndarray]], max_seconds: float) -> np.ndarray:
    """Check and resample mono blocks as they come, and join them: (samples,) float32 at 16 kHz."""
    joined = bytearray()  # grows in place: a list of blocks would have to be held twice to be joined
    resampler, source_rate, seconds = None, 0, 0.0
    for rate, block in blocks:
        if rate != source_rate and source_rate:
            raise AudioError(f"broken audio: the sample rate changes from {source_rate} to {rate} Hz")
        if not source_rate and rate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        source_rate = rate
        _check_samples(block, seconds)
        seconds += len(block) / rate
        if seconds > max_seconds:
            raise AudioError(f"too long to decode: over {max_seconds:g} s; cut the recording into files")
        joined += (resampler.resample_chunk(block) if resampler else block).tobytes()
    if resampler:
        joined += resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True).tobytes()
    if not joined:
        raise AudioError("no samples: the file is audio, but 0 samples long")
    return np.frombuffer(joined, dtype=np.float32)


def _check_samples(block: np.ndarray, start: float) -> None:
    if not np.isfinite(block).all():
        raise AudioError(f"NaN or infinite samples: first seen after {start:.1f} s")
    if len(block) and np.abs(block).max() > LOUDEST_SAMPLE:
        raise AudioError(
            f"samples out of range: up to {np.abs(block).max():.4g}, expected -1 to 1; scale the file"
        )


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"broken audio: {rate} samples a second, expected {LOWEST_RATE} to {HIGHEST_RATE}")


def _short(error: Exception) -> str:
    """FFmpeg's words without the number and the name of our file object."""
    return getattr(error, "strerror", None) or str(error)


def num_samples_at(seconds: float) -> int:
    """The sample nearest to a point in time."""
    return math.floor(seconds * SAMPLE_RATE + 0.5)

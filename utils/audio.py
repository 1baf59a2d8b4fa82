"""Audio of any common format to 16 kHz mono and back to FLAC bytes."""

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soundfile
import soxr

from utils.archives import ArchiveMember, MemberError, read_member
from utils.joined_audio import holds_mp3, split_ogg_chain
from utils.truncation import missing_end

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
BLOCK_SAMPLES = 1 << 15
"""Source samples decoded at once, over all channels, so that no recording is held at its own rate."""

CANCELLED = 0.01  # of the loudest channel's energy; below it the channels' mean has lost the sound
MISSING_SECONDS = 0.1  # a FLAC file may lack so much of what its header says
UNKNOWN_FRAMES = 1 << 62  # what libsndfile says of a stream without a length is beyond

# Containers whose times are those of the film; those of others are counted, or jump, as in MPEG-TS.
TIMED_FORMATS = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")
LONGEST_JITTER = 0.1  # seconds; times are rounded, and a codec's delay is shorter

MOST_MP3_TAGS = 1 << 24  # bytes, pictures among them, behind which further frames are looked for
MP3_TAGS = (b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"TAG")

Block = tuple[int, np.ndarray]
"""Samples a second, and (n, channels) float32."""


class AudioError(Exception):
    """Audio that cannot be used; its text is the reject reason, `kind: details`."""


class _BrokenOff(AudioError):
    """The decoder stopped before the end; what came before is sound."""


class _Miscounted(Exception):
    """An MP3 file goes on behind the samples that libsndfile counted in it and stopped after."""


def decode_audio(
    source: Path | bytes | ArchiveMember, *, max_seconds: float = 6 * 3600, allow_truncated: bool = False
) -> np.ndarray:
    """Decode a file or its bytes to 16 kHz mono.

    Several channels are averaged; where they cancel each other, as when one is wired with opposite phase, the
    loudest of them is taken.

    Args:
        source: Path of a file, the bytes of one, or a member of an archive.
        max_seconds: Decoding stops with an error here, so that a small hostile file cannot fill the memory;
            a second takes 64 kB.
        allow_truncated: Take what decodes of a file that ends or breaks off before its header says.

    Returns:
        (samples,) float32, at least one sample, all finite.

    Raises:
        AudioError: Missing, empty, not audio, broken, cut off, without samples, too long, or with NaN or Inf
            samples.
    """
    suffix = "" if isinstance(source, bytes) else Path(source.name).suffix.lower()
    with _open_binary(source) as file:
        headerless = _headerless_format(suffix, file)
        if headerless is None and not allow_truncated and (problem := missing_end(file)):
            raise AudioError(problem)
        usable = _until_it_breaks if allow_truncated else iter
        try:
            return _join(usable(_decode(file, headerless, to_the_last=allow_truncated)), max_seconds)
        except _Miscounted:
            file.seek(0)
            return _join(usable(_decode_with_av(file, "mp3")), max_seconds)


def _headerless_format(suffix: str, file: BinaryIO) -> str | None:
    """FFmpeg's name of the raw codec that the extension tells, unless the content tells otherwise."""
    if suffix not in HEADERLESS_FORMATS:
        return None
    head = file.read(4)
    file.seek(0)
    return None if head in (b"RIFF", b"fLaC", b"OggS", b"FORM") else HEADERLESS_FORMATS[suffix]


def _decode(file: BinaryIO, headerless: str | None, *, to_the_last: bool) -> Iterator[Block]:
    """Decode, one after the other, what was put one behind the other.

    Raises:
        _Miscounted: At the end, where it is an MP3 file to be decoded again.
    """
    if headerless is not None:  # libsndfile could take bare bytes for an MP3 stream
        yield from _decode_with_av(file, headerless)
        return
    for number, part in enumerate(split_ogg_chain(file)):
        try:
            yield from _decode_part(part, to_the_last)
        except AudioError as error:
            if number == 0:
                raise
            raise _BrokenOff(f"broken audio: part {number + 1} of a chained Ogg file: {error}") from None


def _decode_part(file: BinaryIO, to_the_last: bool) -> Iterator[Block]:
    """Decode with libsndfile, which is faster, or with FFmpeg what that does not know or not well enough."""
    file.seek(0)
    try:
        sound = soundfile.SoundFile(_PatientFile(file))
    except (soundfile.SoundFileError, TypeError):
        pass
    else:
        with sound:
            if _is_for_libsndfile(sound, to_the_last):
                yield from _decode_with_soundfile(sound)
                if sound.format == "MP3" and holds_mp3(file.read(MOST_MP3_TAGS)):
                    raise _Miscounted
                return
    file.seek(0)
    yield from _decode_with_av(file, None)


class _PatientFile:
    """A file that stays where it is when a broken header sends libsndfile to before its beginning."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return self._file.tell()


def _is_for_libsndfile(sound: soundfile.SoundFile, to_the_last: bool) -> bool:
    """Neither a stream without a length, nor FLAC that may break off: its last block would be lost."""
    return 0 < sound.frames < UNKNOWN_FRAMES and not (to_the_last and sound.format == "FLAC")


def _until_it_breaks(blocks: Iterator[Block]) -> Iterator[Block]:
    """Pass blocks on, and end where the decoder breaks off, if there was anything before."""
    anything = False
    try:
        for block in blocks:
            yield block
            anything = True
    except _BrokenOff:
        if not anything:
            raise


def encode_flac(samples: np.ndarray) -> bytes:
    """Encode (samples,) float32 in [-1, 1] at 16 kHz as 16-bit mono FLAC; louder samples are clipped."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(samples), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def to_int16(samples: np.ndarray) -> np.ndarray:
    """The 16-bit samples that `encode_flac` stores of (samples,) float32: (samples,) int16."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


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
        reason = getattr(error, "strerror", None) or error  # without the name, which may be endless
        raise AudioError(f"unreadable file: {str(source)[:200]!a}: {reason}") from None


def _decode_with_soundfile(sound: soundfile.SoundFile) -> Iterator[Block]:
    _check_rate(sound.samplerate)
    num_frames = max(BLOCK_SAMPLES // sound.channels, 1)
    decoded, problem = 0, ""
    while True:
        try:
            block = sound.read(num_frames, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            problem = f"broken audio: {error}"
            break
        if not len(block):
            break
        decoded += len(block)
        yield sound.samplerate, block
    # of the formats that libsndfile reads, FLAC alone counts its samples in the header and not its bytes
    promised = sound.frames if sound.format == "FLAC" else decoded
    if (promised - decoded) / sound.samplerate > MISSING_SECONDS:
        problem = (
            f"truncated: its header promises {promised / sound.samplerate:.1f} s, "
            f"{decoded / sound.samplerate:.1f} s can be decoded; copy it again"
        )
    if problem:
        raise _BrokenOff(problem)


def _decode_with_av(file: BinaryIO, name: str | None) -> Iterator[Block]:
    """Yield blocks of anything FFmpeg reads from SAFE_FORMATS, or in the format of that name."""
    # format_whitelist: see SAFE_FORMATS. protocol_whitelist: nothing but the open file itself may be read.
    options = {"format_whitelist": name or SAFE_FORMATS, "protocol_whitelist": "pipe"}
    try:
        container = av.open(file, mode="r", format=name, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise AudioError(f"not audio: no decoder recognises it ({_short(error)})") from None
    with container:
        if not container.streams.audio:
            raise AudioError("not audio: the file holds no audio stream")
        packets = container.demux(container.streams.audio[0])
        frames = _decode_packets(packets, pass_tags=name == "mp3")
        is_timed = container.format.name in TIMED_FORMATS and container.start_time is not None
        yield from _join_short(_fill_gaps(frames, container.start_time / av.time_base if is_timed else None))


def _decode_packets(
    packets: "Iterator[av.Packet[av.AudioStream]]", pass_tags: bool
) -> Iterator[av.AudioFrame]:
    """Frames of packets; those into which a tag between joined MP3 files was cut are passed over."""
    in_tag = False
    for packet in packets:
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            in_tag = in_tag or bytes(packet).startswith(MP3_TAGS)
            if not (pass_tags and in_tag):
                raise
            continue
        in_tag = False
        yield from frames


def _fill_gaps(frames: Iterator[av.AudioFrame], origin: float | None) -> Iterator[Block]:
    """The samples of frames, and silence where there is none for longer than `LONGEST_JITTER`.

    Args:
        frames: Whose times may leave gaps, as where a microphone was switched on late, or off and on.
        origin: Time at which the file begins, in seconds; None where times mean nothing.
    """
    seconds = 0.0
    for frame in frames:
        _check_rate(frame.sample_rate)
        samples = _samples_of(frame)
        late = 0.0 if origin is None or frame.time is None else frame.time - origin - seconds
        if late > LONGEST_JITTER:
            for silence in _silence(late, frame.sample_rate, samples.shape[1]):
                seconds += len(silence) / frame.sample_rate
                yield frame.sample_rate, silence
        seconds += len(samples) / frame.sample_rate
        yield frame.sample_rate, samples


def _silence(seconds: float, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Zeros in blocks, (n, channels) float32 each: a broken time may ask for years of them."""
    missing, longest = round(seconds * rate), max(BLOCK_SAMPLES // channels, 1)
    while missing:
        num_samples = min(missing, longest)
        yield np.zeros((num_samples, channels), dtype=np.float32)
        missing -= num_samples


def _join_short(blocks: Iterator[Block]) -> Iterator[Block]:
    """Join the samples of frames, as short as 20 ms, to blocks of one rate and number of channels."""
    waiting, num_samples, problem = list[Block](), 0, None
    try:
        for block in blocks:
            alike = not waiting or (waiting[0][0], waiting[0][1].shape[1]) == (block[0], block[1].shape[1])
            if not alike or num_samples >= BLOCK_SAMPLES:
                yield waiting[0][0], np.concatenate([samples for _, samples in waiting])
                waiting, num_samples = [], 0
            waiting.append(block)
            num_samples += block[1].size
    except (av.FFmpegError, ValueError, OSError) as error:
        problem = f"broken audio: {_short(error)}"
    if waiting:
        yield waiting[0][0], np.concatenate([samples for _, samples in waiting])
    if problem:
        raise _BrokenOff(problem)


def _samples_of(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a frame, integers scaled to [-1, 1]: (n, channels) float32."""
    samples = frame.to_ndarray()  # planar (channels, n), packed (1, n * channels)
    channels = frame.layout.nb_channels
    by_sample = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    if by_sample.dtype == np.uint8:
        return (by_sample.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(by_sample.dtype, np.integer):
        return by_sample.astype(np.float32) / 2.0 ** (8 * by_sample.dtype.itemsize - 1)
    return by_sample.astype(np.float32)


def _join(blocks: Iterator[Block], max_seconds: float) -> np.ndarray:
    """Check, mix and resample blocks as they come, and join them: (samples,) float32 at 16 kHz."""
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
            raise AudioError(f"too long: over {max_seconds:g} s of audio")
        mono = mix_channels(block)
        joined += (resampler.resample_chunk(mono) if resampler else mono).tobytes()
    if resampler:
        joined += resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True).tobytes()
    if not joined:
        raise AudioError("no samples: the file is audio, but 0 samples long")
    return np.frombuffer(joined, dtype=np.float32)


def mix_channels(block: np.ndarray) -> np.ndarray:
    """Mix (n, channels) to (n,): the mean, or the loudest channel where the channels cancel each other."""
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
        raise AudioError(f"NaN or infinite samples: first seen after {start:.1f} s")
    if (loudest := max(-low, high)) > LOUDEST_SAMPLE:
        raise AudioError(f"samples out of range: up to {loudest:.4g}, expected -1 to 1; scale the file")


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"broken audio: {rate} samples a second, expected {LOWEST_RATE} to {HIGHEST_RATE}")


def _short(error: Exception) -> str:
    """FFmpeg's words without the number and the name of our file object."""
    return getattr(error, "strerror", None) or str(error)


def num_samples_at(seconds: float) -> int:
    """The sample nearest to a point in time."""
    return math.floor(seconds * SAMPLE_RATE + 0.5)

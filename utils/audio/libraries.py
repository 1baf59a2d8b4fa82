"""Decode audio with soundfile and FFmpeg: blocks of samples, with gaps filled and errors reported."""

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
import soundfile

from utils.audio.flac import AudioError

HEADERLESS_FORMATS = {".g722": "g722"}
"""Extensions of raw codecs, which no decoder can recognise by content, and FFmpeg's names for them."""

# Names of FFmpeg's demuxers. Playlists (hls, concat, dash) are left out: they may name other files.
SAFE_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,ogg,mp3,wav,w64,flac,aac,amr,aiff,caf,asf,avi,mpegts,au"

LOWEST_RATE, HIGHEST_RATE = 4000, 768_000  # Hz; outside them the header is broken or hostile

BLOCK_SAMPLES = 1 << 15
"""Number of samples, over all channels, that are decoded at once.

So memory does not grow with the sampling rate.
"""

MISSING_SECONDS = 0.1  # a FLAC file may be shorter than its header says by this much

UNKNOWN_FRAMES = 1 << 62  # libsndfile gives a larger number for a stream without a length

# Containers with real times. Times of others are counted, or they jump, as in MPEG-TS.
TIMED_FORMATS = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")

LONGEST_JITTER = 0.1  # seconds; times are rounded, and a codec's delay is shorter

MOST_MP3_TAGS = 1 << 24  # bytes of tags, pictures included, after which more frames are searched

MP3_TAGS = (b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"TAG")

Block = tuple[int, np.ndarray]
"""The sampling rate in Hz, and the samples (n, channels) float32."""


class BrokenOff(AudioError):
    """The decoder stopped before the end. The samples before that are usable."""


class Miscounted(Exception):
    """libsndfile has counted too few samples in an MP3 file. The file continues after them."""


def decode_with_soundfile(sound: soundfile.SoundFile) -> Iterator[Block]:
    _check_rate(sound.samplerate)
    num_frames = max(BLOCK_SAMPLES // sound.channels, 1)
    decoded, problem = 0, None
    while True:
        try:
            block = sound.read(num_frames, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            problem = BrokenOff("broken audio", str(error))
            break
        if not len(block):
            break
        decoded += len(block)
        yield sound.samplerate, block
    # of the formats that libsndfile reads, FLAC alone counts its samples in the header and not its bytes
    promised = sound.frames if sound.format == "FLAC" else decoded
    if (promised - decoded) / sound.samplerate > MISSING_SECONDS:
        problem = BrokenOff(
            "truncated",
            f"its header says {promised / sound.samplerate:.1f} s, "
            f"{decoded / sound.samplerate:.1f} s can be decoded; copy it again",
        )
    if problem:
        raise problem


def decode_with_av(file: BinaryIO, name: str | None) -> Iterator[Block]:
    """Yield blocks of any audio that FFmpeg reads in SAFE_FORMATS, or in the format `name`."""
    # format_whitelist: see SAFE_FORMATS. protocol_whitelist: nothing but the open file itself may be read.
    options = {"format_whitelist": name or SAFE_FORMATS, "protocol_whitelist": "pipe"}
    try:
        container = av.open(file, mode="r", format=name, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise AudioError("not audio", f"no decoder recognises it ({first_line_of(error)})") from None
    with container:
        if not container.streams.audio:
            raise AudioError("not audio", "the file holds no audio stream")
        packets = container.demux(container.streams.audio[0])
        frames = _decode_packets(packets, pass_tags=name == "mp3")
        is_timed = container.format.name in TIMED_FORMATS and container.start_time is not None
        yield from _join_short(_fill_gaps(frames, container.start_time / av.time_base if is_timed else None))


def _decode_packets(
    packets: "Iterator[av.Packet[av.AudioStream]]", pass_tags: bool
) -> Iterator[av.AudioFrame]:
    """Yield the frames of packets.

    Skip frames that cannot be decoded because of a tag between joined MP3 files.
    """
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
    """Yield the samples of frames, with silence in gaps longer than `LONGEST_JITTER`.

    Args:
        frames: There may be gaps between their times, for example if a microphone was off for some time.
        origin: Start time of the file in seconds. None if its times have no meaning.
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
    """Yield zeros in blocks of (n, channels) float32.

    They are not made all at once, because a wrong time in a file may mean years of silence.
    """
    missing, longest = round(seconds * rate), max(BLOCK_SAMPLES // channels, 1)
    while missing:
        num_samples = min(missing, longest)
        yield np.zeros((num_samples, channels), dtype=np.float32)
        missing -= num_samples


def _join_short(blocks: Iterator[Block]) -> Iterator[Block]:
    """Join short frames (some have 20 ms) to longer blocks.

    All frames of a block have the same rate and number of channels.
    """
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
        problem = BrokenOff("broken audio", first_line_of(error))
    if waiting:
        yield waiting[0][0], np.concatenate([samples for _, samples in waiting])
    if problem:
        raise problem


def _samples_of(frame: av.AudioFrame) -> np.ndarray:
    """Return the samples of a frame, (n, channels) float32. Integers are scaled to [-1, 1]."""
    samples = frame.to_ndarray()  # planar (channels, n), packed (1, n * channels)
    channels = frame.layout.nb_channels
    by_sample = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    if by_sample.dtype == np.uint8:
        return (by_sample.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(by_sample.dtype, np.integer):
        return by_sample.astype(np.float32) / 2.0 ** (8 * by_sample.dtype.itemsize - 1)
    return by_sample.astype(np.float32)


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError("broken audio", f"{rate} samples a second, expected {LOWEST_RATE} to {HIGHEST_RATE}")


def first_line_of(error: Exception) -> str:
    """Return FFmpeg's message without the error number and the name of our file object."""
    return getattr(error, "strerror", None) or str(error)

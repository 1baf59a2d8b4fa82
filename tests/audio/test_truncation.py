"""Containers that promise more than is there are told; whole ones, streamed ones and odd ones are not."""

import io
import random
import struct
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hostile import flac_with_length, m4a, sound_file, tone, wav_with
from utils.audio.containers import missing_end
from utils.runtime.problems import Problem

SOUND = tone(0, seconds=8.0)


def webm() -> bytes:
    """Opus in WebM, whose segment has a size since the file was finished."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=48_000, layout="mono")
        samples = tone(1, rate=48_000).astype("float32")[None]
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format.name, "mono", 48_000, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
    return buffer.getvalue()


def id3_tag(num_bytes: int) -> bytes:
    """What stands in front of many an MP3; its size is written in four times seven bits."""
    return b"ID3\x04\0\0" + bytes(num_bytes >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(num_bytes)


def wav_with_odd_chunk() -> bytes:
    """A chunk of three bytes before the sound; a fourth fills it up (RIFF: chunks begin at even places)."""
    whole = sound_file(SOUND)
    place = whole.index(b"data")
    return whole[:place] + b"note" + struct.pack("<I", 3) + b"abc\0" + whole[place:]


WHOLE = {
    "wav": lambda: sound_file(SOUND),
    "wav with an odd chunk": wav_with_odd_chunk,
    "wav of floats": lambda: sound_file(SOUND, subtype="FLOAT"),
    "aiff": lambda: sound_file(SOUND, kind="AIFF"),
    "mp3": lambda: sound_file(SOUND, kind="MP3"),
    "mp3 with a picture": lambda: id3_tag(3_000) + sound_file(SOUND, kind="MP3"),
    "ogg vorbis": lambda: sound_file(SOUND, kind="OGG", subtype="VORBIS"),
    "ogg opus": lambda: sound_file(SOUND, kind="OGG", subtype="OPUS"),
    "m4a": lambda: m4a(SOUND),
    "webm": webm,
}


@lru_cache
def make_whole(name: str) -> bytes:
    return WHOLE[name]()


def told(data: bytes) -> Problem | None:
    file = io.BytesIO(data)
    problem = missing_end(file)
    assert file.tell() == 0
    return problem


@pytest.mark.parametrize("name", WHOLE)
def test_whole_and_cut(name):
    whole = make_whole(name)
    assert told(whole) is None
    for share in (0.3, 0.5, 0.8):
        problem = told(whole[: int(share * len(whole))])
        assert problem is not None and problem.kind == "truncated", (name, share)


@pytest.mark.parametrize("name", ["wav", "aiff", "mp3", "m4a", "webm"])
def test_a_few_bytes_or_a_tail_do_not_matter(name):
    whole = make_whole(name)
    assert told(whole + b"TAG" + bytes(125)) is None
    if name in ("wav", "aiff"):
        assert told(whole[:-20]) is None


def test_the_sizes_are_told():
    # 44 bytes of header and 8 s of 16 bits at 16 kHz
    assert "says 256,044 bytes, the file has 64,022" in str(told(make_whole("wav")[:64_022]))


@pytest.mark.parametrize(
    ("seconds", "missing_bytes", "is_told"),
    [
        (8.0, 2_560, False),  # a hundredth of 256,044 bytes
        (8.0, 2_561, True),
        (1.0, 1_000, False),  # of 32,044, whose hundredth is less
        (1.0, 1_001, True),
    ],
)
def test_up_to_a_hundredth_or_a_thousand_bytes_may_be_missing(seconds, missing_bytes, is_told):
    whole = sound_file(SOUND[: round(seconds * 16_000)])
    assert len(whole) == 44 + seconds * 32_000
    assert (told(whole[:-missing_bytes]) is not None) == is_told


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF - 36, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF])
def test_streamed_wav_has_no_size(size):
    assert told(wav_with(SOUND, data_size=size)) is None


def test_a_streamed_webm_has_no_size():
    data = bytearray(make_whole("webm"))
    place = data.index(b"\x18\x53\x80\x67") + 4
    data[place : place + 8] = b"\x01" + b"\xff" * 7
    assert told(bytes(data[: len(data) // 2])) is None


def test_an_mp4_without_its_index():
    data = make_whole("m4a")
    box, position = b"", 0
    while box != b"moov":
        start = position
        (length,) = struct.unpack_from(">I", data, position)
        box = data[position + 4 : position + 8]
        position += length
    assert "without its index" in str(told(data[:start]))


def test_flac_says_nothing_of_its_bytes():
    assert told(flac_with_length(SOUND, 2**36 - 1)) is None


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", *(make_whole(name)[:60] for name in WHOLE)]))
def test_any_bytes_are_read_without_an_error(data, head):
    told(head + data)
    told(data + head)


@settings(deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 2**32))
def test_damaged_headers_are_read_without_an_error(name, seed):
    draw = random.Random(seed)
    data = bytearray(make_whole(name)[:4000])
    for _ in range(draw.randrange(1, 20)):
        data[draw.randrange(min(len(data), 100))] = draw.randrange(256)
    told(bytes(data))

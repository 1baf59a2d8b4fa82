"""Every format decodes to the tone that went in; everything that is no usable audio says why."""

import contextlib
import io
import random
import struct
import subprocess
import sys
import wave
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hostile import flac_with_length, long_silence, m4a, sound_file, wav_with
from utils.audio.flac import SAMPLE_RATE, AudioError, decode_flac, encode_flac, num_samples_at
from utils.audio.reading import decode_audio

SECONDS, HERTZ, AMPLITUDE = 2.0, 440.0, 0.3


def tone(rate: int, seconds: float = SECONDS, channels: int = 1) -> np.ndarray:
    """(samples, channels) float32."""
    time = np.arange(round(seconds * rate)) / rate
    wave_ = AMPLITUDE * np.sin(2 * np.pi * HERTZ * time)
    return np.repeat(wave_[:, None], channels, axis=1).astype(np.float32)


def write_with_av(path: Path, container: str, codec: str, rate: int, channels: int, video: bool) -> None:
    samples = tone(rate, channels=channels)
    layout = "stereo" if channels == 2 else "mono"
    with av.open(str(path), "w", format=container) as output:
        pictures = output.add_stream("mpeg4", rate=10) if video else None
        audio = output.add_stream(codec, rate=rate, layout=layout)
        if pictures is not None:
            pictures.width = pictures.height = 32
            for _ in range(round(10 * SECONDS)):
                output.mux(pictures.encode(av.VideoFrame(32, 32, "rgb24")))
            output.mux(pictures.encode(None))
        resampler = av.AudioResampler(audio.format.name, layout, rate, frame_size=audio.frame_size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(audio.encode(part))


FORMATS = {
    # name: (container, codec, rate, channels, video)
    "a.mp3": ("mp3", "libmp3lame", 44100, 2, False),
    "a.m4a": ("ipod", "aac", 44100, 2, False),
    "a.opus": ("ogg", "libopus", 48000, 1, False),
    "a.webm": ("webm", "libopus", 48000, 2, False),
    "a.mkv": ("matroska", "aac", 32000, 1, False),
    "a.g722": ("g722", "g722", 16000, 1, False),
    "a.mp4": ("mp4", "aac", 48000, 2, True),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    for name, how in FORMATS.items():
        write_with_av(folder / name, *how)
    for name, rate, subtype in [
        ("a.wav", 44100, "PCM_16"),
        ("b.wav", 8000, "ULAW"),
        ("c.wav", 22050, "FLOAT"),
    ]:
        soundfile.write(folder / name, tone(rate, channels=2), rate, subtype=subtype)
    soundfile.write(folder / "a.flac", tone(48000), 48000, subtype="PCM_24")
    soundfile.write(folder / "a.ogg", tone(44100), 44100, format="OGG", subtype="VORBIS")
    return folder


def assert_is_the_tone(samples: np.ndarray) -> None:
    """440 Hz at an amplitude of 0.3 for 2 s; lossy codecs pad by less than 0.15 s."""
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert SECONDS - 0.01 <= len(samples) / SAMPLE_RATE <= SECONDS + 0.15
    middle = samples[8000:24000]  # one second, so that bin numbers are hertz
    assert abs(int(np.abs(np.fft.rfft(middle)).argmax()) - HERTZ) <= 1
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(AMPLITUDE / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("name", [*FORMATS, "a.wav", "b.wav", "c.wav", "a.flac", "a.ogg"])
def test_format(encoded, name):
    assert_is_the_tone(decode_audio(encoded / name))
    if not name.endswith(".g722"):  # without a header only the extension tells
        assert_is_the_tone(decode_audio((encoded / name).read_bytes()))


def test_channels_are_averaged(tmp_path):
    left = np.full(1600, 0.5, dtype=np.float32)
    right = np.full(1600, -0.1, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), SAMPLE_RATE, subtype="FLOAT")
    assert decode_audio(tmp_path / "a.wav") == pytest.approx(np.full(1600, 0.2), abs=1e-6)


def test_a_long_file_is_resampled_without_seams(tmp_path):
    # several blocks of BLOCK_SAMPLES: a seam would be a click, energy far from the tone
    soundfile.write(tmp_path / "a.wav", tone(44100, 20.0), 44100, subtype="FLOAT")
    samples = decode_audio(tmp_path / "a.wav")
    assert len(samples) == 20 * SAMPLE_RATE
    expected = AMPLITUDE * np.sin(2 * np.pi * HERTZ * np.arange(len(samples)) / SAMPLE_RATE)
    assert np.abs(samples[400:-400] - expected[400:-400]).max() < 1e-3


def test_flac_holds_16_bits_exactly():
    integers = np.random.default_rng(0).integers(-32768, 32768, 5000)
    samples = (integers / 32768).astype(np.float32)
    data = encode_flac(samples)
    assert data[:4] == b"fLaC"
    info = soundfile.info(io.BytesIO(data))
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert np.array_equal(decode_flac(data), samples)


def test_flac_clips_what_is_too_loud():
    decoded = decode_flac(encode_flac(np.array([2.0, -2.0, 1.0], dtype=np.float32)))
    assert decoded.tolist() == [32767 / 32768, -1.0, 32767 / 32768]


def test_decode_flac_wants_16_khz_mono(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(8000), 8000, format="FLAC")
    with pytest.raises(AudioError, match="8000 Hz"):
        decode_flac(buffer.getvalue())
    with pytest.raises(AudioError, match="not audio"):
        decode_flac(b"nothing")


def wav_of_floats(values: list[float]) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.array(values, dtype=np.float32), 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def wav_without_samples() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"")
    return buffer.getvalue()


def half_a_flac() -> bytes:
    noise = np.random.default_rng(0).normal(scale=0.1, size=160_000).astype(np.float32)
    data = encode_flac(noise)
    return data[: len(data) // 2]


def wav_at_rate(rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(100), rate, format="WAV")
    return buffer.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"

BAD_BYTES = {
    "empty": (b"", "empty file"),
    "text": (b"this is no audio\n" * 500, "not audio"),
    "random": (random.Random(1).randbytes(100_000), "not audio"),
    "zeros": (bytes(20_000), "not audio"),
    "playlist": (PLAYLIST, "not audio"),
    "concat": (b"ffconcat version 1.0\nfile /etc/hostname\n", "not audio"),
    "0 samples": (wav_without_samples(), "no samples"),
    "nan": (wav_of_floats([0.1] * 100 + [float("nan")] + [0.1] * 100), "NaN or infinite"),
    "inf": (wav_of_floats([0.1] * 100 + [float("-inf")]), "NaN or infinite"),
    "unscaled": (wav_of_floats([0.0, 12000.0, -9000.0]), "samples out of range"),
    "truncated": (half_a_flac(), "truncated"),
    "rate": (wav_at_rate(1), "broken audio: 1 samples a second"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
@pytest.mark.parametrize("as_file", [True, False])
def test_bad_audio_says_why(name, as_file, tmp_path):
    data, reason = BAD_BYTES[name]
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        decode_audio(path if as_file else data)
    assert str(caught.value).startswith(reason)
    assert "object at 0x" not in str(caught.value)


def test_a_picture_without_sound_is_not_audio(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        pictures = output.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 32
        output.mux(pictures.encode(av.VideoFrame(32, 32, "rgb24")))
        output.mux(pictures.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        decode_audio(tmp_path / "a.mp4")


def test_missing_file_folder_and_bad_name(tmp_path):
    with pytest.raises(AudioError, match=r"no such file: .*missing\.wav"):
        decode_audio(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="not a file"):
        decode_audio(tmp_path)
    with pytest.raises(AudioError, match=r"no such file|unreadable file"):
        decode_audio(Path("a\0b.wav"))
    with pytest.raises(AudioError, match=r"no such file|unreadable file"):
        decode_audio(tmp_path / ("x" * 5000))


def test_decoding_stops_at_max_seconds(encoded):
    for name in ("a.wav", "a.m4a", "a.g722"):
        with pytest.raises(AudioError, match="too long: over 1 s"):
            decode_audio(encoded / name, max_seconds=1.0)


def test_num_samples_at():
    assert [num_samples_at(seconds) for seconds in (0, 1, 0.00003125, 1.5)] == [0, 16000, 1, 24000]


# ---- channels, odd encodings, wrong names ------------------------------------------------------------------


def write_wav(
    path: Path, channels: list[np.ndarray], rate: int = SAMPLE_RATE, subtype: str = "FLOAT"
) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), rate, subtype=subtype)
    return path


def test_channels_that_cancel_leave_the_loudest(tmp_path):
    one = tone(SAMPLE_RATE)[:, 0]
    decoded = decode_audio(write_wav(tmp_path / "a.wav", [0.9 * one, -one]))
    assert decoded == pytest.approx(-one, abs=1e-6)
    opposite = write_wav(tmp_path / "b.wav", [np.repeat(one, 3), -np.repeat(one, 3)], 48_000)
    assert np.sqrt(np.mean(decode_audio(opposite)[8000:24000] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.02)


def test_a_silent_channel_halves_the_level_and_no_more(tmp_path):
    one = tone(SAMPLE_RATE)[:, 0]
    assert decode_audio(write_wav(tmp_path / "a.wav", [one, 0 * one])) == pytest.approx(one / 2, abs=1e-6)
    six = write_wav(tmp_path / "b.wav", [0 * one, 0 * one, one, 0 * one, 0 * one, 0 * one])
    assert decode_audio(six) == pytest.approx(one / 6, abs=1e-6)


def test_channels_that_cancel_in_a_lossy_film(tmp_path):
    left = tone(48_000)[:, 0]
    stereo = np.stack([left, -left])
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        packed = np.rint(stereo.T * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
        frame.sample_rate = 48_000
        for part in [frame, None]:
            output.mux(stream.encode(part))
    assert_is_the_tone(decode_audio(tmp_path / "a.mkv"))


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (16_000, 1, "PCM_U8"),
        (44_100, 2, "PCM_24"),
        (48_000, 1, "PCM_32"),
        (16_000, 2, "FLOAT"),
        (22_050, 1, "DOUBLE"),
        (96_000, 1, "PCM_24"),
        (192_000, 2, "PCM_16"),
        (16_000, 6, "PCM_16"),
        (8_000, 1, "ALAW"),
        (16_000, 1, "MS_ADPCM"),
        (16_000, 1, "GSM610"),
    ],
)
def test_encodings_of_wav(tmp_path, rate, channels, subtype):
    soundfile.write(tmp_path / "a.wav", tone(rate, channels=channels), rate, subtype=subtype)
    assert_is_the_tone(decode_audio(tmp_path / "a.wav"))


def test_the_content_goes_before_the_name(encoded, tmp_path):
    names = ["a.wav", "a.mp3", "a.m4a", "a.opus", "a.webm", "a.flac", "a.ogg", "a.mp4"]
    for name, wrong in zip(names, [*names[1:], "a.aiff"], strict=True):
        (tmp_path / wrong).write_bytes((encoded / name).read_bytes())
        assert_is_the_tone(decode_audio(tmp_path / wrong))
    for name in ("a.wav", "a.flac", "a.ogg"):
        (tmp_path / "a.g722").write_bytes((encoded / name).read_bytes())
        assert_is_the_tone(decode_audio(tmp_path / "a.g722"))


# ---- cut off -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.webm"])
@pytest.mark.parametrize("as_file", [True, False])
def test_half_a_file_is_truncated_unless_allowed(encoded, tmp_path, name, as_file):
    whole = (encoded / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(0.6 * len(whole))])
    source = path if as_file else path.read_bytes()
    with pytest.raises(AudioError, match=r"^truncated: "):
        decode_audio(source)
    part, all_of_it = decode_audio(source, allow_truncated=True), decode_audio(encoded / name)
    assert 0.3 * len(all_of_it) < len(part) < 0.9 * len(all_of_it)
    assert part[:8000] == pytest.approx(all_of_it[:8000], abs=1e-3)


@pytest.mark.parametrize("name", [*FORMATS, "a.wav", "b.wav", "c.wav", "a.flac", "a.ogg"])
def test_whole_files_are_the_same_when_truncated_ones_are_allowed(encoded, name):
    allowed = decode_audio(encoded / name, allow_truncated=True)
    assert allowed == pytest.approx(decode_audio(encoded / name), abs=1e-4)


def test_an_m4a_without_its_index_is_truncated(encoded):
    whole = (encoded / "a.m4a").read_bytes()
    for allow in (False, True):
        with pytest.raises(AudioError, match=r"^truncated: |^not audio: "):
            decode_audio(whole[: len(whole) // 2], allow_truncated=allow)


def test_streams_that_never_got_their_sizes_are_whole():
    samples = tone(SAMPLE_RATE)[:, 0]
    for size in (0, 0xFFFFFFFF):
        assert decode_audio(wav_with(samples, data_size=size)) == pytest.approx(samples, abs=1e-4)
    assert decode_audio(flac_with_length(samples, 0)) == pytest.approx(samples, abs=1e-4)


def test_a_flac_that_promises_years():
    data = flac_with_length(tone(SAMPLE_RATE)[:, 0], 2**36 - 1)
    # 2 ** 36 - 1 samples at 16 kHz
    with pytest.raises(AudioError, match=r"says 4294967\.3 s"):
        decode_audio(data)
    assert_is_the_tone(decode_audio(data, allow_truncated=True))


# ---- more than the header counts ---------------------------------------------------------------------------


def bursts(seconds: int, rate: int) -> np.ndarray:
    """(samples,) float32: silence with a tenth of a second of sound in the middle of each second."""
    time = np.arange(seconds * rate) / rate
    is_loud = (time % 1 >= 0.5) & (time % 1 < 0.6)
    return (0.5 * np.sin(2 * np.pi * HERTZ * time) * is_loud).astype(np.float32)


def find_bursts(samples: np.ndarray) -> list[float]:
    """Where bursts begin, in seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    firsts = loud[np.diff(loud, prepend=-SAMPLE_RATE) > 0.3 * SAMPLE_RATE]
    return (firsts / SAMPLE_RATE).tolist()


def mp3(
    samples: np.ndarray, rate: int = SAMPLE_RATE, *, is_variable: bool = False, xing: bool = True
) -> bytes:
    buffer = io.BytesIO()
    options = {"write_xing": str(int(xing)), "id3v2_version": "0"}
    with av.open(buffer, "w", format="mp3", options=options) as output:
        stream = output.add_stream("libmp3lame", rate=rate, layout="mono")
        if is_variable:
            stream.codec_context.flags |= av.codec.context.Flags.qscale
            stream.codec_context.global_quality = 2 * 118
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler("s16p", "mono", rate, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
    return buffer.getvalue()


def id3v2(size: int) -> bytes:
    """A tag of noise, as pictures look; its size is in four times seven bits."""
    sizes = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + sizes + random.Random(1).randbytes(size)


def ape(size: int) -> bytes:
    """An APE tag (version 2) with a picture of noise."""
    item = struct.pack("<II", size, 2) + b"Cover Art (Front)\0" + random.Random(2).randbytes(size)
    head, foot = (
        b"APETAGEX" + struct.pack("<IIII8x", 2000, len(item) + 32, 1, flags)
        for flags in (0xA0000000, 0x80000000)
    )
    return head + item + foot


ID3V1 = b"TAG" + b"x" * 125


def test_mp3_of_varying_bitrate_without_a_header():
    # two seconds of noise at a high bitrate, from which libsndfile concludes that the file is short
    noise = np.random.default_rng(0).normal(scale=0.2, size=2 * 44_100).astype(np.float32)
    samples = np.concatenate([noise, bursts(20, 44_100)])
    data = mp3(samples, 44_100, is_variable=True, xing=False)
    assert soundfile.info(io.BytesIO(data)).duration < 10
    for allow in (False, True):
        decoded = decode_audio(data, allow_truncated=allow)
        assert len(decoded) / SAMPLE_RATE == pytest.approx(22, abs=0.1)
        assert find_bursts(decoded[2 * SAMPLE_RATE :])[1:] == pytest.approx(np.arange(0.5, 20), abs=0.05)
    with pytest.raises(AudioError, match="too long: over 15 s"):
        decode_audio(data, max_seconds=15)


@pytest.mark.parametrize("between", [b"", ID3V1, id3v2(50_000), ape(50_000), ID3V1 + id3v2(3000)])
@pytest.mark.parametrize("xing", [True, False])
def test_mp3_files_put_one_behind_the_other(between, xing):
    one, other = mp3(bursts(4, SAMPLE_RATE), xing=xing), mp3(bursts(3, SAMPLE_RATE), xing=xing)
    decoded = decode_audio(one + between + other + ID3V1)
    assert find_bursts(decoded) == pytest.approx(np.arange(0.5, 7), abs=0.2)  # an encoder's delay at each


@pytest.mark.parametrize("tail", [ID3V1, ape(50_000), ape(50_000) + ID3V1, bytes(5000), b"lyrics " * 1000])
def test_what_follows_an_mp3_file_and_is_no_mp3(tail):
    data = id3v2(50_000) + mp3(bursts(3, SAMPLE_RATE), is_variable=True)
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == SAMPLE_RATE and decode_audio(data + tail) == pytest.approx(expected, abs=1e-6)


def test_mp3_that_ends_in_noise_amid_two_files():
    data = mp3(bursts(3, SAMPLE_RATE))
    with pytest.raises(AudioError, match=r"^broken audio: "):
        decode_audio(data + random.Random(3).randbytes(20_000) + data)
    decoded = decode_audio(data + random.Random(3).randbytes(20_000) + data, allow_truncated=True)
    assert find_bursts(decoded) == pytest.approx([0.5, 1.5, 2.5], abs=0.1)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("as_file", [True, False])
def test_chained_ogg(subtype, as_file, tmp_path):
    parts = [  # the second is far shorter than what libsndfile reads ahead, the third has other codebooks
        soundfile_ogg(bursts(4, SAMPLE_RATE), subtype, quality=0.1),
        soundfile_ogg(bursts(1, SAMPLE_RATE), subtype, quality=0.1),
        soundfile_ogg(np.repeat(bursts(3, SAMPLE_RATE)[:, None], 2, axis=1), subtype, quality=0.9),
    ]
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(parts))
    source = path if as_file else path.read_bytes()
    decoded = decode_audio(source)
    assert len(decoded) == 8 * SAMPLE_RATE
    assert find_bursts(decoded) == pytest.approx(np.arange(0.5, 8), abs=0.02)
    assert np.array_equal(decoded[: 4 * SAMPLE_RATE], decode_audio(parts[0]))
    with pytest.raises(AudioError, match="too long: over 6 s"):
        decode_audio(source, max_seconds=6)


def soundfile_ogg(samples: np.ndarray, subtype: str, quality: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, subtype, format="OGG", compression_level=quality)
    return buffer.getvalue()


def test_chained_ogg_that_breaks_off():
    one = soundfile_ogg(bursts(4, SAMPLE_RATE), "VORBIS", quality=0.5)
    for broken in (one[:100], one[:3800]):
        with pytest.raises(AudioError, match=r"^(truncated|broken audio): "):
            decode_audio(one + broken)
        assert find_bursts(decode_audio(one + broken, allow_truncated=True)) == pytest.approx(
            [0.5, 1.5, 2.5, 3.5], abs=0.02
        )


# ---- the times of films ------------------------------------------------------------------------------------


def film(container: str, codec: str, late: float = 0.0, gap: float = 0.0) -> bytes:
    """Six seconds of pictures; four of bursts that begin late, and after two of which the times jump."""
    rate, buffer = 48_000, io.BytesIO()
    samples = np.rint(bursts(4, rate) * 32767).astype(np.int16)
    with av.open(buffer, "w", format=container) as output:
        pictures = output.add_stream("libvpx" if container == "webm" else "mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        audio = output.add_stream(codec, rate=rate, layout="mono")
        for picture in [*(av.VideoFrame(32, 32, "yuv420p") for _ in range(60)), None]:
            output.mux(pictures.encode(picture))
        for first in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(
                samples[None, first : first + 960], format="s16", layout="mono"
            )
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = first + round(rate * (late + (gap if first >= 2 * rate else 0)))
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac")])
def test_times_of_films(container, codec):
    plain = decode_audio(film(container, codec))
    assert find_bursts(plain) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.03)
    late = decode_audio(film(container, codec, late=1.5))
    assert find_bursts(late) == pytest.approx([2.0, 3.0, 4.0, 5.0], abs=0.03)
    assert not late[: int(1.4 * SAMPLE_RATE)].any()
    gap = decode_audio(film(container, codec, gap=3.0))
    assert find_bursts(gap) == pytest.approx([0.5, 1.5, 5.5, 6.5], abs=0.03)
    assert len(gap) == pytest.approx(len(plain) + 3 * SAMPLE_RATE, abs=50)
    with pytest.raises(AudioError, match="too long: over 60 s"):
        decode_audio(film(container, codec, gap=36_000.0), max_seconds=60)


# ---- hostile -----------------------------------------------------------------------------------------------


def test_what_is_no_file_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.wav")  # to open it would wait for a writer
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, reason in {
        "pipe.wav": "not a file",
        "folder.wav": "not a file",
        "loop.wav": "no such file|unreadable file",
        "missing.wav": "no such file",
        "nul\0.wav": "no such file|unreadable file",
        "long" * 2000: "no such file|unreadable file",
    }.items():
        with pytest.raises(AudioError, match=f"^({reason}): ") as caught:
            decode_audio(tmp_path / name)
        assert len(str(caught.value)) < 1000
    with pytest.raises(AudioError, match="not a file"):
        decode_audio(Path("/dev/zero"))


def test_a_broken_header_prints_nothing(capfd):
    # a chunk that ends before the file begins: libsndfile seeks there
    data = bytearray(wav_with(tone(SAMPLE_RATE)[:, 0]))
    for place in range(4, 44):
        for value in (0x00, 0x80, 0xFF):
            broken = data.copy()
            broken[place] = value
            with contextlib.suppress(AudioError):
                decode_audio(bytes(broken))
    assert capfd.readouterr().err == ""


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["WAV", "FLAC", "MP3", "OGG", "AIFF", "M4A"]), st.integers(0, 2**32), st.booleans())
def test_damaged_files_raise_nothing_else(kind, seed, allow):
    draw = random.Random(seed)
    data = bytearray(damaged_source(kind))
    area = draw.choice([100, 1000, len(data)])
    for _ in range(draw.randrange(1, 30)):
        data[draw.randrange(min(area, len(data)))] = draw.choice([0, 255, draw.randrange(256)])
    with contextlib.suppress(AudioError):
        samples = decode_audio(bytes(data), allow_truncated=allow)
        assert len(samples) and np.isfinite(samples).all()


@lru_cache
def damaged_source(kind: str) -> bytes:
    samples = tone(SAMPLE_RATE, 0.5)[:, 0]
    return m4a(samples) if kind == "M4A" else sound_file(samples, kind=kind)


MEASURE = """
import resource, sys
from pathlib import Path
from utils.audio.flac import AudioError
from utils.audio.reading import decode_audio
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_audio(Path(sys.argv[1]), max_seconds=31)
except AudioError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_hours_of_silence_stop_where_they_are_too_long(tmp_path):
    path = tmp_path / "silence.flac"
    path.write_bytes(long_silence(3))
    assert path.stat().st_size < 1_000_000
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], cwd=root, capture_output=True, text=True, check=True
    )
    kilobytes, _, error = done.stdout.partition(" ")
    assert error.startswith("too long: over 31 s") and int(kilobytes) < 50_000

"""Send speech through a telephone band or a lossy codec and back, with the same length and no delay.

libsndfile has G.711 and GSM 06.10, FFmpeg the others. FFmpeg's decoders remove the delay of Opus and MP3
themselves; the delay of AMR is removed here.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
import soundfile
import soxr

from utils.audio.flac import SAMPLE_RATE

TELEPHONE_RATE = 8000

TELEPHONE_BAND = (200.0, 300.0, 3400.0, 3800.0)
"""In Hz.

The stop band ends at the first value, the pass band goes from the second to the third, and the second stop
band begins at the fourth.
"""


@dataclass(frozen=True)
class Codec:
    """How to run a codec. Without an encoder and a subtype, it is only the telephone band."""

    rate: int  # samples a second of the codec; at 8000 the telephone band comes first
    encoder: str = ""  # FFmpeg's names
    decoder: str = ""
    bit_rates: tuple[int, ...] = ()  # bits a second, drawn with equal chance
    compression: int | None = None  # of the encoder, 0 to 10: the higher, the slower
    subtype: str = ""  # libsndfile's name
    delay: int = 0  # samples of delay that FFmpeg does not remove


CODECS = {
    "telephone": Codec(TELEPHONE_RATE),
    "alaw": Codec(TELEPHONE_RATE, subtype="ALAW"),
    "ulaw": Codec(TELEPHONE_RATE, subtype="ULAW"),
    "gsm": Codec(TELEPHONE_RATE, subtype="GSM610"),
    # it looks 5 ms ahead: 3GPP TS 26.090
    "amr": Codec(TELEPHONE_RATE, "libopencore_amrnb", "amrnb", (4750, 5900, 7400, 12200), delay=40),
    # the highest compression takes three times as long, and calls do not use it
    "opus": Codec(SAMPLE_RATE, "libopus", "opus", (6000, 9000, 12000, 16000, 24000), compression=3),
    "mp3": Codec(SAMPLE_RATE, "libmp3lame", "mp3float", (8000, 16000, 24000, 32000), compression=7),
}


def missing_codec(name: str) -> str | None:
    """Return what is missing in FFmpeg on this machine for a codec of `CODECS`.

    None if nothing is missing.
    """
    codec = CODECS[name]
    if codec.encoder and not _has_coder(codec.encoder, "w"):
        return f"FFmpeg's encoder {codec.encoder}"
    if codec.decoder and not _has_coder(codec.decoder, "r"):
        return f"FFmpeg's decoder {codec.decoder}"
    return None


def _has_coder(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        av.Codec(name, mode)
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def through_codec(samples: np.ndarray, name: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode (samples,) float32 at 16 kHz in [-1, 1].

    Args:
        samples: At least one.
        name: A key of `CODECS`.
        bit_rate: Bits per second, if the codec can use several rates. The default is the lowest of the table.

    Returns:
        (samples,) float32. They may exceed [-1, 1] a little. The remaining delay is below 1 ms.
    """
    codec = CODECS[name]
    coded = samples
    if codec.rate == TELEPHONE_RATE:
        coded = telephone_band(soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE))
    if codec.subtype:
        coded = _code_with_soundfile(coded, codec)
    elif codec.encoder:
        coded = _code_with_av(coded, codec, bit_rate or codec.bit_rates[0])
    if codec.rate != SAMPLE_RATE:
        coded = soxr.resample(coded, codec.rate, SAMPLE_RATE)
    return fit_length(coded, len(samples))


def telephone_band(samples: np.ndarray) -> np.ndarray:
    """Keep 300 to 3400 Hz of (samples,) float32 at 8 kHz, without delay."""
    num_padded = 1 << (len(samples) + 399).bit_length()  # 50 ms more, so that the ends stay apart
    hertz = np.fft.rfftfreq(num_padded, 1 / TELEPHONE_RATE)
    slopes = np.interp(hertz, TELEPHONE_BAND, (0.0, 1.0, 1.0, 0.0))
    gains = (np.sin(np.pi / 2 * slopes) ** 2).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(samples, num_padded) * gains, num_padded)[: len(samples)]


def fit_length(samples: np.ndarray, num_samples: int) -> np.ndarray:
    """Cut (samples,), or add silence, to exactly (num_samples,) float32."""
    if len(samples) < num_samples:
        samples = np.pad(samples, (0, num_samples - len(samples)))
    return samples[:num_samples].astype(np.float32, copy=False)


def _code_with_soundfile(samples: np.ndarray, codec: Codec) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), codec.rate, format="WAV", subtype=codec.subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def _code_with_av(samples: np.ndarray, codec: Codec, bit_rate: int) -> np.ndarray:
    """Encode and decode frame by frame with FFmpeg, without a container."""
    encoder = _open_encoder(codec, bit_rate)
    packets = _encode(encoder, np.pad(samples, (0, codec.delay)))
    decoder = _open_coder(codec.decoder, "r", codec.rate)
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    decoded = np.concatenate([frame.to_ndarray()[0] for frame in frames])[codec.delay :]
    floats = decoded / np.float32(32768.0) if decoded.dtype == np.int16 else decoded
    rate = frames[-1].sample_rate  # Opus gives 48 kHz for every input rate
    return floats if rate == codec.rate else soxr.resample(floats, rate, codec.rate)


def _open_encoder(codec: Codec, bit_rate: int) -> av.AudioCodecContext:
    """Open FFmpeg's encoder of a codec. It gets floats if it accepts them, otherwise 16-bit integers."""
    encoder = _open_coder(codec.encoder, "w", codec.rate)
    names = [format_.name for format_ in encoder.codec.audio_formats or ()]
    encoder.format = next((name for name in ("flt", "fltp") if name in names), "s16")
    encoder.time_base, encoder.bit_rate = Fraction(1, codec.rate), bit_rate
    if codec.compression is not None:
        encoder.options = {"compression_level": str(codec.compression)}
    if codec.encoder == "libopus":
        encoder.options = encoder.options | {"application": "voip"}
    encoder.open()
    return encoder


def _open_coder(name: str, mode: Literal["r", "w"], rate: int) -> av.AudioCodecContext:
    context = av.CodecContext.create(name, mode)
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = rate, "mono"
    return context


def _encode(encoder: av.AudioCodecContext, samples: np.ndarray) -> list[av.Packet]:
    """Encode (samples,) float32 to packets. PyAV converts to the encoder's format and frame size."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate, frame.pts = encoder.sample_rate, 0
    return [*encoder.encode(frame), *encoder.encode(None)]

"""Codecs against published values and tables, and in step with what went in."""

import av
import numpy as np
import pytest

from utils import codecs
from utils.codecs import CODECS, Codec, missing_codec, telephone_band, through_codec

RATE = 16_000


@pytest.fixture(scope="module")
def speech(italian_prompts) -> np.ndarray:
    return np.concatenate([samples for samples, _ in italian_prompts[:2]])


def ulaw_levels() -> np.ndarray:
    """Decoder outputs of ITU-T G.711 table 2: segment s, step m, in 14 bits."""
    positive = [((2 * step + 33) << segment) - 33 for segment in range(8) for step in range(16)]
    return np.array(sorted({*positive, *(-level for level in positive)})) / 8192


def alaw_levels() -> np.ndarray:
    """Decoder outputs of ITU-T G.711 table 1, in 13 bits."""
    positive = [2 * step + 1 for step in range(16)]
    positive += [(2 * step + 33) << (segment - 1) for segment in range(1, 8) for step in range(16)]
    return np.array(sorted({*positive, *(-level for level in positive)})) / 4096


def test_levels_are_those_of_the_standard():
    # the largest of both laws and some of their table's first column
    assert ulaw_levels().max() * 8192 == 8031
    assert alaw_levels().max() * 4096 == 4032
    assert {0, 2, 33, 99, 231, 495} <= set(np.rint(ulaw_levels() * 8192).astype(int))


@pytest.mark.parametrize(("name", "levels"), [("ULAW", ulaw_levels()), ("ALAW", alaw_levels())])
def test_g711_gives_the_nearest_level_of_its_table(name, levels):
    samples = np.random.default_rng(0).uniform(-0.95, 0.95, 20_000).astype(np.float32)
    samples *= 10 ** np.random.default_rng(1).uniform(-3, 0, 20_000).astype(np.float32)
    found = codecs._code_with_soundfile(samples, Codec(8000, subtype=name))
    steps = np.abs(found[:, None] - levels).min(axis=1)
    assert steps.max() < 1e-6  # nothing but levels of the table
    nearest = np.abs(samples[:, None] - levels).min(axis=1)
    assert np.all(np.abs(found - samples) <= nearest + 1.5 / 8192)  # decision values lie between two levels


@pytest.mark.parametrize("name", ["ulaw", "alaw"])
def test_g711_has_the_quality_of_a_telephone_line(name):
    """A tone of -10 dBm0 has 33 dB of signal over distortion at the least (ITU-T G.712, figure 8)."""
    tone = (0.2 * np.sin(2 * np.pi * 1_020 * np.arange(RATE) / RATE)).astype(np.float32)
    plain, coded = through_codec(tone, "telephone"), through_codec(tone, name)
    middle = slice(RATE // 4, -RATE // 4)
    ratio = np.mean(plain[middle] ** 2) / np.mean((coded - plain)[middle] ** 2)
    assert 33 < 10 * np.log10(ratio) < 42


def test_the_band_is_that_of_the_telephone():
    """Open from 300 to 3400 Hz within half a decibel, at least 20 dB down at 60 Hz and near 4 kHz."""
    for hertz, lowest, highest in [(320, -0.5, 0.1), (1_020, -0.1, 0.1), (3_350, -0.5, 0.1)]:
        assert lowest < _gain_db(hertz) < highest
    assert max(_gain_db(60), _gain_db(3_900)) < -20


def _gain_db(hertz: float) -> float:
    tone = np.sin(2 * np.pi * hertz * np.arange(16_000) / 8_000).astype(np.float32)
    middle = slice(4_000, -4_000)
    return 20 * np.log10(telephone_band(tone)[middle].std() / tone[middle].std())


ALL = [(name, rate) for name, codec in CODECS.items() for rate in codec.bit_rates or (None,)]


@pytest.mark.parametrize(("name", "bit_rate"), ALL)
def test_what_comes_out_is_in_step_and_alike(name, bit_rate, speech):
    found = through_codec(speech, name, bit_rate)
    assert found.shape == speech.shape and found.dtype == np.float32
    size = 1 << 20
    product = np.fft.rfft(found, size) * np.conj(np.fft.rfft(speech, size))
    correlation = np.fft.irfft(product, size)
    lag = int(correlation.argmax())
    lag -= size if lag > size // 2 else 0
    assert abs(lag) <= 16  # a millisecond
    assert correlation.max() / (np.linalg.norm(found) * np.linalg.norm(speech)) > 0.7
    np.testing.assert_array_equal(found, through_codec(speech, name, bit_rate))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("num_samples", [1, 2, 159, 320, 577])
def test_the_end_of_a_clip_is_kept(name, num_samples):
    found = through_codec(np.full(num_samples, 0.1, dtype=np.float32), name)
    assert found.shape == (num_samples,) and np.isfinite(found).all()


def test_the_last_word_is_not_cut_off(speech):
    """A burst in the last 50 ms comes out there."""
    burst = np.zeros(RATE, dtype=np.float32)
    burst[-800:] = 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(800) / RATE)
    for name in CODECS:
        found = through_codec(burst, name, max(CODECS[name].bit_rates, default=None))
        assert np.mean(found[-700:] ** 2) > 0.3 * np.mean(burst[-700:] ** 2), name


@pytest.mark.parametrize("name", ["opus", "mp3", "amr"])
def test_the_bit_rate_is_kept(name, speech):
    """Counted from the packets that the encoder makes."""
    codec = CODECS[name]
    encoder = codecs._open_coder(codec.encoder, "w", codec.rate)
    for bit_rate in (min(codec.bit_rates), max(codec.bit_rates)):
        encoder = codecs._open_coder(codec.encoder, "w", codec.rate)
        encoder.format = codecs._sample_format(encoder)
        encoder.bit_rate = bit_rate
        encoder.open()
        packets = codecs._encode(encoder, speech)
        found = 8 * sum(packet.size for packet in packets) / (len(speech) / codec.rate)
        assert found == pytest.approx(bit_rate, rel=0.25)


def test_a_build_without_an_encoder_is_named(monkeypatch):
    assert all(missing_codec(name) is None for name in CODECS)
    monkeypatch.setitem(CODECS, "speex", Codec(RATE, encoder="libspeex", decoder="speex"))
    with pytest.raises(av.codec.codec.UnknownCodecError):
        av.Codec("libspeex", "w")
    assert missing_codec("speex") == "FFmpeg's encoder libspeex"

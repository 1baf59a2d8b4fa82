"""Codecs against published values and tables, and in step with what went in."""

import av
import numpy as np
import pytest

from utils.audio import codecs
from utils.audio.codecs import CODECS, Codec, missing_codec, telephone_band, through_codec

RATE = 16_000


@pytest.fixture(scope="module")
def speech(italian_prompts) -> np.ndarray:
    return np.concatenate([samples for samples, _ in italian_prompts[:2]])


# ITU-T G.711, tables 1a and 2a: above each decision value (in units of full scale) lies one level.
SCALES = {"ULAW": 8192, "ALAW": 4096}


def decision_values(law: str) -> np.ndarray:
    """Of positive samples, rising; segment s, step m."""
    if law == "ULAW":
        return np.array([max(((16 + m) << (s + 1)) - 33, 0) for s in range(8) for m in range(16)])
    return np.array([2 * m for m in range(16)] + [(16 + m) << s for s in range(1, 8) for m in range(16)])


def levels(law: str) -> np.ndarray:
    """What a decoder gives for each of them."""
    if law == "ULAW":
        return np.array([((33 + 2 * m) << s) - 33 for s in range(8) for m in range(16)])
    low = [2 * m + 1 for m in range(16)]
    return np.array(low + [(33 + 2 * m) << (s - 1) for s in range(1, 8) for m in range(16)])


def test_decision_values_and_levels_are_those_that_the_standard_prints():
    assert {1, 31, 95, 223, 479, 991, 2015, 4063, 7903} <= set(decision_values("ULAW").tolist())
    assert {0, 2, 30, 33, 99, 231, 495, 1023, 2079, 4191, 8031} <= set(levels("ULAW").tolist())
    assert {64, 128, 256, 512, 1024, 2048, 3968} <= set(decision_values("ALAW").tolist())
    assert {1, 31, 33, 66, 132, 264, 528, 1056, 2112, 4032} <= set(levels("ALAW").tolist())


@pytest.mark.parametrize("law", ["ULAW", "ALAW"])
def test_g711_gives_the_level_of_its_table(law):
    random, scale, decisions = np.random.default_rng(0), SCALES[law], decision_values(law)
    samples = random.uniform(-0.95, 0.95, 20_000) * 10 ** random.uniform(-3, 0, 20_000)
    # rounding to whole units may move a sample across a decision value that it lies next to
    clear = np.abs(np.abs(samples * scale)[:, None] - decisions).min(axis=1) > 1
    samples = samples[clear].astype(np.float32)
    found = codecs._code_with_soundfile(samples, Codec(8000, subtype=law))
    steps = np.searchsorted(decisions, np.abs(samples) * scale, side="right") - 1
    np.testing.assert_array_equal(found, np.sign(samples) * levels(law)[steps] / scale)
    assert len(samples) > 5_000 and len(set(steps.tolist())) > 80


@pytest.mark.parametrize("name", ["ulaw", "alaw"])
def test_g711_has_the_quality_of_a_telephone_line(name):
    """At usual levels a tone has 33 dB of signal over distortion at the least (ITU-T G.712, figure 8)."""
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
    size, sent = 1 << 20, np.fft.rfft(speech, 1 << 20)
    if CODECS[name].rate == 8000:  # below the band lies half of this speaker's energy
        sent[np.fft.rfftfreq(size, 1 / RATE) < 300] = 0
    product = np.fft.rfft(found, size) * np.conj(sent)
    correlation = np.fft.irfft(product, size)
    lag = int(correlation.argmax())
    lag -= size if lag > size // 2 else 0
    assert abs(lag) <= 16  # a millisecond
    assert correlation.max() / (np.linalg.norm(found) * np.linalg.norm(np.fft.irfft(sent))) > 0.7
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
    for bit_rate in (min(codec.bit_rates), max(codec.bit_rates)):
        packets = codecs._encode(codecs._open_encoder(codec, bit_rate), speech)
        found = 8 * sum(packet.size for packet in packets) / (len(speech) / codec.rate)
        assert found == pytest.approx(bit_rate, rel=0.25)


def test_a_build_without_an_encoder_is_named(monkeypatch):
    assert all(missing_codec(name) is None for name in CODECS)
    monkeypatch.setitem(CODECS, "speex", Codec(RATE, encoder="libspeex", decoder="speex"))
    with pytest.raises(av.codec.codec.UnknownCodecError):
        av.Codec("libspeex", "w")
    assert missing_codec("speex") == "FFmpeg's encoder libspeex"

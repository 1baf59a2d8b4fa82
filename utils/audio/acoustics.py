"""Generate room responses and noises from random numbers, and add them to speech.

All audio is float32 at 16 kHz. The caller seeds the random generator.
"""

import math

import numpy as np

from utils.audio.flac import SAMPLE_RATE

SPEED_OF_SOUND = 343.0  # metres a second

EARLY_SECONDS = 0.05  # reflections up to here are computed one by one; later ones are noise

ROOM_SIZES = ((3.0, 10.0), (2.5, 8.0), (2.4, 4.0))  # metres: length, width, height

DISTANCES = (0.3, 3.0)  # metres from the mouth to the microphone

WALL_GAP = 0.3  # metres between the walls and the mouth or microphone

NOISE_KINDS = ("white", "pink", "brown", "babble")

FRAME_SAMPLES = 320  # 20 ms, the step in which levels are measured

ACTIVE_POWER = 1e-3  # share of the loudest frame's power: frames 30 dB below it hold no speech


def colored_noise(num_samples: int, kind: str, random: np.random.Generator) -> np.ndarray:
    """Return noise of one of `NOISE_KINDS` with a mean power of about 1.

    From 20 Hz on, the spectrum of white, pink and brown noise falls by 0, 3 and 6 dB an octave. Babble has
    about the long-term spectrum of speech: it is flat up to 500 Hz and falls by 9 dB an octave above (Byrne
    et al. 1994, doi:10.1121/1.410152). Its loudness changes at the rate of syllables, like that of a few
    voices together. The idea is that of the ICRA noises (Dreschler et al. 2001,
    doi:10.3109/00206090109073110).

    Returns:
        (num_samples,) float32.
    """
    num_padded = _fast_length(num_samples)
    hertz = np.maximum(np.fft.rfftfreq(num_padded, 1 / SAMPLE_RATE), 20.0).astype(np.float32)
    if kind == "babble":
        power = (hertz > 100.0) / (1.0 + (hertz / 500.0) ** 3)
    else:
        power = hertz ** -float(("white", "pink", "brown").index(kind))
    noise = _shaped_noise(np.sqrt(power / power.mean()), num_padded, random)[:num_samples]
    if kind == "babble":
        noise = noise * _syllables(num_samples, random)
    return noise


def _shaped_noise(amplitudes: np.ndarray, num_padded: int, random: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise of mean power 1 with the given amplitude spectrum (num_padded / 2 + 1,)."""
    parts = random.standard_normal((2, len(amplitudes)), dtype=np.float32)
    spectrum = (parts[0] + 1j * parts[1]) * (amplitudes * math.sqrt(num_padded / 2))
    return np.fft.irfft(spectrum, num_padded)


def _syllables(num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Return the loudness (num_samples,) float32 of 3 to 7 voices.

    Each gets louder about four times a second.
    """
    num_voices, num_points = int(random.integers(3, 8)), math.ceil(num_samples / SAMPLE_RATE * 8) + 2
    voices = random.exponential(size=(num_voices, num_points)) * random.uniform(0.2, 1.0, (num_voices, 1))
    loudness = np.sqrt(voices.mean(axis=0) / voices.mean()).astype(np.float32)
    seconds = np.arange(num_samples, dtype=np.float32) / SAMPLE_RATE
    return np.interp(seconds * 8, np.arange(num_points), loudness).astype(np.float32)


def room_response(rt60: float, random: np.random.Generator) -> np.ndarray:
    """Return the impulse response of a box-shaped room of random size, from a mouth to a microphone.

    The direct sound and the reflections of the first 50 ms follow the image method (Allen and Berkley 1979,
    doi:10.1121/1.382599), rounded to the nearest sample. After that comes noise that decays exponentially.
    Its level is the average level of the image method. Each reflection changes the sign, so that low
    frequencies do not add up (Lehmann and Johansson 2008, doi:10.1121/1.2936367). The absorption of the walls
    is computed from `rt60` by Eyring's formula, and is equal at all frequencies.

    Args:
        rt60: Seconds in which the sound falls by 60 dB.

    Returns:
        (samples,) float32 that begins with the direct sound, whose peak is about 1.
    """
    size = np.array([random.uniform(*limits) for limits in ROOM_SIZES])
    source = random.uniform(WALL_GAP, size - WALL_GAP)
    direction = random.standard_normal(3)
    wanted = source + random.uniform(*DISTANCES) * direction / np.linalg.norm(direction)
    microphone = np.clip(wanted, WALL_GAP, size - WALL_GAP)
    distance = max(float(np.linalg.norm(source - microphone)), 0.1)

    volume, surface = float(np.prod(size)), 2 * float(size @ np.roll(size, 1))
    reflection = math.exp(-0.161 * volume / (2 * surface * rt60))  # of the amplitude, at each wall
    num_early, num_samples = round(EARLY_SECONDS * SAMPLE_RATE), math.ceil(rt60 * SAMPLE_RATE) + 1
    early = _early_reflections(size, source, microphone, reflection, distance, num_early)

    seconds = distance / SPEED_OF_SOUND + np.arange(num_early, max(num_samples, num_early)) / SAMPLE_RATE
    # images in a shell of thickness c / rate, each of power 1 / distance²
    power = 4 * math.pi * SPEED_OF_SOUND / (volume * SAMPLE_RATE)
    late = math.sqrt(power) * 10 ** (-3 * seconds / rt60) * random.standard_normal(len(seconds))
    return (distance * np.concatenate([early, late])).astype(np.float32)


def _early_reflections(
    size: np.ndarray,
    source: np.ndarray,
    microphone: np.ndarray,
    reflection: float,
    distance: float,
    num_samples: int,
) -> np.ndarray:
    """Return the response (num_samples,) by the image method, from the arrival of the direct sound on, in 1 /
    metres.
    """
    reach = distance + num_samples / SAMPLE_RATE * SPEED_OF_SOUND
    offsets, bounces = [], []
    for length, from_, to in zip(size, source, microphone, strict=True):
        n = np.arange(-math.ceil(reach / (2 * length)) - 1, math.ceil(reach / (2 * length)) + 2)
        offsets.append(np.concatenate([2 * n * length + from_ - to, 2 * n * length - from_ - to]) ** 2)
        bounces.append(np.concatenate([2 * np.abs(n), np.abs(n) + np.abs(n - 1)]))
    distances = np.sqrt(offsets[0][:, None, None] + offsets[1][:, None] + offsets[2])
    counts = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    delays = np.rint(np.maximum(distances - distance, 0.0) * (SAMPLE_RATE / SPEED_OF_SOUND)).astype(np.int64)
    near = delays < num_samples
    strengths = (-reflection) ** counts[near] / np.maximum(distances[near], 0.1)
    return np.bincount(delays[near], weights=strengths, minlength=num_samples)


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve (samples,) with an impulse response.

    Length and level do not change. Echoes after the end are cut.
    """
    num_padded = _fast_length(len(samples) + len(response) - 1)
    spectrum = np.fft.rfft(samples, num_padded) * np.fft.rfft(response, num_padded)
    wet = np.fft.irfft(spectrum, num_padded)[: len(samples)]
    return wet * _amplitude_ratio(active_power(samples), active_power(wet))


def mix_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float, quietest: float = 0.0) -> np.ndarray:
    """Add noise so that the power of the speech is `snr_db` above the mean power of the noise.

    Args:
        samples: (n,) float32.
        noise: (n,) float32, at any level.
        snr_db: Decibels.
        quietest: If the mean power of the noise is lower, it counts as this. So a pause in a noise recording
            is not amplified.

    Returns:
        (n,) float32, unchanged if the speech or the noise is silent; it may exceed [-1, 1].
    """
    noise_power = max(float(np.mean(np.square(noise))), quietest)
    wanted = active_power(samples) / 10 ** (snr_db / 10)
    return samples + noise * _amplitude_ratio(wanted, noise_power)


def active_power(samples: np.ndarray) -> float:
    """Return the mean power of the 20 ms frames within 30 dB of the loudest. Pauses do not count."""
    num_frames = len(samples) // FRAME_SAMPLES
    frames = samples[: num_frames * FRAME_SAMPLES].reshape(num_frames, -1) if num_frames else samples[None]
    powers = np.einsum("fs,fs->f", frames, frames) / frames.shape[1]
    return float(powers[powers >= ACTIVE_POWER * powers.max()].mean())


def _amplitude_ratio(wanted_power: float, power: float) -> np.float32:
    """Return the factor that changes `power` to `wanted_power`; 0 if `power` is 0."""
    return np.float32(math.sqrt(wanted_power / power)) if power > 1e-20 else np.float32(0.0)


def _fast_length(num_samples: int) -> int:
    """Return a length of at least `num_samples` for which the Fourier transform is fast."""
    return 1 << max(num_samples - 1, 1).bit_length()

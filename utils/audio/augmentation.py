"""Change waveforms for training: speed, room, noise, level, telephone band and codecs.

The caller gives a seed for each clip and epoch. The same seed gives the same samples in any worker, process
and order, and after a resume. Each kind of change has its own random stream. So the others stay the same when
one is turned on.

We do not use audiomentations 0.43.1, the usual library for this. It draws from the global generators of
`random` and numpy, so these would have to be saved, seeded and restored around every clip (0.15 ms). It has
no G.711, GSM, AMR or Opus. Its rooms need pyroomacoustics, and its MP3 needs another package. It also
installs librosa, numba, scikit-learn and scipy (400 MB), whose import takes a second in each worker. The
rooms of lhotse need torchaudio.
"""

import numpy as np
import soxr

from utils.audio.acoustics import NOISE_KINDS, colored_noise, mix_noise, reverberate, room_response
from utils.audio.augmentation_options import Augmentation
from utils.audio.codecs import CODECS, fit_length, through_codec
from utils.audio.flac import SAMPLE_RATE
from utils.audio.sound_files import LONGEST_RESPONSE, draw_sound

PAUSE_POWER = 0.01  # share of a noise file's mean power: a quieter stretch is not amplified further

BEFORE_DIRECT = 16  # samples of a recorded response that are kept before its peak

# numbers of the random streams, also for other modules; they must not change
_SPEED, _REVERB, _NOISE, _GAIN, _CODEC, NON_SPEECH, SPEC_AUGMENT, TERM_PROMPTS = range(1, 9)


def draw_speed(augmentation: Augmentation, seed: tuple[int, ...]) -> float:
    """Draw the speed factor of a clip. This is possible before its audio is read.

    Args:
        augmentation: Gives the `speed_factors`.
        seed: The same as for `augment`: a fixed number of integers, 0 or above, such as the run's seed,
            the epoch and the clip's number.
    """
    if len(augmentation.speed_factors) == 1:
        return augmentation.speed_factors[0]
    return augmentation.speed_factors[int(_draws(_SPEED, seed).integers(len(augmentation.speed_factors)))]


def num_samples_at_speed(num_samples: int, speed: float) -> int:
    """Return the number of samples that `change_speed` makes of `num_samples`."""
    return round(num_samples / speed)


def augment(samples: np.ndarray, augmentation: Augmentation, *, seed: tuple[int, ...]) -> np.ndarray:
    """Change a clip in the order in which speech reaches a listener: room, noise, microphone, telephone line.

    Args:
        samples: (n,) float32 at 16 kHz, finite, at least two. Not changed in place.
        augmentation: The settings. Change the speed before this call, see `change_speed`.
        seed: The same as for `draw_speed`.

    Returns:
        (n,) float32, finite, in [-1, 1], aligned with the input to a millisecond. If no change was drawn and
        no sample is too loud, this is the input itself.

    Raises:
        UserError: A file of noise_dir or reverb_dir cannot be read any more. `check_sounds` has read it
            before.
    """
    changed = samples
    for stream, probability, change in (
        (_REVERB, augmentation.reverb_probability, _add_room),
        (_NOISE, augmentation.noise_probability, _add_noise),
        (_GAIN, augmentation.gain_probability, _change_level),
        (_CODEC, augmentation.codec_probability, _change_codec),
    ):
        if probability > 0:
            random = _draws(stream, seed)
            if random.random() < probability:
                changed = _limit_peak(change(changed, augmentation, random))
    return _limit_peak(changed)


def change_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """Resample (n,) float32 to (num_samples_at_speed(n, speed),) float32, so that speed and pitch change
    together (Ko et al. 2015, Audio Augmentation for Speech Recognition).
    """
    if speed == 1.0:
        return samples
    resampled = soxr.resample(samples, speed * SAMPLE_RATE, SAMPLE_RATE)
    return fit_length(resampled, num_samples_at_speed(len(samples), speed))


def _draws(stream: int, seed: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng((stream, *seed))


def _between(bounds: list[float], random: np.random.Generator) -> float:
    lowest, highest = bounds
    return random.uniform(lowest, highest)


def _add_room(samples: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    if augmentation.reverb_dir is None:
        response = room_response(_between(augmentation.reverb_rt60, random), random)
    else:
        recorded = draw_sound(augmentation.reverb_dir, random).as_floats()
        first = max(int(np.abs(recorded).argmax()) - BEFORE_DIRECT, 0)
        response = recorded[first : first + round(LONGEST_RESPONSE * SAMPLE_RATE)]
    return reverberate(samples, response)


def _add_noise(samples: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    snr_db = _between(augmentation.noise_snr_db, random)
    if augmentation.noise_dir is None:
        kind = NOISE_KINDS[int(random.integers(len(NOISE_KINDS)))]
        return mix_noise(samples, colored_noise(len(samples), kind, random), snr_db)
    sound = draw_sound(augmentation.noise_dir, random)
    noise = sound.stretch(len(samples), random)
    return mix_noise(samples, noise, snr_db, quietest=PAUSE_POWER * sound.power)


def _change_level(samples: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    return samples * np.float32(10 ** (_between(augmentation.gain_db, random) / 20))


def _change_codec(samples: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    name = augmentation.codecs[int(random.integers(len(augmentation.codecs)))]
    rates = CODECS[name].bit_rates
    return through_codec(samples, name, rates[int(random.integers(len(rates)))] if rates else None)


def _limit_peak(samples: np.ndarray) -> np.ndarray:
    """Scale samples down to a peak of 1 if they are louder. Clipping would distort them."""
    peak = max(float(samples.max()), -float(samples.min())) if len(samples) else 0.0
    return samples / np.float32(peak) if peak > 1.0 else samples

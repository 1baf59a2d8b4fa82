"""Finds takes that a speaker should record again: unusable ones, and those that are probably cut or wrong."""

import math

import numpy as np

from utils.audio.flac import SAMPLE_RATE
from utils.audio.voice_activity import SpeechSpan, spans_of_speech, speech_probabilities
from utils.data.quality.clip_checks import check_clip, clipped_share, loudest_level
from utils.data.quality.speech_rates import RateLimits, count_characters, rate_problem, spoken_characters
from utils.runtime.problems import Problem
from utils.text.scripts import has_spaceless_script

LONGEST_TAKE = 30.0  # seconds: Whisper's window, and the longest clip that preprocess.py keeps whole

QUIETEST_TAKE = -40.0  # dBFS in the loudest 100 ms; sixty telephone prompts have -16 to -10

# Share of the samples. The prompts have 0; overdriven by 6 dB, they have 0.009 to 0.1. This is far stricter
# than the rule for finished corpora, because a take can be recorded again.
MOST_CLIPPED = 0.005

EDGE = 0.05  # seconds; 97 % of the prompts that were cut in a word have speech nearer to the cut

# Characters a second of speech. The prompts have 9 to 17; a character of Chinese is a syllable.
ALPHABETIC_RATES = RateLimits(usual=14.0, low=3.0, high=35.0)

SPACELESS_RATES = RateLimits(usual=5.0, low=1.0, high=20.0)

DOUBTFUL = frozenset(("cut at the start", "cut at the end", "too short", "too long for the sentence"))
"""Kinds of problem that the checks may find in a good take. The speaker may keep it."""


def check_take(samples: np.ndarray, text: str) -> Problem | None:
    """Return why a take should be recorded again, in words for its speaker. None if it is good.

    Args:
        samples: (samples,) float32 at 16 kHz, at least one sample.
        text: The sentence, cleaned.
    """
    return _find_unusable_sound(samples) or _find_misread(samples, text)


def _find_unusable_sound(samples: np.ndarray) -> Problem | None:
    duration = len(samples) / SAMPLE_RATE
    if duration > LONGEST_TAKE:
        return Problem(
            "too long", f"{duration:.0f} s, at most {LONGEST_TAKE:.0f} s. Read without pauses, or skip it."
        )
    loudest = loudest_level(samples)
    if loudest == -math.inf:
        return Problem("no sound", "the microphone is silent. Check that it is on and is the right one.")
    if loudest < QUIETEST_TAKE:
        return Problem(
            "too quiet",
            f"{loudest:.0f} dB, at least {QUIETEST_TAKE:.0f} dB. Come closer, or turn the microphone up.",
        )
    if (share := clipped_share(samples)) > MOST_CLIPPED:
        return Problem(
            "too loud",
            f"{max(share, 0.01):.0%} of the sound is cut off. Move back, or turn the microphone down.",
        )
    return check_clip(samples, frozenset({"dc_offset"}))


def _find_misread(samples: np.ndarray, text: str) -> Problem | None:
    """Find a take without speech, one that is cut, and one that is too short or too long for the text."""
    duration = len(samples) / SAMPLE_RATE
    spans = spans_of_speech(speech_probabilities(samples), duration, padding=0.0)
    if not spans:
        return Problem("no speech", "nobody speaks in this recording. Read the sentence aloud.")
    speech = SpeechSpan(spans[0].start, spans[-1].end)
    if speech.start < EDGE:
        return Problem("cut at the start", "press Record, wait for half a second, then read.")
    if duration - speech.end < EDGE:
        return Problem("cut at the end", "read to the end, wait for half a second, then press Stop.")
    return _find_unlikely_rate(text, speech.end - speech.start)


def _find_unlikely_rate(text: str, seconds: float) -> Problem | None:
    limits = SPACELESS_RATES if has_spaceless_script(text) else ALPHABETIC_RATES
    num_characters = count_characters(text)
    if rate_problem(num_characters, spoken_characters(text), seconds, limits) is None:
        return None
    if num_characters / seconds > limits.usual:
        return Problem("too short", f"{seconds:.1f} s of speech. Read the whole sentence.")
    return Problem("too long for the sentence", f"{seconds:.1f} s from first to last word. Read only this.")

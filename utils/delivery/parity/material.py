"""What a model and its export are compared on: held-out clips, and recordings made of them."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from datasets import Dataset

from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.audio.levels import LEVEL_SAMPLES, measure_levels
from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.delivery.parity.sounds import JoinedClip, ParitySound

NUM_RECORDINGS = 3

LONGER_THAN = 60.0  # seconds of a recording: two windows of Whisper and a part of the third

NUM_WINDOWS, WITHIN = 8, 29.0  # recordings of one window each, and the most seconds of one

ROWS_FOR_WINDOWS = 4096  # drawn from a split, so that a large one is not read in full

PAUSES = (0.4, 1.2)  # seconds between two clips of a recording

MARGIN = 0.05  # seconds of a clip that stay before and after its sound


def load_test_sounds(
    datasets: list[str], split: str, *, language: str, num_clips: int, seed: int
) -> list[ParitySound]:
    """Draw clips with text from a split, and join others of the same language into three recordings.

    Args:
        datasets: Folders that preprocess.py wrote.
        split: Usually test, on which the model was not trained.
        language: Of rows without their own; auto lets the model detect it.
        num_clips: Clips that are transcribed alone.
        seed: Seed for the choice of clips and the length of pauses.

    Raises:
        UserError: There is no such split, or nothing in it.
    """
    rows = load_prepared(datasets, split, language=language)
    rows = rows.filter(bool, input_columns="text").shuffle(seed=seed)
    clips = [_read_clip(rows[number]) for number in range(min(num_clips, len(rows)))]
    return [*clips, *_join_recordings(rows, np.random.default_rng(seed))]


def _read_clip(row: dict) -> ParitySound:
    samples = decode_flac(row["audio"])
    piece = JoinedClip(row["text"], 0.0, len(samples) / SAMPLE_RATE)
    return ParitySound(row["id"], samples, row["language"], [piece])


def load_windows(datasets: list[str], split: str, *, language: str, seed: int) -> list[ParitySound]:
    """Join clips of a split into eight recordings, each for one window of Whisper; see `load_test_sounds`.

    Clips of which no two fit into a window are left out. Empty if no others are there.
    """
    rows = draw_rows(load_prepared(datasets, split, language=language), ROWS_FOR_WINDOWS, seed)
    longest = WITHIN / 2 - PAUSES[1]
    short = [
        bool(text) and duration <= longest
        for text, duration in zip(rows["text"], rows["duration"], strict=True)
    ]
    rows = rows.select(np.flatnonzero(short)).shuffle(seed=seed)
    if not len(rows):
        return []
    chance, clips = np.random.default_rng(seed), _clips_of_one_language(rows)
    return [_join(f"window {count}", clips, chance, within=WITHIN) for count in range(1, NUM_WINDOWS + 1)]


def _join_recordings(rows: Dataset, chance: np.random.Generator) -> list[ParitySound]:
    clips = _clips_of_one_language(rows)
    return [
        _join(f"recording {count}", clips, chance, longer_than=LONGER_THAN)
        for count in range(1, NUM_RECORDINGS + 1)
    ]


def _clips_of_one_language(rows: Dataset) -> Iterator[ParitySound]:
    """Yield the clips of the most frequent language, from the last row to the first, again and again."""
    languages = list(rows["language"])
    language = Counter(languages).most_common(1)[0][0]
    own = [number for number in reversed(range(len(rows))) if languages[number] == language]
    return (_read_clip(rows[number]) for number in itertools.cycle(own))


def _join(
    name: str,
    clips: Iterator[ParitySound],
    chance: np.random.Generator,
    *,
    longer_than: float = math.inf,
    within: float = math.inf,
) -> ParitySound:
    """Join the next clips with pauses until they are `longer_than` seconds, or the next would not fit
    `within`.

    A clip that does not fit is dropped.
    """
    parts: list[np.ndarray] = []
    pieces: list[JoinedClip] = []
    seconds = 0.0
    while seconds < longer_than:
        clip = next(clips)
        if pieces and seconds + clip.duration > within:
            break
        start, end = find_sound(clip.samples)
        margin = round(MARGIN * SAMPLE_RATE)
        first = max(start - margin, 0)
        place = seconds - first / SAMPLE_RATE
        pieces.append(JoinedClip(clip.text, place + start / SAMPLE_RATE, place + end / SAMPLE_RATE))
        pause = np.zeros(round(chance.uniform(*PAUSES) * SAMPLE_RATE), dtype=np.float32)
        parts += [clip.samples[first : end + margin], pause]
        seconds = sum(map(len, parts)) / SAMPLE_RATE
    return ParitySound(name, np.concatenate(parts), clip.language, pieces)


def find_sound(samples: np.ndarray) -> tuple[int, int]:
    """Return the first sample of (samples,) that is not silent, and the last + 1."""
    loud = np.flatnonzero(~measure_levels(samples).silent)
    if not len(loud):
        return 0, len(samples)
    return int(loud[0]) * LEVEL_SAMPLES, min((int(loud[-1]) + 1) * LEVEL_SAMPLES, len(samples))

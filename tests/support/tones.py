"""Tones in place of speech: as FLAC, and as a prepared dataset."""

import io
from pathlib import Path

import numpy as np
import soundfile


def flac_tone(seconds: float, hertz: float = 220.0, loudness: float = 0.3) -> bytes:
    """A tone with a little noise as 16 kHz mono FLAC."""
    import soundfile

    time = np.arange(round(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(round(hertz)).normal(scale=0.01, size=time.size)
    buffer = io.BytesIO()
    soundfile.write(buffer, loudness * np.sin(2 * np.pi * hertz * time) + noise, 16_000, format="FLAC")
    return buffer.getvalue()


def write_prepared_tones(
    folder: Path,
    sizes: dict[str, int],
    language: str | None = "it",
    seed: int = 0,
    loudness: float = 0.3,
) -> Path:
    """A prepared dataset of tones of 0.5 to 6 s with texts of very different length."""
    from datasets import Dataset, DatasetDict, Features, Value

    features = Features(
        {
            "id": Value("string"),
            "audio": Value("binary"),
            "text": Value("string"),
            "duration": Value("float64"),
            "language": Value("string"),
        }
    )
    random = np.random.default_rng(seed)
    splits = {}
    for split, size in sizes.items():
        durations = [round(float(seconds), 2) for seconds in random.uniform(0.5, 6.0, size)]
        lengths = random.integers(1, 40, size)
        splits[split] = Dataset.from_dict(
            {
                "id": [f"{split}-{index:04d}" for index in range(size)],
                "audio": [
                    flac_tone(value, 100 + 10 * index, loudness) for index, value in enumerate(durations)
                ],
                "text": ["".join(random.choice(list("abc de"), length)).strip() or "a" for length in lengths],
                "duration": durations,
                "language": [language] * size,
            },
            features=features,
        )
    DatasetDict(splits).save_to_disk(folder)
    return folder


def encode(samples: np.ndarray, suffix: str) -> bytes:
    """(samples,) float32 at 16 kHz as the bytes of a wav, flac or mp3 file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=suffix.upper())
    return buffer.getvalue()

"""Clips put one after the other: recordings, windows, and longer clips than a dataset has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from utils.audio.flac import SAMPLE_RATE, decode_flac, encode_flac
from utils.audio.reading import decode_audio
from utils.data.prepared_dataset import load_prepared
from utils.data.sources.asterisk import read_prompts
from utils.data.sources.asterisk_download import fetch_prompts
from utils.data.utterance import Utterance
from utils.model.context import FULL_CONTEXT, TAIL
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

Clip = tuple[np.ndarray, str]  # (samples,) float32 at 16 kHz, and what is said
PAUSE = 0.2  # seconds of silence between the clips of a longer one
MOST_WORDS = 110  # of a longer clip, whose labels must fit into Whisper's decoder


@dataclass(frozen=True)
class Placed:
    """A clip's text, and where it lies in the recording, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Recording:
    """Clips one after the other."""

    samples: np.ndarray  # (samples,) float32 at 16 kHz
    clips: list[Placed]

    @property
    def text(self) -> str:
        return " ".join(clip.text for clip in self.clips)


def read_prompt_clips(language: str) -> list[Clip]:
    """Every telephone prompt of a language that has both sound and text."""
    prompts = fetch_prompts(language)
    items = read_prompts(prompts.folder, prompts.transcripts, credit=prompts.credit).items
    found = [item for item in items if isinstance(item, Utterance)]
    return [(decode_audio(item.audio), item.text) for item in found if isinstance(item.audio, Path)]


def read_dataset_clips(dataset: str, split: str, language: str) -> list[Clip]:
    """The clips of a prepared dataset."""
    rows = load_prepared([dataset], split, language=language)
    return [(decode_flac(row["audio"]), row["text"]) for row in rows]


def join_clips(
    clips: Sequence[Clip],
    longest: float,
    pauses: tuple[float, float],
    seed: int,
    *,
    again: bool = False,
    most_words: float = float("inf"),
) -> Iterator[Recording]:
    """Put clips in drawn order; a recording ends before the clip that it has no room for.

    Args:
        clips: Clips; one that is too long alone makes a recording of its own.
        longest: Most seconds of a recording.
        pauses: Shortest and longest silence between two clips, in seconds.
        seed: Of the order and the pauses.
        again: Begin anew, in another order, when every clip has had its turn.
        most_words: Of a recording.
    """
    random = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    placed: list[Placed] = []
    num_samples = num_words = 0
    order: list[int] = random.permutation(len(clips)).tolist()
    while order:
        samples, text = clips[order.pop(0)]
        pause = np.zeros(round(random.uniform(*pauses) * SAMPLE_RATE), dtype=np.float32)
        more = len(pause) + len(samples)
        num_words += len(text.split())
        if parts and (num_samples + more > longest * SAMPLE_RATE or num_words > most_words):
            yield Recording(np.concatenate(parts), placed)
            parts, placed, num_samples, num_words = [], [], 0, len(text.split())
        if parts:
            parts.append(pause)
            num_samples += len(pause)
        parts.append(samples)
        end = num_samples + len(samples)
        placed.append(Placed(text, num_samples / SAMPLE_RATE, end / SAMPLE_RATE))
        num_samples = end
        if again and not order:
            order = random.permutation(len(clips)).tolist()
    if parts:
        yield Recording(np.concatenate(parts), placed)


def write_longer_clips(dataset: str, language: str, seconds: float, num_clips: int, folder: Path) -> str:
    """Write a prepared dataset of training clips joined up to a length, unless it is there; its folder.

    Raises:
        UserError: No clip is short enough to be joined.
    """
    from datasets import Dataset, DatasetDict, Value

    folder = folder / f"clips-{seconds:g}s-{num_clips}"
    if folder.exists():
        return str(folder)
    longest = min(seconds, FULL_CONTEXT - TAIL)
    clips = read_dataset_clips(dataset, "train", language)
    fitting = [clip for clip in clips if len(clip[0]) < longest * SAMPLE_RATE]
    if not fitting:
        raise UserError(f"{dataset}: no clip is shorter than {longest:g} s. Expected some to join.")
    joined = join_clips(fitting, longest, (PAUSE, PAUSE), seed=0, again=True, most_words=MOST_WORDS)
    rows = [
        {
            "id": f"joined-{number}",
            "audio": encode_flac(recording.samples),
            "text": recording.text,
            "duration": len(recording.samples) / SAMPLE_RATE,
            "language": language,
        }
        for number, recording in enumerate(islice(joined, num_clips))
    ]
    with folder_written_whole(folder) as temporary:
        train = Dataset.from_list(rows).cast_column("audio", Value("binary"))
        DatasetDict({"train": train}).save_to_disk(str(temporary))
    return str(folder)

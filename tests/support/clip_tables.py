"""Rows of a prepared dataset without audio, and the clips that training draws from them."""

from functools import cache

from datasets import Dataset
from transformers import WhisperTokenizerFast

from utils.model.resolving import resolve_model
from utils.text.label_tokens import LabelWriter
from utils.training.clip_rows import DrawOptions, read_clips
from utils.training.clips import TrainingClips


@cache
def tokenizer():
    loaded = WhisperTokenizerFast.from_pretrained(resolve_model("openai/whisper-base"))
    loaded.set_prefix_tokens(language="it", task="transcribe", predict_timestamps=False)
    return loaded


def build_clips(rows: Dataset, datasets=None, seed: int = 0, *, terms=None, **options) -> TrainingClips:
    clips = read_clips(rows, tokenizer(), ["it"] * len(rows), list(rows["text"]))
    numbers = datasets or [0] * len(rows)
    return TrainingClips(rows, clips, numbers, LabelWriter(tokenizer()), DrawOptions(**options), seed, terms)


def table(durations, **columns) -> Dataset:
    """Rows whose audio nobody reads."""
    size = len(durations)
    texts = columns.pop("text", [f"testo {number}" for number in range(size)])
    names = [str(number) for number in range(size)]
    required = {"id": names, "audio": [b""] * size, "duration": durations, "text": texts}
    return Dataset.from_dict({**required, **columns})

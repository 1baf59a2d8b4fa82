"""Rows of the training split as clips: texts, languages, places in their recordings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from datasets import Dataset
from transformers import WhisperTokenizer

from utils.audio.augmentation_options import Augmentation, NonSpeech
from utils.model.context import FULL_CONTEXT
from utils.runtime.errors import UserError
from utils.text.label_tokens import TimedTokens, encode_segments, encode_texts


@dataclass(frozen=True)
class TrainingClip:
    """A row of the training split with what is needed before its audio is."""

    duration: float  # seconds
    language: str | None
    text: TimedTokens  # the whole text; it begins and ends with the clip
    pieces: tuple[TimedTokens, ...]  # its timed pieces, or the whole text
    previous: tuple[int, ...] = ()  # tokens of the text before
    neighbourhood: tuple = ()  # clips are stitched to those after them in the dataset with the same one
    start: float | None = None  # seconds in the recording it was cut from
    end: float | None = None
    source: str | None = None  # that recording


@dataclass(frozen=True)
class DrawOptions:
    """How examples are drawn from clips."""

    passes: tuple[float, ...] = (1.0,)  # over each dataset in an epoch; 0.1 is another tenth every time
    stitch_probability: float = 0.0  # that a clip is joined with those after it
    timestamp_probability: float = 0.0  # that the times of pieces are learnt
    previous_probability: float = 0.0  # that the text before is given, where it is known
    augmentation: Augmentation = field(default_factory=Augmentation)  # of the audio
    non_speech: NonSpeech = field(default_factory=NonSpeech)  # windows beside the clips

    @property
    def is_the_same_every_epoch(self) -> bool:
        """Whether all epochs have all clips one by one, with the audio they came with and nothing beside."""
        return (
            min(self.passes) >= 1
            and not self.stitch_probability
            and not self.non_speech.non_speech_share
            and not self.augmentation.changes_audio
        )


def read_clips(
    rows: Dataset,
    tokenizer: WhisperTokenizer,
    languages: Sequence[str | None],
    texts: Sequence[str],
    *,
    lower_case: bool = False,
) -> list[TrainingClip]:
    """A clip for each row.

    Args:
        rows: Of a prepared dataset; `segments`, `previous_text`, `speaker`, `source`, `start` and `end` are
            used where they are there.
        tokenizer: Of the model.
        languages: Of each row; None for English-only models.
        texts: What the model is to write for each row.
        lower_case: Write it, its segments and the text before in lower case.

    Returns:
        Neighbours are those of one language and one speaker; without a speaker those of one recording; and
        all clips of which neither is known: files of their own, often of a single speaker.
    """
    cased = str.lower if lower_case else str
    columns = {
        name: _column(rows, name)
        for name in ("segments", "previous_text", "speaker", "source", "start", "end")
    }
    texts = [cased(text) for text in texts]
    encoded = encode_texts(tokenizer, texts)
    clips = []
    for index, (duration, text) in enumerate(zip(rows["duration"], texts, strict=True)):
        segments, previous, speaker, source, start, end = (column[index] for column in columns.values())
        whole = TimedTokens(0.0, duration, encoded[index])
        segments = [{**piece, "text": cased(piece["text"])} for piece in segments or []]
        pieces = encode_segments(tokenizer, segments, text, duration)
        clips.append(
            TrainingClip(
                duration,
                languages[index],
                whole,
                tuple(pieces or [whole]),
                previous=tuple(encode_texts(tokenizer, [cased(previous)])[0]) if previous else (),
                neighbourhood=(languages[index], speaker or (source if start is not None else None)),
                start=start,
                end=end,
                source=source,
            )
        )
    return clips


def find_clips_before(clips: Sequence[TrainingClip], datasets: Sequence[int]) -> list[int | None]:
    """For each clip which one comes right before it in its recording, and its neighbourhood.

    None for the first of a recording, for what is not cut from one, and after more than a window of silence.

    Args:
        clips: In any order.
        datasets: Of each clip; recordings of different ones may have the same name.
    """
    recordings: dict[tuple, list[tuple[float, int]]] = {}
    for index, clip in enumerate(clips):
        if clip.start is not None:
            key = (datasets[index], clip.source, clip.neighbourhood)
            recordings.setdefault(key, []).append((clip.start, index))
    before: list[int | None] = [None] * len(clips)
    for found in recordings.values():
        for (start, one), (later, other) in pairwise(sorted(found)):
            if start < later <= start + clips[one].duration + FULL_CONTEXT:
                before[other] = one
    return before


def check_passes(passes: Sequence[float], sizes: Sequence[int]) -> None:
    """Look whether every epoch will have a clip.

    Args:
        passes: Over each dataset in an epoch.
        sizes: Clips of each.

    Raises:
        UserError: Some epochs would have none.
    """
    most = max(share * size for share, size in zip(passes, sizes, strict=True))
    if round(most, 6) < 1:
        raise UserError(
            f"dataset_passes {' '.join(f'{share:g}' for share in passes)} of {' and '.join(map(str, sizes))} "
            "clips: less than one clip an epoch. Expected at least one of some dataset. Raise "
            "dataset_passes, or max_train_samples where it is given."
        )


def _column(rows: Dataset, name: str) -> Sequence:
    return list(rows[name]) if name in rows.column_names else [None] * len(rows)

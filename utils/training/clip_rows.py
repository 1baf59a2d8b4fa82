"""Read the rows of the training split as clips, with their texts, languages and positions in their
recordings.
"""

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
    """A row of the training split without its audio."""

    duration: float  # seconds
    language: str | None
    text: TimedTokens  # the whole text, from the start to the end of the clip
    pieces: tuple[TimedTokens, ...]  # the timed segments, or the whole text
    previous: tuple[int, ...] = ()  # tokens of the previous text
    neighbourhood: tuple = ()  # only clips with the same value are stitched
    start: float | None = None  # seconds in the source recording
    end: float | None = None
    source: str | None = None  # the recording from which it was cut


@dataclass(frozen=True)
class DrawOptions:
    """How examples are drawn from clips."""

    passes: tuple[float, ...] = (1.0,)  # over each dataset in an epoch; 0.1 takes a new tenth each time
    stitch_probability: float = 0.0  # of joining a clip with the next ones
    timestamp_probability: float = 0.0  # of training with timestamps
    previous_probability: float = 0.0  # of giving the previous text, if known
    augmentation: Augmentation = field(default_factory=Augmentation)
    non_speech: NonSpeech = field(default_factory=NonSpeech)  # windows in addition to the clips

    @property
    def is_the_same_every_epoch(self) -> bool:
        """Whether every epoch has the same clips, not joined, with unchanged audio, and no other examples."""
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
    """Read one clip per row.

    Clips are neighbours if they have the same language and speaker. If the speaker is not known, they need
    the same language and recording. Clips without speaker and recording are neighbours too, because such
    files often come from one speaker.

    Args:
        rows: Rows of a prepared dataset. The columns `segments`, `previous_text`, `speaker`, `source`,
            `start` and `end` are optional.
        tokenizer: The model's tokenizer.
        languages: Language of each row. None for English-only models.
        texts: Text to learn for each row.
        lower_case: Convert texts, segments and previous texts to lower case.
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
    """Return for each clip the index of the clip directly before it, in the same recording and among its
    neighbours.

    Return None for the first clip of a recording, for a clip without a recording, and after a pause that is
    longer than a window.

    Args:
        clips: The clips in any order.
        datasets: Dataset number of each clip, because two datasets may have recordings of the same name.
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
    """Check that every epoch has a clip.

    Args:
        passes: Passes over each dataset in an epoch.
        sizes: Number of clips of each dataset.

    Raises:
        UserError: Some epochs would have no clip.
    """
    most = max(share * size for share, size in zip(passes, sizes, strict=True))
    if round(most, 6) < 1:
        raise UserError(
            f"dataset_passes {' '.join(f'{share:g}' for share in passes)} of {' and '.join(map(str, sizes))} "
            "clips: less than one clip per epoch. Expected at least one from some dataset. Increase "
            "dataset_passes, or max_train_samples if it is given."
        )


def _column(rows: Dataset, name: str) -> Sequence:
    return list(rows[name]) if name in rows.column_names else [None] * len(rows)

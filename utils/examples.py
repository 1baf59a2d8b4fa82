"""What an epoch shows the model: which clips, how often, one by one or stitched, with or without timestamps.

All of it is drawn from the seed and the number of the epoch alone, before any audio is read, so that batches
can be planned from lengths and a resumed run goes on with the very same examples.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from datasets import Dataset
from transformers import WhisperTokenizer

from utils.audio import SAMPLE_RATE, AudioError
from utils.augmentation import Augmentation, augment, change_speed, draw_speed
from utils.batching import FULL_CONTEXT, TAIL, Example
from utils.dataset import read_audio
from utils.errors import UserError
from utils.labels import (
    MAX_LABEL_TOKENS,
    MAX_PREVIOUS_TOKENS,
    DecoderSequence,
    LabelWriter,
    TimedTokens,
    encode_segments,
    encode_texts,
)
from utils.non_speech import NonSpeech, draw_duration, make_window

LONGEST_PAUSE = 2.0  # seconds between two clips of one recording that stitching keeps
DRAWN_PAUSES = (0.2, 1.0)  # seconds between stitched clips otherwise
SHORTEST_STITCH = 10.0  # seconds: the length a stitch aims at is drawn from here to 30 s


@dataclass(frozen=True)
class Clip:
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
            and not self.non_speech.share
            and not self.augmentation.changes_audio
        )


def read_clips(
    rows: Dataset,
    tokenizer: WhisperTokenizer,
    languages: Sequence[str | None],
    texts: Sequence[str],
    *,
    lower_case: bool = False,
) -> list[Clip]:
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
            Clip(
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


def find_clips_before(clips: Sequence[Clip], datasets: Sequence[int]) -> list[int | None]:
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


class TrainingClips:
    """The training split: draws the examples of each epoch, and turns an example into audio and tokens.

    Args:
        rows: Its audio as FLAC bytes, column `audio`.
        clips: One for each row.
        datasets: For each row which of `options.passes` counts.
        writer: Of labels.
        options: How to draw.
        seed: Of the run.

    Raises:
        UserError: There would be epochs without a clip.
    """

    def __init__(
        self,
        rows: Dataset,
        clips: Sequence[Clip],
        datasets: Sequence[int],
        writer: LabelWriter,
        options: DrawOptions,
        seed: int,
    ) -> None:
        self.rows, self.clips, self.writer = rows.select_columns(["id", "audio"]), clips, writer
        self._options, self._seed = options, seed
        self._numbers = np.asarray(datasets)
        self._datasets = [np.flatnonzero(self._numbers == number) for number in range(len(options.passes))]
        check_passes(options.passes, [len(rows) for rows in self._datasets])
        self._before = find_clips_before(clips, datasets) if options.previous_probability else []

    @property
    def knows_texts_before(self) -> bool:
        """Whether any clip can be given the text before it."""
        return any(before is not None for before in self._before) or any(clip.previous for clip in self.clips)

    # ---- the examples of an epoch ------------------------------------------------------------------------

    def draw(self, epoch: int) -> list[Example]:
        """The examples of an epoch, in the order of the rows; then the windows without speech."""
        random = np.random.default_rng((self._seed, 2, epoch))
        chosen = np.concatenate([self._draw_rows(number, epoch) for number in range(len(self._datasets))])
        groups = self._stitch(chosen, random)
        chances = random.random((len(groups), 2))
        examples = [
            self._example(rows, offsets, *chance, seed=(self._seed, epoch, number))
            for number, ((rows, offsets), chance) in enumerate(zip(groups, chances, strict=True))
        ]
        return examples + self._windows_without_speech(epoch, len(examples))

    def _windows_without_speech(self, epoch: int, num_examples: int) -> list[Example]:
        """So many more, each in the language and mostly of the length of a drawn clip."""
        random = np.random.default_rng((self._seed, 4, epoch))
        count = math.ceil(round(self._options.non_speech.share * num_examples, 6))
        windows = []
        for number in range(num_examples, num_examples + count):
            clip = self.clips[int(random.integers(len(self.clips)))]
            duration = draw_duration(clip.duration, FULL_CONTEXT - TAIL, random)
            with_timestamps = bool(random.random() < self._options.timestamp_probability)
            window = Example(
                (),
                duration,
                self.writer.count_targets([], clip.language, with_timestamps=with_timestamps),
                offsets=(),
                with_timestamps=with_timestamps,
                seed=(self._seed, epoch, number),
                language=clip.language,
            )
            windows.append(window)
        return windows

    def _draw_rows(self, number: int, epoch: int) -> np.ndarray:
        """The share of a dataset that is due in an epoch.

        A dataset is gone through in one shuffled order after the other, so that all its clips are seen
        equally often however few an epoch takes.
        """
        rows, passes = self._datasets[number], self._options.passes[number]
        if passes == 1 or not len(rows):
            return rows
        first, last = round(epoch * passes * len(rows)), round((epoch + 1) * passes * len(rows))
        drawn = []
        for turn in range(first // len(rows), -(-last // len(rows))):
            order = np.random.default_rng((self._seed, 3, number, turn)).permutation(rows)
            own = order[max(0, first - turn * len(rows)) : last - turn * len(rows)]
            drawn.append(np.sort(own))
        return np.concatenate(drawn) if drawn else rows[:0]

    def _stitch(
        self, rows: np.ndarray, random: np.random.Generator
    ) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """Groups of rows that make up an example, each with the seconds at which its rows begin."""
        probability = self._options.stitch_probability
        if not probability:
            return [((row,), (0.0,)) for row in rows.tolist()]
        groups: list[tuple[tuple[int, ...], tuple[float, ...]]] = []
        rest = rows.tolist()[::-1]
        while rest:
            row = rest.pop()
            group, offsets, end = [row], [0.0], self.clips[row].duration
            target = random.uniform(SHORTEST_STITCH, FULL_CONTEXT - TAIL)
            is_stitched = random.random() < probability
            while is_stitched and rest:
                pause = self._pause(group[-1], rest[-1], random)
                if pause is None or not self._fits(group, rest[-1], end + pause, target):
                    break
                offsets.append(end + pause)
                end += pause + self.clips[rest[-1]].duration
                group.append(rest.pop())
            groups.append((tuple(group), tuple(offsets)))
        return groups

    def _pause(self, row: int, following: int, random: np.random.Generator) -> float | None:
        """Seconds of silence between two clips; None where they do not belong together."""
        one, other = self.clips[row], self.clips[following]
        drawn = random.uniform(*DRAWN_PAUSES)
        is_near = self._numbers[row] == self._numbers[following] and one.neighbourhood == other.neighbourhood
        if not is_near or row == following:
            return None
        if one.end is not None and other.start is not None and 0 <= other.start - one.end <= LONGEST_PAUSE:
            return other.start - one.end
        return drawn

    def _fits(self, group: list[int], row: int, start: float, target: float) -> bool:
        pieces = [piece for member in [*group, row] for piece in self.clips[member].pieces]
        num_targets = self.writer.count_targets(pieces, self.clips[row].language, with_timestamps=True)
        return start + self.clips[row].duration <= target and num_targets <= MAX_LABEL_TOKENS

    def _example(
        self,
        rows: tuple[int, ...],
        offsets: tuple[float, ...],
        timestamp_chance: float,
        previous_chance: float,
        *,
        seed: tuple[int, ...],
    ) -> Example:
        duration = offsets[-1] + self.clips[rows[-1]].duration
        speed = draw_speed(self._options.augmentation, seed)
        if duration / speed > FULL_CONTEXT:
            speed = 1.0
        example = Example(
            rows,
            duration / speed,
            0,
            offsets=tuple(offset / speed for offset in offsets),
            speed=speed,
            with_timestamps=bool(timestamp_chance < self._options.timestamp_probability),
            with_previous=bool(previous_chance < self._options.previous_probability),
            seed=seed,
        )
        num_targets = self._count_targets(example)
        if num_targets > MAX_LABEL_TOKENS:  # the times are too much; without them every clip fits
            example = replace(example, with_timestamps=False)
            num_targets = self._count_targets(example)
        return replace(example, num_targets=num_targets)

    # ---- an example as tokens and audio ------------------------------------------------------------------

    def sequence(self, example: Example) -> DecoderSequence:
        """The decoder's tokens of an example."""
        if not example.rows:
            return self.writer.write([], example.language, with_timestamps=example.with_timestamps)
        first = self.clips[example.rows[0]]
        return self.writer.write(
            list(self._pieces(example)),
            first.language,
            with_timestamps=example.with_timestamps,
            previous=self._previous(example.rows[0]) if example.with_previous else (),
        )

    def _previous(self, row: int) -> Sequence[int]:
        """Tokens of the text before a clip: its own, else those of the clips before, as far as they fit."""
        if self.clips[row].previous:
            return self.clips[row].previous
        tokens: list[int] = []
        before = self._before[row]
        while before is not None and len(tokens) < MAX_PREVIOUS_TOKENS:
            tokens = self.clips[before].text.tokens + tokens
            before = self._before[before]
        return tokens

    def _count_targets(self, example: Example) -> int:
        language = self.clips[example.rows[0]].language
        return self.writer.count_targets(
            list(self._pieces(example)), language, with_timestamps=example.with_timestamps
        )

    def _pieces(self, example: Example) -> Iterator[TimedTokens]:
        for row, offset in zip(example.rows, example.offsets, strict=True):
            clip = self.clips[row]
            for piece in clip.pieces if example.with_timestamps else (clip.text,):
                yield TimedTokens(
                    offset + piece.start / example.speed, offset + piece.end / example.speed, piece.tokens
                )

    def waveforms(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """The audio of examples, (samples,) float32 at 16 kHz each.

        Raises:
            UserError: A clip, or a file of noise or rooms, cannot be read any more; it is named.
        """
        try:
            return self._waveforms(examples)
        except AudioError as error:
            raise UserError(
                f"{error}. It could be read when the run began. Put it back; the same command goes on "
                "from the last checkpoint."
            ) from None

    def _waveforms(self, examples: Sequence[Example]) -> list[np.ndarray]:
        wanted = [row for example in examples for row in example.rows]
        decoded = iter(read_audio(self.rows[wanted], "the training split") if wanted else [])
        placed = [
            _place([next(decoded) for _ in example.rows], example)
            if example.rows
            else make_window(example.duration, self._options.non_speech.folder, example.seed)
            for example in examples
        ]
        return [
            augment(samples, self._options.augmentation, speed=1.0, seed=example.seed)
            for samples, example in zip(placed, examples, strict=True)
        ]


def _place(clips: list[np.ndarray], example: Example) -> np.ndarray:
    """Clips at the example's speed and offsets, silence between them."""
    clips = [change_speed(clip, example.speed) for clip in clips]
    if len(clips) == 1:
        return clips[0]
    whole = np.zeros(round(example.duration * SAMPLE_RATE), dtype=np.float32)
    for clip, offset in zip(clips, example.offsets, strict=True):
        start = round(offset * SAMPLE_RATE)
        whole[start : start + len(clip)] = clip[: len(whole) - start]
    return whole

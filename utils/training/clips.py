"""Draw the examples of each epoch.

This decides which clips are used, how often, joined or not, with timestamps or not.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from datasets import Dataset

from utils.audio.augmentation import augment, change_speed, draw_speed
from utils.audio.flac import SAMPLE_RATE
from utils.audio.non_speech import draw_duration, make_window
from utils.data.length_batches import Example
from utils.data.prepared_dataset import read_audio
from utils.model.context import FULL_CONTEXT, TAIL
from utils.text.label_tokens import (
    MAX_LABEL_TOKENS,
    MAX_PREVIOUS_TOKENS,
    DecoderSequence,
    LabelWriter,
    TimedTokens,
)
from utils.training.clip_rows import DrawOptions, TrainingClip, check_passes, find_clips_before
from utils.training.stitching import LAST_CUT_START, Group, Stitcher
from utils.training.term_prompts import TermPrompts


class TrainingClips:
    """The training split. It draws the examples of each epoch, and turns an example into audio and tokens.

    Args:
        rows: The rows of the split, with FLAC bytes in the column `audio`.
        clips: One clip for each row.
        datasets: Dataset number of each row, an index into `options.passes`.
        writer: Writes labels.
        options: How examples are drawn.
        seed: Seed of the run.
        terms: Writes prompts of listed terms for half of the examples.

    Raises:
        UserError: Some epochs would have no clip.
    """

    def __init__(
        self,
        rows: Dataset,
        clips: Sequence[TrainingClip],
        datasets: Sequence[int],
        writer: LabelWriter,
        options: DrawOptions,
        seed: int,
        terms: TermPrompts | None = None,
    ) -> None:
        self.rows, self.clips, self.writer = rows.select_columns(["id", "audio"]), clips, writer
        self._options, self._seed, self._terms = options, seed, terms
        numbers = np.asarray(datasets)
        self._datasets = [np.flatnonzero(numbers == number) for number in range(len(options.passes))]
        cuts = options.timestamp_probability > 0
        self._stitcher = Stitcher(clips, datasets, writer, options.stitch_probability, cuts)
        check_passes(options.passes, [len(rows) for rows in self._datasets])
        self._before = find_clips_before(clips, datasets) if options.previous_probability else []

    @property
    def knows_texts_before(self) -> bool:
        """Whether the previous text of any clip is known."""
        return any(before is not None for before in self._before) or any(clip.previous for clip in self.clips)

    # ---- the examples of an epoch ------------------------------------------------------------------------

    def draw(self, epoch: int) -> list[Example]:
        """Draw the examples of an epoch, in the order of the rows.

        The windows without speech come after them.
        """
        random = np.random.default_rng((self._seed, 2, epoch))
        chosen = np.concatenate([self._draw_rows(number, epoch) for number in range(len(self._datasets))])
        groups = self._stitcher.groups(chosen.tolist(), random)
        chances = random.random((len(groups), 2))
        examples = [
            self._example(group, *chance, seed=(self._seed, epoch, number))
            for number, (group, chance) in enumerate(zip(groups, chances, strict=True))
        ]
        examples += self._windows_without_speech(epoch, len(examples))
        return self._terms.choose(examples, (self._seed, 6, epoch)) if self._terms else examples

    def _windows_without_speech(self, epoch: int, num_examples: int) -> list[Example]:
        """Draw windows without speech. Each has the language, and usually the length, of a random clip."""
        random = np.random.default_rng((self._seed, 4, epoch))
        count = math.ceil(round(self._options.non_speech.non_speech_share * num_examples, 6))
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
        """Draw the rows of one dataset for an epoch.

        Epochs take consecutive parts of one shuffled order of the clips. When it is used up, a new order
        follows. So all clips are used equally often, even if an epoch takes only a few of them.
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

    def _example(
        self, group: Group, timestamp_chance: float, previous_chance: float, *, seed: tuple[int, ...]
    ) -> Example:
        with_previous = bool(previous_chance < self._options.previous_probability)
        with_timestamps = bool(timestamp_chance < self._options.timestamp_probability)
        is_cut = with_timestamps and group.cut is not None
        example = self._cut_example(group) if is_cut else self._whole_example(group, seed)
        example = replace(example, with_timestamps=with_timestamps, with_previous=with_previous, seed=seed)
        num_targets = self._count_targets(example)
        if num_targets > MAX_LABEL_TOKENS:  # without timestamps every group fits
            example = replace(self._whole_example(group, seed), with_previous=with_previous, seed=seed)
            num_targets = self._count_targets(example)
        return replace(example, num_targets=num_targets)

    def _whole_example(self, group: Group, seed: tuple[int, ...]) -> Example:
        duration = group.offsets[-1] + self.clips[group.rows[-1]].duration
        speed = draw_speed(self._options.augmentation, seed)
        if duration / speed > FULL_CONTEXT:
            speed = 1.0
        offsets = tuple(offset / speed for offset in group.offsets)
        return Example(group.rows, duration / speed, 0, offsets=offsets, speed=speed)

    def _cut_example(self, group: Group) -> Example:
        """Return an example that fills the window. Its speed is 1, so that its end stays in the speech."""
        assert group.cut is not None
        row, start = group.cut
        rows, offsets = (*group.rows, row), (*group.offsets, start)
        return Example(rows, FULL_CONTEXT, 0, offsets=offsets, is_cut=True)

    # ---- an example as tokens and audio ------------------------------------------------------------------

    def sequence(self, example: Example) -> DecoderSequence:
        """Return the decoder tokens of an example."""
        previous = self._context(example)
        if not example.rows:
            return self.writer.write(
                [], example.language, with_timestamps=example.with_timestamps, previous=previous
            )
        pieces, next_start = self._pieces(example)
        return self.writer.write(
            pieces,
            self.clips[example.rows[0]].language,
            with_timestamps=example.with_timestamps,
            next_start=next_start,
            previous=previous,
        )

    def _context(self, example: Example) -> Sequence[int]:
        """Return the tokens before an example: listed terms, then the previous text."""
        previous = self._previous(example.rows[0]) if example.with_previous else ()
        return self._terms.write(example, previous) if self._terms and example.with_terms else previous

    def _previous(self, row: int) -> Sequence[int]:
        """Return the tokens of the previous text. If the clip has none, take the texts of earlier clips."""
        if self.clips[row].previous:
            return self.clips[row].previous
        tokens: list[int] = []
        before = self._before[row]
        while before is not None and len(tokens) < MAX_PREVIOUS_TOKENS:
            tokens = self.clips[before].text.tokens + tokens
            before = self._before[before]
        return tokens

    def _count_targets(self, example: Example) -> int:
        pieces, next_start = self._pieces(example)
        return self.writer.count_targets(
            pieces,
            self.clips[example.rows[0]].language,
            with_timestamps=example.with_timestamps,
            next_start=next_start,
        )

    def _pieces(self, example: Example) -> tuple[list[TimedTokens], float | None]:
        """Return the pieces that end in the window, and the start of one that goes on after it."""
        pieces: list[TimedTokens] = []
        for row, offset in zip(example.rows, example.offsets, strict=True):
            clip = self.clips[row]
            for piece in clip.pieces if example.with_timestamps else (clip.text,):
                start, end = offset + piece.start / example.speed, offset + piece.end / example.speed
                if example.is_cut and end > FULL_CONTEXT:
                    return pieces, start if start <= LAST_CUT_START else None
                pieces.append(TimedTokens(start, end, piece.tokens))
        return pieces, None

    def waveforms(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """Return the audio of each example: (samples,) float32, 16 kHz.

        Raises:
            UserError: A clip, or a noise or reverb file, is no longer readable. The message names it.
        """
        wanted = [row for example in examples for row in example.rows]
        decoded = iter(read_audio(self.rows[wanted], "the training split") if wanted else [])
        placed = [
            _place([next(decoded) for _ in example.rows], example)
            if example.rows
            else make_window(example.duration, self._options.non_speech.non_speech_dir, example.seed)
            for example in examples
        ]
        return [
            augment(samples, self._options.augmentation, seed=example.seed)
            for samples, example in zip(placed, examples, strict=True)
        ]


def _place(clips: list[np.ndarray], example: Example) -> np.ndarray:
    """Place clips at the example's speed and offsets, with silence between them."""
    clips = [change_speed(clip, example.speed) for clip in clips]
    if len(clips) == 1:
        return clips[0]
    whole = np.zeros(round(example.duration * SAMPLE_RATE), dtype=np.float32)
    for clip, offset in zip(clips, example.offsets, strict=True):
        start = round(offset * SAMPLE_RATE)
        whole[start : start + len(clip)] = clip[: len(whole) - start]
    return whole

"""Reads a recording with the model, one window after another, to find what is said and when."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.audio.flac import SAMPLE_RATE, num_samples_at
from utils.audio.levels import Levels
from utils.audio.voice_activity import SpeechSpan
from utils.data.forced_alignment.anchors import Heard, Unit, split_transcript
from utils.data.forced_alignment.segments import PlacedUnit, confidence_of
from utils.data.forced_alignment.stretches import Stretch
from utils.data.forced_alignment.word_timing import UnitTimes, silent_positions, time_units
from utils.model.context import FULL_CONTEXT
from utils.model.decoding import decode_greedily, detect_languages
from utils.model.encoded_clips import EncodedClips
from utils.model.encoder import encode_clips

MOST_HEARD_TOKENS = 250  # in one window; more is a loop

LANGUAGE_WINDOWS = 8  # in which the language is detected; the majority decides


def commonest_language(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    windows: Sequence[SpeechSpan],
) -> str | None:
    found = Counter(
        language
        for window in windows
        for language, _ in detect_languages(model, _encode(model, processor, samples, [window]))
    )
    return found.most_common(1)[0][0] if found else None


def _encode(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    windows: Sequence[SpeechSpan | Stretch],
) -> torch.Tensor:
    """Encode parts of the recording, each padded to 30 s, to (B, 1500, d_model)."""
    clips = [samples[num_samples_at(window.start) : num_samples_at(window.end)] for window in windows]
    return encode_clips(model, processor.feature_extractor, clips, FULL_CONTEXT)


def count_tokens(processor: WhisperProcessor, text: str, units: Sequence[Unit]) -> list[int]:
    words = [" " + text[unit.start : unit.end] for unit in units]
    return [len(tokens) for tokens in processor.tokenizer(words, add_special_tokens=False)["input_ids"]]


@dataclass(frozen=True)
class Reader:
    """A model that reads a recording twice.

    First it transcribes it, then it finds the times of the true text.
    """

    model: WhisperForConditionalGeneration
    processor: WhisperProcessor
    prompt: list[int]
    samples: np.ndarray
    levels: Levels
    batch_size: int

    def write_down(self, windows: Sequence[SpeechSpan]) -> list[Heard]:
        """Transcribe each window. Return the words with their times."""
        heard: list[Heard] = []
        for batch, states in self._batches(windows):
            prompts = torch.tensor([self.prompt] * len(batch), device=states.device)
            limit = prompts.shape[1] + MOST_HEARD_TOKENS
            tokens = decode_greedily(self.model, EncodedClips(states), prompts, limit)
            decoded = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            texts = [text.strip() for text in decoded]
            units = [split_transcript(text) for text in texts]
            for row, times in self._time(batch, states, texts, units):
                keys = [unit.key for unit in units[row]]
                heard += map(Heard, keys, times.starts.tolist(), times.ends.tolist())
        return heard

    def place(self, text: str, units: Sequence[Unit], stretches: Sequence[Stretch]) -> list[PlacedUnit]:
        """Find the start and the end of each word (unit) in each stretch of the recording.

        Other units get the times of the gap between their neighbours.
        """
        found: dict[int, PlacedUnit] = {}
        for batch, states in self._batches([stretch for stretch in stretches if stretch.end > stretch.start]):
            texts, shifted = [], []
            for stretch in batch:
                own = units[stretch.first : stretch.last]
                begin = own[0].start
                texts.append(text[begin : own[-1].end])
                shifted.append([Unit(unit.start - begin, unit.end - begin, unit.key) for unit in own])
            for row, times in self._time(batch, states, texts, shifted):
                indices = range(batch[row].first, batch[row].last)
                spans = (times.starts.tolist(), times.ends.tolist(), confidence_of(times).tolist())
                for index, *placed in zip(indices, *spans, strict=True):
                    found[index] = PlacedUnit(units[index], *placed)
        return list(_fill_gaps(units, found, len(self.samples) / SAMPLE_RATE))

    def _batches(self, windows: Sequence) -> Iterator[tuple[Sequence, torch.Tensor]]:
        """Yield batches of windows with the encoder's output."""
        for start in range(0, len(windows), self.batch_size):
            batch = windows[start : start + self.batch_size]
            yield batch, _encode(self.model, self.processor, self.samples, batch)

    def _time(
        self, windows: Sequence, states: torch.Tensor, texts: Sequence[str], units: Sequence[Sequence[Unit]]
    ) -> Iterator[tuple[int, UnitTimes]]:
        """Yield each row that has words, with their times in the recording."""
        rows = [row for row, words in enumerate(units) if words]
        if not rows:
            return
        times = time_units(
            self.model,
            self.processor,
            states[rows],
            [self.prompt] * len(rows),
            [texts[row] for row in rows],
            [units[row] for row in rows],
            [silent_positions(self.levels, windows[row].start, windows[row].end) for row in rows],
        )
        for row, found in zip(rows, times, strict=True):
            start = windows[row].start
            yield row, replace(found, starts=found.starts + start, ends=found.ends + start)


def _fill_gaps(units: Sequence[Unit], found: dict[int, PlacedUnit], duration: float) -> Iterator[PlacedUnit]:
    """Yield all units in order.

    A unit that was not found gets the times of the gap between its neighbours that were found.
    """
    indices = np.array(sorted(found), dtype=int)
    for index, unit in enumerate(units):
        if index in found:
            yield found[index]
            continue
        place = int(np.searchsorted(indices, index))
        before = found[int(indices[place - 1])].end if place else 0.0
        after = found[int(indices[place])].start if place < len(indices) else duration
        yield PlacedUnit(unit, before, max(after, before), 0.0)

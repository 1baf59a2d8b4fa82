"""A plain transcript of a long recording to timed segments: forced alignment with Whisper.

The model first writes down what it hears. Where its words agree with the transcript's, both are cut into
stretches of less than 30 s (`utils.anchors`). In each the model is then led through the true text, and its
cross-attention tells when each word is spoken (`utils.word_timing`).
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.anchors import Heard, Stretch, Unit, match_units, plan_stretches, split_units
from utils.audio import SAMPLE_RATE, num_samples_at
from utils.batching import FULL_CONTEXT
from utils.decoding import EncodedClips, decode_greedily, detect_languages
from utils.features import log_mel, pad_waveforms
from utils.labels import prompt_tokens
from utils.modeling import encode, eval_mode, language_codes, whisper_of
from utils.text import clean_text
from utils.utterances import Reject, Utterance, shown
from utils.voice import LEVEL_SECONDS, Levels, SpeechSpan, find_speech, measure_levels
from utils.word_timing import FRAME_SECONDS, UnitTimes, time_units

LONGEST_WINDOW = 28.0  # seconds; a little under Whisper's 30, so that an edge can move into a pause
SHORTEST_WINDOW = 8.0
MOST_TOKENS = 400  # of a window's text; the decoder has 448 positions, some of them for the prompt
MOST_HEARD_TOKENS = 250  # more in one window is a loop
LANGUAGE_WINDOWS = 8  # are asked for their language, and the majority decides
MARGIN = 0.5  # seconds of silence that a segment keeps at most before and after its words
LONG_PAUSE = 2.0  # seconds without a word; no segment goes across
USUAL_FOCUS = 0.6  # share of attention that falls on a word's own place
LEAST_CONFIDENCE = 0.01  # of a word that has a place at all
DOUBTFUL, HALF_DOUBTFUL = 0.25, 0.4  # confidence of a word that may not be spoken, and of those beside it
SHORT_WORD = 4  # characters: a shorter word alone is not doubted, it is often hardly heard
SHORT_SEGMENT = 1.0  # seconds; shorter ones are joined to a neighbour where that costs little

SENTENCE_END = re.compile(r"[.!?…。！？؟।॥][\"'”’»)\]」』]*$")
CLAUSE_END = re.compile(r"[,;:،、，；：–—-][\"'”’»)\]」』]*$")


@dataclass(frozen=True)
class AlignedSegment:
    """A piece of the transcript, verbatim, and its place in the recording in seconds.

    `confidence` is between 0 and 1. It is 0 where the text was not found in the audio; `start` and `end` then
    are the gap where it should be.
    """

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True)
class PlacedUnit:
    """A unit of the transcript, when it is spoken in seconds, and how sure that is; 0 if it was not found."""

    unit: Unit
    start: float
    end: float
    confidence: float


def align_transcript(
    samples: np.ndarray,
    text: str,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    language: str | None,
    max_duration: float = 30.0,
    batch_size: int = 8,
    on_seconds: Callable[[float], None] = lambda seconds: None,
) -> list[AlignedSegment]:
    """Align the plain transcript of a recording of any length.

    Args:
        samples: (samples,) float32 at 16 kHz.
        text: All that is said, in order, without times.
        model: Whisper, or a PEFT model around it, on any device.
        language: Code of the language; None lets the model find out.
        max_duration: Most seconds of a segment.
        batch_size: Windows of up to 28 s in a batch.
        on_seconds: Called with audio seconds as they are finished, about the recording's length in all.

    Returns:
        Segments in order. Their texts put together are the transcript, whitespace aside. The caller sets
        those of low confidence aside.
    """
    if not split_units(text):
        words = text.strip()
        return [AlignedSegment(0.0, len(samples) / SAMPLE_RATE, words, 0.0)] if words else []
    levels = measure_levels(samples)
    placed = place_units(
        samples,
        text,
        levels,
        model=model,
        processor=processor,
        language=language,
        batch_size=batch_size,
        on_seconds=on_seconds,
    )
    return join_units(text, placed, levels, max_duration)


def align_utterance(
    samples: np.ndarray,
    utterance: Utterance,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    default_language: str | None,
    max_duration: float,
    min_confidence: float,
) -> list[Utterance | Reject]:
    """Cut a long recording, or a long stretch of one, that has one plain text into timed utterances.

    Args:
        samples: (samples,) float32 at 16 kHz, the whole recording.
        utterance: Its text, and the stretch if it is not all; what else is known of it goes to every part.
        model: Whisper, or a PEFT model around it, on any device.
        default_language: Where the utterance does not carry its own; None lets the model find out.
        max_duration: Most seconds of a part.
        min_confidence: Parts of a lower confidence, from 0 to 1, become rejects.
    """
    offset = utterance.start or 0.0
    last = len(samples) if utterance.end is None else num_samples_at(utterance.end)
    segments = align_transcript(
        samples[num_samples_at(offset) : last],
        utterance.text,
        model=model,
        processor=processor,
        language=utterance.language or default_language,
        max_duration=max_duration,
    )
    parts: list[Utterance | Reject] = []
    for number, segment in enumerate(segments):
        start, end = offset + segment.start, offset + segment.end
        place = f"{start:.2f} to {end:.2f} s"
        if problem := alignment_problem(segment, min_confidence):
            parts.append(Reject(utterance.source, place, f"{problem}: {shown(segment.text)}"))
            continue
        parts.append(
            replace(
                utterance,
                id=f"{utterance.id}_segment_{number:03d}",
                text=clean_text(segment.text),
                position=place,
                start=start,
                end=end,
                recording=utterance.recording or (utterance.id if utterance.start is None else None),
                segments=(),
                previous_text=clean_text(segments[number - 1].text) if number else utterance.previous_text,
                extra={**utterance.extra, "alignment_confidence": round(segment.confidence, 4)},
            )
        )
    return parts


def alignment_problem(segment: AlignedSegment, min_confidence: float) -> str | None:
    """Why a segment should be set aside, or None."""
    if segment.confidence >= min_confidence:
        return None
    return f"low alignment confidence: {segment.confidence:.2f}, expected at least {min_confidence:g}"


# ---- words -------------------------------------------------------------------------------------------------


def place_units(
    samples: np.ndarray,
    text: str,
    levels: Levels,
    *,
    model: torch.nn.Module,
    processor: WhisperProcessor,
    language: str | None,
    batch_size: int,
    on_seconds: Callable[[float], None] = lambda seconds: None,
) -> list[PlacedUnit]:
    """Find each word of the transcript (each character, in scripts without spaces) in the recording.

    See `align_transcript` for the arguments. Times never go back; a unit that was not found has a confidence
    of 0 and the times of the gap it falls in.
    """
    units = split_units(text)
    if not units:
        return []
    whisper = whisper_of(model)
    windows = plan_windows(find_speech(samples), levels)
    with eval_mode(model), torch.inference_mode():
        if language is None and language_codes(whisper):
            language = _commonest_language(whisper, processor, samples, windows[:LANGUAGE_WINDOWS])
        known = language if language_codes(whisper) else None
        reader = Reader(whisper, processor, known, samples, levels, batch_size, on_seconds)
        heard = reader.write_down(windows)
        stretches = plan_stretches(
            units,
            _count_tokens(processor, text, units),
            match_units([unit.key for unit in units], [word.key for word in heard]),
            heard,
            len(samples) / SAMPLE_RATE,
            partial(cut_between, levels),
            shortest=SHORTEST_WINDOW,
            longest=LONGEST_WINDOW,
            most_tokens=MOST_TOKENS,
        )
        return reader.place(text, units, stretches)


def plan_windows(speech: Sequence[SpeechSpan], levels: Levels) -> list[SpeechSpan]:
    """Pack speech into windows of at most 28 s; speech without a pause is cut where it is quiet."""
    windows: list[SpeechSpan] = []
    for span in speech:
        for part in _cut_long(span, levels):
            fits = windows and part.end - windows[-1].start <= LONGEST_WINDOW
            if fits and part.start - windows[-1].end <= LONG_PAUSE:
                windows[-1] = SpeechSpan(windows[-1].start, part.end)
            else:
                windows.append(part)
    return windows


def _cut_long(span: SpeechSpan, levels: Levels) -> Iterator[SpeechSpan]:
    start = span.start
    while span.end - start > LONGEST_WINDOW:
        middle = levels.cut_point(start + 0.7 * LONGEST_WINDOW, start + 0.95 * LONGEST_WINDOW)
        end = min(middle, start + LONGEST_WINDOW)
        yield SpeechSpan(start, end)
        start = end
    yield SpeechSpan(start, span.end)


def _commonest_language(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    windows: Sequence[SpeechSpan],
) -> str | None:
    found = Counter(
        language
        for window in windows
        for language in detect_languages(model, _encode(model, processor, samples, [window]))
    )
    return found.most_common(1)[0][0] if found else None


def _encode(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    samples: np.ndarray,
    windows: Sequence[SpeechSpan | Stretch],
) -> torch.Tensor:
    """(B, 1500, d_model) encoder output of parts of the recording, each padded to 30 s."""
    clips = [samples[num_samples_at(window.start) : num_samples_at(window.end)] for window in windows]
    waveforms = pad_waveforms(clips, FULL_CONTEXT).to(model.device)
    return encode(model, log_mel(waveforms, processor.feature_extractor))


def _count_tokens(processor: WhisperProcessor, text: str, units: Sequence[Unit]) -> list[int]:
    words = [" " + text[unit.start : unit.end] for unit in units]
    return [len(tokens) for tokens in processor.tokenizer(words, add_special_tokens=False)["input_ids"]]


@dataclass(frozen=True)
class Reader:
    """A model that goes over a recording twice: to write down what it hears, and to follow the true text."""

    model: WhisperForConditionalGeneration
    processor: WhisperProcessor
    language: str | None
    samples: np.ndarray
    levels: Levels
    batch_size: int
    on_seconds: Callable[[float], None]

    def write_down(self, windows: Sequence[SpeechSpan]) -> list[Heard]:
        """The words the model hears in each window, and when."""
        heard = []
        for batch in self._batches(windows):
            states = _encode(self.model, self.processor, self.samples, batch)
            prompts = torch.tensor([self._prompt] * len(batch), device=states.device)
            limit = prompts.shape[1] + MOST_HEARD_TOKENS
            tokens = decode_greedily(self.model, EncodedClips(states), prompts, limit)
            texts = [text.strip() for text in self._decode(tokens)]
            units = [split_units(text) for text in texts]
            for window, words, times in self._time(batch, states, texts, units):
                for word, start, end in zip(words, times.starts, times.ends, strict=True):
                    times_of_word = window.start + float(start), window.start + float(end)
                    heard.append(Heard(word.key, *times_of_word))
        return heard

    def place(self, text: str, units: Sequence[Unit], stretches: Sequence[Stretch]) -> list[PlacedUnit]:
        """Time the units of each stretch; those in none are given the gap between their neighbours."""
        found: dict[int, PlacedUnit] = {}
        for batch in self._batches([stretch for stretch in stretches if stretch.end > stretch.start]):
            states = _encode(self.model, self.processor, self.samples, batch)
            texts, shifted = [], []
            for stretch in batch:
                own = units[stretch.first : stretch.last]
                texts.append(text[own[0].start : own[-1].end])
                shifted.append([_shift(unit, -own[0].start) for unit in own])
            for stretch, _, times in self._time(batch, states, texts, shifted):
                for index, values in enumerate(
                    zip(times.starts, times.ends, _confidence(times), strict=True)
                ):
                    start, end, confidence = map(float, values)
                    unit = units[stretch.first + index]
                    found[stretch.first + index] = PlacedUnit(
                        unit, stretch.start + start, stretch.start + end, confidence
                    )
        return list(_fill_gaps(units, found, len(self.samples) / SAMPLE_RATE))

    def _batches(self, windows: Sequence) -> Iterator[Sequence]:
        for start in range(0, len(windows), self.batch_size):
            batch = windows[start : start + self.batch_size]
            yield batch
            self.on_seconds(sum(window.end - window.start for window in batch) / 2)  # of two passes

    def _time(
        self,
        windows: Sequence,
        states: torch.Tensor,
        texts: Sequence[str],
        units: Sequence[Sequence[Unit]],
    ) -> Iterator[tuple]:
        """Each window that has words, its words and their times."""
        rows = [row for row, words in enumerate(units) if words]
        if not rows:
            return
        times = time_units(
            self.model,
            self.processor,
            states[rows],
            self._prompt,
            [texts[row] for row in rows],
            [units[row] for row in rows],
            [self._silence(windows[row]) for row in rows],
        )
        for row, result in zip(rows, times, strict=True):
            yield windows[row], units[row], result

    def _silence(self, window: SpeechSpan | Stretch) -> np.ndarray:
        """(frames,) bool, which encoder frames of a window are silence all through."""
        per_frame = round(FRAME_SECONDS / LEVEL_SECONDS)
        first = round(window.start / LEVEL_SECONDS)
        num_frames = max(round((window.end - window.start) / FRAME_SECONDS), 1)
        silent = np.ones(num_frames * per_frame, dtype=bool)
        there = self.levels.silent[first : first + len(silent)]
        silent[: len(there)] = there
        return np.logical_and.reduce(silent.reshape(num_frames, per_frame), axis=1)

    def _decode(self, tokens: list[list[int]]) -> list[str]:
        return self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)

    @property
    def _prompt(self) -> list[int]:
        return prompt_tokens(self.processor.tokenizer, self.language)


def _shift(unit: Unit, by: int) -> Unit:
    return Unit(unit.start + by, unit.end + by, unit.key)


def _confidence(times: UnitTimes) -> np.ndarray:
    """(units,) from 0 to 1: how firmly the model looks at a unit's place, and how likely it finds the unit.

    The look counts more, because rare words and names are unlikely though they are spoken; text that nobody
    says gets less than half the usual focus.
    """
    firm = np.clip(times.focus / USUAL_FOCUS, 0.0, 1.0)
    return np.maximum(firm * (0.4 + 0.6 * times.probabilities), LEAST_CONFIDENCE)


def _fill_gaps(units: Sequence[Unit], found: dict[int, PlacedUnit], duration: float) -> Iterator[PlacedUnit]:
    """All units in order; one that was not found spans the gap between its neighbours that were."""
    indices = np.array(sorted(found), dtype=int)
    for index, unit in enumerate(units):
        if index in found:
            yield found[index]
            continue
        place = int(np.searchsorted(indices, index))
        before = found[int(indices[place - 1])].end if place else 0.0
        after = found[int(indices[place])].start if place < len(indices) else duration
        yield PlacedUnit(unit, before, max(after, before), 0.0)


# ---- segments ----------------------------------------------------------------------------------------------


def join_units(
    text: str, placed: Sequence[PlacedUnit], levels: Levels, max_duration: float
) -> list[AlignedSegment]:
    """Join units to segments of at most `max_duration` seconds that end at sentences and pauses.

    No segment goes across a long pause, or from words that are spoken to words that may not be.
    """
    segments = []
    edged = _with_edges(placed, levels)
    doubted = find_doubtful(placed)
    for is_doubted, group in itertools.groupby(range(len(placed)), key=doubted.__getitem__):
        units = [edged[index] for index in group]
        if is_doubted:
            segments.append(_segment(text, units, max_duration))
            continue
        for part in _split_at_pauses(units):
            for first, last in _cheapest_cuts(text, part, max_duration):
                segments.append(_segment(text, part[first:last], max_duration))
    return segments


def find_doubtful(placed: Sequence[PlacedUnit]) -> list[bool]:
    """Which words may not be spoken: those of low confidence, and on from them as far as it is not high."""
    doubted = [
        unit.confidence == 0 or (unit.confidence < DOUBTFUL and len(unit.unit.key) >= SHORT_WORD)
        for unit in placed
    ]
    for order in (range(1, len(placed)), range(len(placed) - 2, -1, -1)):
        step = -order.step
        for index in order:
            if doubted[index + step] and placed[index].confidence < HALF_DOUBTFUL:
                doubted[index] = True
    return doubted


@dataclass(frozen=True)
class _Edged:
    """A placed unit, and where a segment would begin that begins with it, and end that ends with it."""

    placed: PlacedUnit
    start: float
    end: float


def _with_edges(placed: Sequence[PlacedUnit], levels: Levels) -> list[_Edged]:
    duration = len(levels.silent) * LEVEL_SECONDS
    found = [unit for unit in placed if unit.confidence > 0]
    if not found:
        return [_Edged(unit, unit.start, unit.end) for unit in placed]
    cuts = [cut_between(levels, a.end, b.start) for a, b in itertools.pairwise(found)]
    starts = [max(found[0].start - MARGIN, 0.0), *(right for _, right in cuts)]
    ends = [*(left for left, _ in cuts), min(found[-1].end + MARGIN, duration)]
    edges = iter(zip(starts, ends, strict=True))
    return [
        _Edged(unit, *(next(edges) if unit.confidence > 0 else (unit.start, unit.end))) for unit in placed
    ]


def cut_between(levels: Levels, end: float, start: float) -> tuple[float, float]:
    """Where to end what comes before a gap between two words and to begin what comes after, in seconds.

    In the middle of the silence; of a long one, each side keeps half a second.
    """
    if start - end > 2 * MARGIN:
        return end + MARGIN, start - MARGIN
    point = levels.cut_point(end, start)
    return point, point


def _split_at_pauses(units: list[_Edged]) -> list[list[_Edged]]:
    parts = [[units[0]]]
    for before, unit in itertools.pairwise(units):
        if unit.placed.start - before.placed.end > LONG_PAUSE:
            parts.append([])
        parts[-1].append(unit)
    return parts


def _cheapest_cuts(text: str, units: list[_Edged], max_duration: float) -> list[tuple[int, int]]:
    """(first, last + 1) of the segments, by the least sum of costs over all ways to cut."""
    costs = [0.0] + [np.inf] * len(units)
    begins = [0] * (len(units) + 1)
    for last in range(1, len(units) + 1):
        at_end = 0.0 if last == len(units) else _cost_of_cut(text, units[last - 1], units[last])
        for first in range(last - 1, -1, -1):
            duration = units[last - 1].end - units[first].start
            if duration > max_duration and first < last - 1:
                break
            cost = costs[first] + at_end + _cost_of_length(duration, max_duration)
            if cost < costs[last]:
                costs[last], begins[last] = cost, first
    cuts = []
    last = len(units)
    while last:
        cuts.append((begins[last], last))
        last = begins[last]
    return cuts[::-1]


def _cost_of_cut(text: str, before: _Edged, after: _Edged) -> float:
    """Little at the end of a sentence, in a pause, and between words that are surely in their place."""
    word = text[before.placed.unit.start : before.placed.unit.end]
    cost = 0.3 if SENTENCE_END.search(word) else 0.8 if CLAUSE_END.search(word) else 1.2
    doubt = 1.0 - min(before.placed.confidence, after.placed.confidence)
    return max(cost - min(after.placed.start - before.placed.end, 0.5), 0.0) + doubt


def _cost_of_length(duration: float, max_duration: float) -> float:
    """Favours segments of about half to two thirds of the longest."""
    too_short = 0.5 if duration < SHORT_SEGMENT else 0.0
    return 0.3 + 0.6 * (duration / max_duration) ** 2 + too_short


def _segment(text: str, units: list[_Edged], max_duration: float) -> AlignedSegment:
    start, end = units[0].start, units[-1].end
    confidence = _segment_confidence([unit.placed for unit in units])
    if end - start > max_duration and confidence > 0:  # a single word: its times are wrong
        end, confidence = start + max_duration, 0.0
    verbatim = text[units[0].placed.unit.start : units[-1].placed.unit.end]
    return AlignedSegment(start, end, verbatim, confidence)


def _segment_confidence(units: list[PlacedUnit]) -> float:
    """The mean over its characters."""
    lengths = [len(unit.unit.key) for unit in units]
    return float(np.average([unit.confidence for unit in units], weights=lengths))

"""Transcribe many clips in batches of similar length, shared among processes, with any decoder."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from accelerate.utils import gather_object

from utils.model.context import DECODING_GRID, FULL_CONTEXT, dynamic_context
from utils.runtime.out_of_memory import is_out_of_memory, return_freed_memory

Languages = Sequence[str | None]  # code of each clip; None: the model detects it

Contexts = Sequence[float]  # seconds of each clip

Clip = TypeVar("Clip")

Found = TypeVar("Found")

# clips of at most 30 s, mostly as FLAC bytes, their languages and contexts -> the texts
BatchTranscriber = Callable[[Sequence[Clip], Languages, Contexts], list[str]]


class CutShortError(Exception):
    """Decoding stopped between two batches, because a process got a signal to stop."""


@dataclass(frozen=True)
class Hypothesis:
    """The text of one clip. If the decoder failed, the text is empty and there is a reason."""

    text: str
    error: str | None = None


@dataclass(frozen=True)
class DecodingBatch:
    """Clips that are decoded together."""

    indices: tuple[int, ...]
    contexts: tuple[float, ...]  # seconds of each clip


def transcribe_clips(
    transcribe_batch: BatchTranscriber[Clip],
    clips: Sequence[Clip],
    durations: Sequence[float],
    languages: Sequence[str | None],
    *,
    audio_context: str,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
    keeps_failures: bool = False,
    cut_short: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int, float], None] = lambda clips, seconds: None,
) -> dict[int, Hypothesis]:
    """Transcribe those batches that this process gets.

    The batches do not depend on the number of processes, so the results do not either.

    Args:
        transcribe_batch: Decoder of a model. If a batch does not fit into memory, it is split in halves.
        clips: The clips of all processes, in the form that the decoder takes: mostly FLAC bytes of at most
            30 s, 16 kHz mono. They are read one batch after another.
        durations: Seconds of each clip.
        languages: Language code of each clip. If it is None, the model detects the language.
        audio_context: "full", or "dynamic", which is each clip's own duration, rounded up to a fixed grid.
        batch_size: Number of clips that are decoded at once.
        process: Number of this process.
        num_processes: Number of processes that share the clips.
        keeps_failures: If the decoder fails on a clip, keep an empty hypothesis with the reason.
        cut_short: Function that is called after every batch. If it returns True, decoding stops.
        on_batch: Function that is called after each batch with its number of clips and its audio seconds.

    Returns:
        Hypotheses by clip number, in order. Together, all processes have every clip once, unless one stopped
        early.
    """
    found: dict[int, Hypothesis] = {}
    transcribe_batch = WithinMemory(transcribe_batch)
    batches = list(plan_decoding(durations, audio_context, batch_size))
    for batch in batches[process::num_processes]:
        found |= _transcribe_batch(transcribe_batch, clips, languages, batch, keeps_failures)
        on_batch(len(batch.indices), sum(durations[index] for index in batch.indices))
        if cut_short():
            break
    return dict(sorted(found.items()))


class WithinMemory(Generic[Clip, Found]):
    """A decoder that repeats a batch in halves if memory runs out. Later batches have the smaller size too.

    Args:
        decode_batch: The decoder of a batch: function from clips, languages and contexts to one result for
            each clip.
    """

    def __init__(self, decode_batch: Callable[[Sequence[Clip], Languages, Contexts], list[Found]]) -> None:
        self._decode_batch = decode_batch
        self._most_clips: int | None = None  # at once; None: no batch was too large so far

    def __call__(self, clips: Sequence[Clip], languages: Languages, contexts: Contexts) -> list[Found]:
        """Return one result for each clip. The results do not depend on how the clips are split."""
        found: list[Found] = []
        while len(found) < len(clips):
            part = slice(len(found), len(found) + (self._most_clips or len(clips)))
            size = len(clips[part])
            try:
                found += self._decode_batch(clips[part], languages[part], contexts[part])
                continue
            except Exception as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            return_freed_memory()  # here, because the error no longer holds the batch's memory
            self._most_clips = math.ceil(size / 2)
            print(f"Out of memory with {size} clips at once. Decoding continues with {self._most_clips}.")
        return found


def plan_decoding(durations: Sequence[float], audio_context: str, batch_size: int) -> Iterator[DecodingBatch]:
    """Yield batches of clips of similar length. The context of a clip does not depend on its batch."""
    contexts = [
        FULL_CONTEXT if audio_context == "full" else dynamic_context(duration, DECODING_GRID)
        for duration in durations
    ]
    order = sorted(range(len(durations)), key=lambda index: (contexts[index], durations[index], index))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        yield DecodingBatch(tuple(batch), tuple(contexts[index] for index in batch))


def _transcribe_batch(
    transcribe_batch: BatchTranscriber[Clip],
    clips: Sequence[Clip],
    languages: Sequence[str | None],
    batch: DecodingBatch,
    keeps_failures: bool,
) -> dict[int, Hypothesis]:
    """Transcribe a batch. If this fails, decode its clips one by one, so that only the bad clip fails."""
    indices = batch.indices
    try:
        own, spoken = [clips[index] for index in indices], [languages[index] for index in indices]
        texts = transcribe_batch(own, spoken, batch.contexts)
        return {index: Hypothesis(text) for index, text in zip(indices, texts, strict=True)}
    except Exception as error:  # any error is reported, and the clip counts
        if not keeps_failures:
            raise
        if len(indices) == 1:
            return {indices[0]: failed(error)}
    found: dict[int, Hypothesis] = {}
    for index, context in zip(indices, batch.contexts, strict=True):
        alone = DecodingBatch((index,), (context,))
        found |= _transcribe_batch(transcribe_batch, clips, languages, alone, keeps_failures)
    return found


def failed(error: Exception) -> Hypothesis:
    """Return the empty hypothesis of a clip on which the decoder failed, with the reason in one line."""
    return Hypothesis("", " ".join(f"{type(error).__name__}: {error}".split())[:300])


def gather_hypotheses(share: dict[int, Hypothesis], num_clips: int) -> list[Hypothesis]:
    """Gather the hypotheses of all processes, in clip order, on every process. All processes must call it.

    Raises:
        CutShortError: Clips are missing, because a process got a signal to stop. All processes raise this.
        RuntimeError: Two processes have transcribed the same clip.
    """
    joined: dict[int, Hypothesis] = {}
    for other in gather_object([share]):
        if not joined.keys().isdisjoint(other):
            raise RuntimeError(f"decoded twice: {sorted(joined.keys() & other.keys())[:5]}")
        joined |= other
    if len(joined) < num_clips:
        raise CutShortError
    return [joined[number] for number in range(num_clips)]

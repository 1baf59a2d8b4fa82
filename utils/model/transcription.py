"""Many clips to text: in batches of like length that processes share, whatever decodes and whatever fails."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from accelerate.utils import gather_object

from utils.model.context import DECODING_GRID, FULL_CONTEXT, dynamic_context
from utils.runtime.out_of_memory import is_out_of_memory, return_freed_memory

# FLAC clips of at most 30 s, the language code of each (None: the model detects it), and the seconds that
# each is padded to for the encoder -> the texts
BatchTranscriber = Callable[[Sequence[bytes], Sequence[str | None], Sequence[float]], list[str]]


class CutShortError(Exception):
    """Decoding was left between two batches, because some process is told to stop."""


@dataclass(frozen=True)
class Hypothesis:
    """What was understood of one clip; empty where the decoder failed, and why."""

    text: str
    error: str | None = None


@dataclass(frozen=True)
class DecodingBatch:
    """Clips that are decoded together."""

    indices: tuple[int, ...]
    contexts: tuple[float, ...]  # seconds of each clip


def transcribe_clips(
    transcribe_batch: BatchTranscriber,
    clips: Sequence[bytes],
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
    """Transcribe this process's batches of all clips.

    The batches are the same however many processes there are, so that all the numbers are as well.

    Args:
        transcribe_batch: Of a model that is ready to decode; what memory is too small for it gets in halves.
        clips: FLAC bytes of at most 30 s, 16 kHz mono, of all processes together, read batch by batch.
        durations: Seconds of each clip.
        languages: Language code of each clip; None lets the model detect it.
        audio_context: "full", or "dynamic": each clip's own duration rounded up to a fixed grid.
        batch_size: Clips decoded at once.
        process: Number of this process.
        num_processes: That share the clips.
        keeps_failures: A clip that the decoder fails on becomes an empty hypothesis that tells why.
        cut_short: Asked after every batch; True leaves the rest.
        on_batch: Called after each batch with its clips and audio seconds.

    Returns:
        Hypotheses by the clip's number, in order; all processes together have every clip once, unless one
        was cut short.
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


class WithinMemory:
    """A `BatchTranscriber` that does a batch again in halves where memory runs out, and goes on so.

    Args:
        transcribe_batch: What decodes.
    """

    def __init__(self, transcribe_batch: BatchTranscriber) -> None:
        self._transcribe_batch = transcribe_batch
        self._most_clips: int | None = None  # at once; None: no batch was too large yet

    def __call__(
        self, clips: Sequence[bytes], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        """The texts, whatever parts the clips are decoded in."""
        texts: list[str] = []
        while len(texts) < len(clips):
            part = slice(len(texts), len(texts) + (self._most_clips or len(clips)))
            size = len(clips[part])
            try:
                texts += self._transcribe_batch(clips[part], languages[part], contexts[part])
                continue
            except Exception as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            return_freed_memory()  # here, where the error no longer holds what the batch took
            self._most_clips = math.ceil(size / 2)
            print(f"Memory ran out in decoding {size} clips at once; from now on it is {self._most_clips}.")
        return texts


def plan_decoding(durations: Sequence[float], audio_context: str, batch_size: int) -> Iterator[DecodingBatch]:
    """Batches of clips of like length; no neighbour decides the context of a clip."""
    contexts = [
        FULL_CONTEXT if audio_context == "full" else dynamic_context(duration, DECODING_GRID)
        for duration in durations
    ]
    order = sorted(range(len(durations)), key=lambda index: (contexts[index], durations[index], index))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        yield DecodingBatch(tuple(batch), tuple(contexts[index] for index in batch))


def _transcribe_batch(
    transcribe_batch: BatchTranscriber,
    clips: Sequence[bytes],
    languages: Sequence[str | None],
    batch: DecodingBatch,
    keeps_failures: bool,
) -> dict[int, Hypothesis]:
    """Where a batch fails, its clips are decoded one by one, so that the one at fault is alone with it."""
    indices = batch.indices
    try:
        own, spoken = [clips[index] for index in indices], [languages[index] for index in indices]
        texts = transcribe_batch(own, spoken, batch.contexts)
        return {index: Hypothesis(text) for index, text in zip(indices, texts, strict=True)}
    except Exception as error:  # whatever it is, it is told, and the clip counts
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
    """What is kept of a clip or recording that the decoder failed on: why, in a line."""
    return Hypothesis("", " ".join(f"{type(error).__name__}: {error}".split())[:300])


def gather_hypotheses(share: dict[int, Hypothesis], num_clips: int) -> list[Hypothesis]:
    """What all processes have transcribed, in the order of the clips, on every process; all of them call it.

    Raises:
        CutShortError: On all processes: some clips are missing, for a process was told to stop.
        RuntimeError: Two processes have transcribed the same.
    """
    joined: dict[int, Hypothesis] = {}
    for other in gather_object([share]):
        if not joined.keys().isdisjoint(other):
            raise RuntimeError(f"decoded twice: {sorted(joined.keys() & other.keys())[:5]}")
        joined |= other
    if len(joined) < num_clips:
        raise CutShortError
    return [joined[number] for number in range(num_clips)]

"""A whole split through a transcriber: every clip exactly once, whoever else decodes and whatever fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utils.evaluation.backends.transcriber import Transcriber
from utils.model.transcribing import DecodingBatch, plan_decoding


@dataclass(frozen=True)
class Hypothesis:
    """What was understood of one clip; empty where the decoder failed, and why."""

    text: str
    error: str | None = None


def transcribe_share(
    transcriber: Transcriber,
    clips: Sequence[bytes],
    durations: Sequence[float],
    languages: Sequence[str | None],
    *,
    audio_context: str,
    batch_size: int,
    process: int = 0,
    num_processes: int = 1,
    on_batch: Callable[[int, float], None] = lambda clips, seconds: None,
) -> dict[int, Hypothesis]:
    """Transcribe this process's batches of all clips.

    The batches are the same however many processes there are, so that all the numbers are as well.

    Args:
        clips: FLAC bytes of at most 30 s, 16 kHz mono, of all processes together.
        durations: Seconds of each clip.
        languages: Language code of each clip; None lets the model detect it.
        audio_context: "full", or "dynamic": each clip's own duration rounded up to a fixed grid.
        batch_size: Clips decoded at once.
        process: Number of this process.
        num_processes: That share the clips.
        on_batch: Called after each batch with its clips and audio seconds.

    Returns:
        Hypotheses by the clip's number; those of all processes together hold every clip once.
    """
    found: dict[int, Hypothesis] = {}
    batches = list(plan_decoding(durations, audio_context, batch_size))
    for batch in batches[process::num_processes]:
        found |= _transcribe_batch(transcriber, clips, languages, batch)
        on_batch(len(batch.indices), sum(durations[index] for index in batch.indices))
    return found


def _transcribe_batch(
    transcriber: Transcriber, clips: Sequence[bytes], languages: Sequence[str | None], batch: DecodingBatch
) -> dict[int, Hypothesis]:
    """Where a batch fails, its clips are decoded one by one, so that the one at fault is alone with it."""
    indices = batch.indices
    try:
        spoken = [languages[index] for index in indices]
        texts = transcriber.transcribe_batch([clips[index] for index in indices], spoken, batch.contexts)
        return {index: Hypothesis(text) for index, text in zip(indices, texts, strict=True)}
    except Exception as error:  # whatever it is, it is told, and the clip counts
        if len(indices) == 1:
            return {indices[0]: Hypothesis("", in_a_line(error))}
    alone = [DecodingBatch((i,), (context,)) for i, context in zip(indices, batch.contexts, strict=True)]
    return {k: v for one in alone for k, v in _transcribe_batch(transcriber, clips, languages, one).items()}


def in_a_line(error: Exception) -> str:
    """What is told of a failure of the decoder."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

"""Clips to text by one process and a model in memory."""

from collections.abc import Sequence
from functools import partial

from utils.audio.flac import decode_flac
from utils.model.decoding import decode_clips, ready_to_decode
from utils.model.transcription import transcribe_clips


def transcribe_batch(
    model, processor, clips: Sequence[bytes], languages: Sequence[str | None], contexts, **options
) -> list[str]:
    """The texts of FLAC clips, see `decode_clips`."""
    samples = [decode_flac(clip) for clip in clips]
    return decode_clips(model, processor, samples, languages, contexts, **options).texts


def transcribe(
    model,
    processor,
    clips: Sequence[bytes],
    durations: Sequence[float],
    languages: Sequence[str | None],
    *,
    audio_context: str,
    batch_size: int,
    max_length: int,
    task: str = "transcribe",
    silence_run: int = 0,
    on_batch=lambda clips, seconds: None,
) -> list[str]:
    """The text of each clip."""
    of_batch = {"max_length": max_length, "task": task, "silence_run": silence_run}
    with ready_to_decode(model):
        found = transcribe_clips(
            partial(transcribe_batch, model, processor, **of_batch),
            clips,
            durations,
            languages,
            audio_context=audio_context,
            batch_size=batch_size,
            on_batch=on_batch,
        )
    return [hypothesis.text for hypothesis in found.values()]

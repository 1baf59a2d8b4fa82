"""Validation rows decoded by all processes together."""

from collections.abc import Callable, Mapping
from functools import partial

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import WhisperProcessor

from utils.model.loading import load_model
from utils.model.quantization import Quantization
from utils.model.transcribing import transcribe
from utils.runtime.launch import is_sharded, loading_whole
from utils.runtime.progress import AudioProgress, audio_progress
from utils.scoring.error_rates import ErrorRates, error_rates, score_utterances
from utils.training.whole_model import whole_model


def transcribe_on_all_processes(
    accelerator: Accelerator,
    prepared: nn.Module,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    batch_size: int,
    max_length: int,
    task: str,
    cut_short: Callable[[], bool] = lambda: False,
) -> list[str] | None:
    """Transcribe the rows in the full audio context, shared among the processes; all processes call it.

    Args:
        cut_short: Asked after every batch; a process that is told True leaves the rest.

    Returns:
        The hypotheses in the order of the rows, on every process; None on all where one was cut short.
    """
    sharing = 1 if is_sharded(accelerator) else accelerator.num_processes
    return _share_transcription(
        accelerator,
        whole_model(accelerator, prepared),
        processor,
        rows,
        sharing=sharing,
        batch_size=batch_size,
        max_length=max_length,
        task=task,
        cut_short=cut_short,
    )


class CutShortError(Exception):
    """Decoding was left between two batches, because some process is told to stop."""


def score_folder(
    accelerator: Accelerator,
    name_or_path: str,
    splits: Mapping[str, Dataset],
    *,
    normalizer: str,
    batch_size: int,
    max_length: int,
    task: str,
    quantization: Quantization | None = None,
    cut_short: Callable[[], bool] = lambda: False,
) -> dict[str, ErrorRates]:
    """Load a model of its own on every process and score it in the full audio context; all processes call it.

    Args:
        name_or_path: A model folder, adapter folder or Hub id, which every process can read.
        splits: Rows to decode, by any name.
        quantization: Of a model, or of the base of an adapter.
        cut_short: Asked after every batch; a process that is told True leaves the rest.

    Returns:
        The error rates by the same names, equal on every process.

    Raises:
        CutShortError: On all processes, where one was cut short.
    """
    is_quantized = quantization is not None
    with loading_whole(accelerator):
        loaded = load_model(name_or_path, keep_adapter=is_quantized, quantization=quantization)
    model = loaded.model if is_quantized else loaded.model.to(accelerator.device)
    found = {}
    for name, rows in splits.items():
        hypotheses = _share_transcription(
            accelerator,
            model,
            loaded.processor,
            rows,
            sharing=accelerator.num_processes,
            batch_size=batch_size,
            max_length=max_length,
            task=task,
            cut_short=cut_short,
        )
        if hypotheses is None:
            raise CutShortError
        found[name] = error_rates(
            score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, normalizer)
        )
    return found


def _share_transcription(
    accelerator: Accelerator,
    model: nn.Module | None,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    sharing: int,
    batch_size: int,
    max_length: int,
    task: str,
    cut_short: Callable[[], bool],
) -> list[str] | None:
    """The hypotheses of all rows, on every process; the first `sharing` processes have a model and decode."""
    texts: dict[int, str] | None = {}
    if model is not None:
        own = list(range(accelerator.process_index, len(rows), sharing))
        share = rows.select(own)
        with (
            accelerator.autocast(),
            audio_progress("validating", len(own), shown=accelerator.is_main_process) as progress,
        ):
            try:
                found = transcribe(
                    model,
                    processor,
                    share["audio"],
                    list(share["duration"]),
                    list(share["language"]),
                    audio_context="full",
                    batch_size=batch_size,
                    max_length=max_length,
                    task=task,
                    on_batch=partial(_advance_or_leave, progress, cut_short),
                )
                texts = dict(zip(own, found, strict=True))
            except CutShortError:
                texts = None
    shares = gather_object([texts])
    if None in shares:
        return None
    joined = {index: text for share in shares for index, text in share.items()}
    return [joined[index] for index in sorted(joined)]


def _advance_or_leave(
    progress: AudioProgress, cut_short: Callable[[], bool], clips: int, seconds: float
) -> None:
    progress.advance(clips, seconds)
    if cut_short():
        raise CutShortError

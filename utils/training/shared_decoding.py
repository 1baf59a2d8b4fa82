"""Rows of a dataset decoded by all processes together, in the full audio context."""

from collections.abc import Callable
from functools import partial

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import WhisperProcessor

from utils.arguments.train import TrainArguments
from utils.model.decoding import ready_to_decode, transcribe_batch
from utils.model.transcription import Hypothesis, gather_hypotheses, transcribe_clips
from utils.runtime.interruption import StopRequest
from utils.runtime.progress import audio_progress
from utils.scoring.error_rates import ScoredUtterance, score_utterances


def score_rows(
    args: TrainArguments,
    accelerator: Accelerator,
    model: nn.Module | None,
    processor: WhisperProcessor,
    rows: Dataset,
    stop_request: StopRequest,
) -> list[ScoredUtterance]:
    """Decode the rows as the arguments say and count their errors; all processes call it and get all.

    Args:
        model: From `whole_model`: all processes have one, or the first alone.

    Raises:
        CutShortError: On all processes, where one is asked to stop.
    """
    hypotheses = transcribe_on_all_processes(
        accelerator,
        model,
        processor,
        rows,
        batch_size=args.per_device_eval_batch_size,
        max_length=args.generation_max_length,
        task=args.task,
        cut_short=lambda: stop_request.reason is not None,
    )
    return score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, args.normalizer)


def transcribe_on_all_processes(
    accelerator: Accelerator,
    model: nn.Module | None,
    processor: WhisperProcessor,
    rows: Dataset,
    *,
    batch_size: int,
    max_length: int,
    task: str,
    cut_short: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Transcribe the rows, shared among the processes that have a model; all processes call it.

    Args:
        model: From `whole_model`: all processes have one, or the first alone.
        cut_short: Asked after every batch; a process that is told True leaves the rest.

    Returns:
        The hypotheses in the order of the rows, on every process.

    Raises:
        CutShortError: On all processes, where one was cut short.
    """
    sharing = sum(gather_object([model is not None]))
    share: dict[int, Hypothesis] = {}
    if model is not None:
        shown = accelerator.is_main_process
        with (
            accelerator.autocast(),
            ready_to_decode(model),
            audio_progress("validating", len(rows) / sharing, shown=shown) as progress,
        ):
            share = transcribe_clips(
                partial(transcribe_batch, model, processor, max_length=max_length, task=task),
                rows["audio"],
                list(rows["duration"]),
                list(rows["language"]),
                audio_context="full",
                batch_size=batch_size,
                process=accelerator.process_index,
                num_processes=sharing,
                cut_short=cut_short,
                on_batch=progress.advance,
            )
    return [hypothesis.text for hypothesis in gather_hypotheses(share, len(rows))]

"""Decode the rows of a dataset with all processes together, in the full audio context."""

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
    """Decode the rows and count their errors.

    All processes must call this, and all get the results of all rows.

    Args:
        model: The result of `whole_model`. All processes have it, or only the first.

    Raises:
        CutShortError: A process got a signal to stop. All processes raise this.
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
    """Transcribe the rows.

    They are shared among the processes that have a model. All processes must call this.

    Args:
        model: The result of `whole_model`. All processes have it, or only the first.
        cut_short: Function that is called after every batch. If it returns True, this process stops decoding.

    Returns:
        The hypotheses in the order of the rows, on every process.

    Raises:
        CutShortError: A process stopped decoding. All processes raise this.
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

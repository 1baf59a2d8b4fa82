"""Decode the rows of a dataset with all processes together, in the full audio context, and score them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn
from transformers import WhisperProcessor

from utils.arguments.train import TrainArguments
from utils.audio.flac import decode_flac
from utils.model.decoding import decode_clips, ready_to_decode
from utils.model.loss import TargetLoss
from utils.model.transcription import Hypothesis, gather_hypotheses, transcribe_clips
from utils.runtime.interruption import StopRequest
from utils.runtime.progress import audio_progress
from utils.scoring.error_rates import ErrorRates, ScoredUtterance, error_rates, score_utterances


@dataclass(frozen=True)
class ScoredRows:
    """Rows of a dataset with the errors of their hypotheses, and the loss of their texts."""

    utterances: list[ScoredUtterance]
    loss: float  # mean cross-entropy of a target token; NaN if there are no targets

    @property
    def rates(self) -> ErrorRates:
        """Return the error rates over all rows."""
        return error_rates(self.utterances)


def score_rows(
    args: TrainArguments,
    accelerator: Accelerator,
    model: nn.Module | None,
    processor: WhisperProcessor,
    rows: Dataset,
    stop_request: StopRequest,
) -> ScoredRows:
    """Decode the rows, count their errors, and compute the loss of their texts.

    All processes must call this, and all get the results of all rows. The loss is that of training: a mean
    over the target tokens of all rows and processes, without timestamps and previous text.

    Args:
        model: The result of `whole_model`. All processes have it, or only the first.

    Raises:
        CutShortError: A process got a signal to stop. All processes raise this.
    """
    decoder = None if model is None else RowDecoder(model, processor, rows, args)
    hypotheses = decode_on_all_processes(
        accelerator,
        decoder,
        rows,
        batch_size=args.per_device_eval_batch_size,
        cut_short=lambda: stop_request.reason is not None,
    )
    loss = mean_loss_on_all_processes(decoder.losses if decoder else {})
    utterances = score_utterances(list(rows["id"]), list(rows["text"]), hypotheses, args.normalizer)
    return ScoredRows(utterances, loss)


class RowDecoder:
    """Decodes rows by their numbers, and keeps the loss of each row's text in `losses`.

    Args:
        model: Whisper, or a PEFT model around it.
        processor: Its processor.
        rows: Rows of a prepared dataset.
        args: They name the task, and limit the length of a hypothesis.
    """

    def __init__(
        self, model: nn.Module, processor: WhisperProcessor, rows: Dataset, args: TrainArguments
    ) -> None:
        self.model, self.task = model, args.task
        self.losses: dict[int, TargetLoss] = {}
        self._processor, self._max_length = processor, args.generation_max_length
        self._rows = rows.select_columns(["audio", "text"])

    def __call__(
        self, numbers: Sequence[int], languages: Sequence[str | None], contexts: Sequence[float]
    ) -> list[str]:
        """Return the hypotheses of these rows. If memory ran out, rows come again, in a smaller batch."""
        chosen = self._rows[list(numbers)]
        decoded = decode_clips(
            self.model,
            self._processor,
            [decode_flac(clip) for clip in chosen["audio"]],
            languages,
            contexts,
            max_length=self._max_length,
            task=self.task,
            references=chosen["text"],
        )
        self.losses |= dict(zip(numbers, decoded.losses, strict=True))
        return decoded.texts


def decode_on_all_processes(
    accelerator: Accelerator,
    decoder: RowDecoder | None,
    rows: Dataset,
    *,
    batch_size: int,
    cut_short: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Decode the rows.

    They are shared among the processes that have a model. All processes must call this.

    Args:
        decoder: Decoder of these rows. None if this process has no model.
        cut_short: Function that is called after every batch. If it returns True, this process stops decoding.

    Returns:
        The hypotheses in the order of the rows, on every process.

    Raises:
        CutShortError: A process stopped decoding. All processes raise this.
    """
    sharing = sum(gather_object([decoder is not None]))
    share: dict[int, Hypothesis] = {}
    if decoder is not None:
        shown = accelerator.is_main_process
        with (
            accelerator.autocast(),
            ready_to_decode(decoder.model),
            audio_progress("validating", len(rows) / sharing, shown=shown) as progress,
        ):
            share = transcribe_clips(
                decoder,
                range(len(rows)),
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


def mean_loss_on_all_processes(share: dict[int, TargetLoss]) -> float:
    """Return the mean loss of a target token, over the rows of all processes. All must call this."""
    losses: dict[int, TargetLoss] = {}
    for other in gather_object([share]):
        losses |= other
    # `fsum` rounds once: the sum is the same for any number of processes
    total = math.fsum(loss.loss_sum for loss in losses.values())
    return TargetLoss(total, sum(loss.num_targets for loss in losses.values())).mean

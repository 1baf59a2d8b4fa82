"""From examples to tensors: padded audio, and what the decoder reads and is to predict."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from utils.audio.log_mel import pad_waveforms
from utils.runtime.errors import UserError
from utils.runtime.workers import end_workers_at_exit, outlive_signals
from utils.text.label_tokens import IGNORED
from utils.training.clips import TrainingClips
from utils.training.encoder_cache import EncoderCache
from utils.training.steps import MicroBatch, Step, StepPlan


@dataclass(frozen=True)
class Batch:
    """A micro-batch, ready but for the log-mel spectrogram, which is computed on the training device."""

    waveforms: torch.Tensor  # (B, samples) float32, 16 kHz
    decoder_input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64, -100 where nothing is to be predicted
    durations: tuple[float, ...]  # seconds of each clip, padding not counted
    seeds: tuple[tuple[int, ...], ...]  # of what is random about each clip
    context: float  # seconds that the clips are padded to
    rows: tuple[int, ...] = ()  # of each clip, where what a frozen encoder makes of it is kept
    encoder_states: torch.Tensor | None = None  # (B, frames, d_model), if known; then there is no audio

    def to(self, device: torch.device) -> "Batch":
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """What `DataLoader` calls, so that copies to a GPU need not wait."""
        return self._with_tensors(torch.Tensor.pin_memory)

    def split(self, most_clips: int) -> list["Batch"]:
        """Parts of about equal size, of at most so many clips each; all are padded as the whole is."""
        size = len(self.durations)
        edges = np.linspace(0, size, math.ceil(size / most_clips) + 1).round().astype(int).tolist()
        return [self.part(slice(*edge)) for edge in pairwise(edges)]

    def part(self, clips: slice) -> "Batch":
        """Some of its clips, padded as the whole is."""
        part = self._with_tensors(lambda tensor: tensor[clips])
        return replace(part, durations=self.durations[clips], seeds=self.seeds[clips], rows=self.rows[clips])

    def _with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return replace(
            self,
            waveforms=change(self.waveforms),
            decoder_input_ids=change(self.decoder_input_ids),
            labels=change(self.labels),
            encoder_states=None if self.encoder_states is None else change(self.encoder_states),
        )


class MicroBatches(torch.utils.data.Dataset):
    """Maps a `MicroBatch` to its `Batch`; a `DataLoader` runs it in its workers.

    Args:
        clips: The training split.
        pad_token_id: Fills up what the decoder reads.
        kept: What a frozen encoder has made of clips already, instead of their audio.
    """

    def __init__(self, clips: TrainingClips, pad_token_id: int, kept: EncoderCache | None = None) -> None:
        self._clips, self._pad_token_id, self._kept = clips, pad_token_id, kept

    def __getitem__(self, micro_batch: MicroBatch) -> Batch:
        sequences = [self._clips.sequence(example) for example in micro_batch.examples]
        labels = pad_tokens([sequence.targets for sequence in sequences], IGNORED)
        if micro_batch.is_filler:
            labels = torch.full_like(labels, IGNORED)
        rows = tuple(example.rows[0] for example in micro_batch.examples) if self._kept else ()
        states = self._kept.read(rows) if self._kept else None
        clips = self._clips.waveforms(micro_batch.examples) if states is None else []
        return Batch(
            pad_waveforms(clips, micro_batch.context),
            pad_tokens([sequence.inputs for sequence in sequences], self._pad_token_id),
            labels,
            tuple(example.duration for example in micro_batch.examples),
            tuple(example.seed for example in micro_batch.examples),
            micro_batch.context,
            rows,
            states,
        )


class _OrError(torch.utils.data.Dataset):
    """Hands a `UserError` over as a value: what a worker raises, torch wraps in a traceback."""

    def __init__(self, dataset: MicroBatches) -> None:
        self._dataset = dataset

    def __getitem__(self, micro_batch: MicroBatch) -> Batch | UserError:
        try:
            return self._dataset[micro_batch]
        except UserError as error:
            return error


def pad_tokens(sequences: Sequence[list[int]], padding: int) -> torch.Tensor:
    """(B, longest) int64, padded on the right."""
    tensors = [torch.tensor(tokens, dtype=torch.long) for tokens in sequences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)


def read_steps(
    plan: StepPlan,
    dataset: MicroBatches,
    first: int,
    last: int,
    *,
    own_share: Callable[[Step], list[MicroBatch]],
    num_workers: int,
    pin_memory: bool,
    seed: int,
) -> Iterator[tuple[Step, list[Batch]]]:
    """Yield steps `first` to `last` - 1, each with this process's micro-batches; workers read ahead.

    Args:
        plan: Of the run.
        dataset: Reads micro-batches.
        first: Number of the first step.
        last: Number of the step to stop before.
        own_share: From a step to the micro-batches of this process.
        num_workers: Processes that read; none: the training process reads in between.
        pin_memory: Read into memory that a GPU copies from directly.
        seed: Of the loader's own generator.

    Raises:
        UserError: Audio cannot be read.
    """
    end_workers_at_exit()
    # A generator of its own: the loader would else move torch's, and a resumed run get other dropout.
    own_draws = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        _OrError(dataset),
        sampler=(micro_batch for step in plan.steps(first, last) for micro_batch in own_share(step)),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=own_draws,
        worker_init_fn=outlive_signals,
    )
    batches = iter(loader)
    for step in plan.steps(first, last):
        yield step, [_or_raise(next(batches)) for _ in own_share(step)]


def _or_raise(batch: Batch | UserError) -> Batch:
    if isinstance(batch, UserError):
        raise batch
    return batch

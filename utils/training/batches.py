"""Turn examples into tensors: padded audio, decoder inputs and labels."""

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
    """A micro-batch without its log-mel spectrogram, which is computed on the training device."""

    waveforms: torch.Tensor  # (B, samples) float32, 16 kHz
    decoder_input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64, -100 for tokens without loss
    durations: tuple[float, ...]  # seconds of each clip, without padding
    seeds: tuple[tuple[int, ...], ...]  # seed of the random augmentation of each clip
    context: float  # seconds: the length to which clips are padded
    rows: tuple[int, ...] = ()  # row of each clip, if encoder outputs are cached
    encoder_states: torch.Tensor | None = None  # (B, frames, d_model) from the cache, instead of audio

    def to(self, device: torch.device) -> "Batch":
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Pin the tensors in memory, so that a copy to a GPU need not be waited for.

        `DataLoader` calls this.
        """
        return self._with_tensors(torch.Tensor.pin_memory)

    def split(self, most_clips: int) -> list["Batch"]:
        """Split the batch into parts of similar size, with at most `most_clips` clips each.

        The padding stays the same.
        """
        size = len(self.durations)
        edges = np.linspace(0, size, math.ceil(size / most_clips) + 1).round().astype(int).tolist()
        return [self.part(slice(*edge)) for edge in pairwise(edges)]

    def part(self, clips: slice) -> "Batch":
        """Return a batch with some of the clips. The padding stays the same."""
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
    """The dataset of a `DataLoader`. Its workers read the clips of a `MicroBatch` and pad them to a `Batch`.

    Args:
        clips: The training split.
        pad_token_id: Padding of the decoder inputs.
        kept: Cached outputs of a frozen encoder. They are read instead of audio.
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
    """Returns a `UserError` as a value, because torch adds a traceback to errors raised in a worker."""

    def __init__(self, dataset: MicroBatches) -> None:
        self._dataset = dataset

    def __getitem__(self, micro_batch: MicroBatch) -> Batch | UserError:
        try:
            return self._dataset[micro_batch]
        except UserError as error:
            return error


def pad_tokens(sequences: Sequence[list[int]], padding: int) -> torch.Tensor:
    """Return (B, longest) int64, padded on the right."""
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
    """Yield steps `first` to `last` - 1, each with this process's micro-batches.

    Workers read the next steps in advance.

    Args:
        plan: The steps of the run.
        dataset: Reads micro-batches.
        first: Number of the first step.
        last: Number of the step after the last one.
        own_share: Function that returns the micro-batches of this process for a step.
        num_workers: Number of worker processes. 0: the training process reads the audio itself.
        pin_memory: Use pinned memory, from which a GPU copies directly.
        seed: Seed of the loader's generator.

    Raises:
        UserError: Audio cannot be read.
    """
    end_workers_at_exit()
    # The loader would otherwise advance torch's generator, and a resumed run would draw other dropout.
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

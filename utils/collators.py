"""From examples to tensors: padded audio, and what the decoder reads and is to predict."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch

from utils.batching import MicroBatch, Step, StepPlan
from utils.examples import TrainingClips
from utils.features import pad_waveforms
from utils.labels import IGNORED


@dataclass(frozen=True)
class Batch:
    """A micro-batch, ready but for the log-mel spectrogram, which is computed on the training device."""

    waveforms: torch.Tensor  # (B, samples) float32, 16 kHz
    decoder_input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64, -100 where nothing is to be predicted

    def to(self, device: torch.device) -> "Batch":
        return replace(
            self,
            **{item.name: getattr(self, item.name).to(device, non_blocking=True) for item in fields(self)},
        )

    def pin_memory(self) -> "Batch":
        """What `DataLoader` calls, so that copies to a GPU need not wait."""
        return replace(self, **{item.name: getattr(self, item.name).pin_memory() for item in fields(self)})


class MicroBatches(torch.utils.data.Dataset):
    """Maps a `MicroBatch` to its `Batch`; a `DataLoader` runs it in its workers."""

    def __init__(self, clips: TrainingClips, pad_token_id: int) -> None:
        self._clips, self._pad_token_id = clips, pad_token_id

    def __getitem__(self, micro_batch: MicroBatch) -> Batch:
        sequences = [self._clips.sequence(example) for example in micro_batch.examples]
        labels = pad_tokens([sequence.targets for sequence in sequences], IGNORED)
        if micro_batch.is_filler:
            labels = torch.full_like(labels, IGNORED)
        return Batch(
            pad_waveforms(self._clips.waveforms(micro_batch.examples), micro_batch.context),
            pad_tokens([sequence.inputs for sequence in sequences], self._pad_token_id),
            labels,
        )


def pad_tokens(sequences: Sequence[list[int]], padding: int) -> torch.Tensor:
    """(B, longest) int64, padded on the right."""
    tensors = [torch.tensor(tokens, dtype=torch.long) for tokens in sequences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)


def load_steps(
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
    """
    # A generator of its own: the loader would else move torch's, and a resumed run get other dropout.
    own_draws = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        dataset,
        sampler=(micro_batch for step in plan.steps(first, last) for micro_batch in own_share(step)),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=own_draws,
    )
    batches = iter(loader)
    for step in plan.steps(first, last):
        yield step, [next(batches) for _ in own_share(step)]

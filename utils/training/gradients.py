"""The gradient of a step, added up over micro-batches and processes; each target token weighs the same."""

from contextlib import nullcontext

import torch
from accelerate import Accelerator

from utils.audio.log_mel import log_mel
from utils.audio.spec_augment import SpecAugment, spec_augment
from utils.model.loading import LoadedModel
from utils.model.silence import encoder_positions
from utils.training.collators import Batch
from utils.training.encoder_states import EncoderStates
from utils.training.fixed_encoder import encode_once


def accumulate_gradients(
    accelerator: Accelerator,
    model: torch.nn.Module,
    micro_batches: list["Batch"],
    num_tokens: int,
    loaded: LoadedModel,
    masking: SpecAugment | None = None,
    kept: EncoderStates | None = None,
) -> torch.Tensor:
    """Backward through a step's micro-batches; each target token of the whole step weighs the same.

    Processes average their gradients, which is undone here; they exchange them at the last micro-batch. Not
    `accelerator.accumulate`, because the number of micro-batches changes from step to step.

    Returns:
        This process's summed loss, a detached scalar.
    """
    scale = accelerator.num_processes / num_tokens
    on_device = (batch.to(accelerator.device) for batch in micro_batches)
    losses = [
        backward_through(
            accelerator,
            model,
            batch,
            loaded=loaded,
            masking=masking,
            kept=kept,
            scale=scale,
            exchange=number == len(micro_batches),
        )
        for number, batch in enumerate(on_device, start=1)
    ]
    return sum(losses[1:], losses[0])


def backward_through(
    accelerator: Accelerator,
    model: torch.nn.Module,
    batch: Batch,
    *,
    loaded: LoadedModel,
    masking: SpecAugment | None = None,
    kept: EncoderStates | None = None,
    scale: float = 1.0,
    exchange: bool,
) -> torch.Tensor:
    """Add the gradient of a micro-batch's loss, times `scale`, to what is there.

    Args:
        exchange: Whether the processes average their gradients afterwards.

    Returns:
        Its summed loss, a detached scalar.
    """
    accelerator.sync_gradients = exchange
    with nullcontext() if exchange else accelerator.no_sync(model):
        features = states = None
        if batch.encoder_states is None:
            features = log_mel(batch.waveforms, loaded.processor.feature_extractor)
        if kept is not None:
            states = encode_once(accelerator, loaded, batch, features, kept, accelerator.unwrap_model(model))
            features = None
        if masking is not None:
            num_frames = [round(100 * seconds) for seconds in batch.durations]
            features = spec_augment(features, num_frames, masking, batch.seeds)
        context = encoder_positions(batch.context)
        loss_sum = model(features, batch.decoder_input_ids, batch.labels, states, context)
        accelerator.backward(loss_sum * scale)
        return loss_sum.detach()

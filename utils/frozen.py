"""Training on an encoder that stays as it is: each clip is encoded once and its outputs are kept."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from utils.collators import Batch
from utils.distributed import is_sharded
from utils.encoder_states import EncoderStates, digest_of
from utils.features import log_mel
from utils.modeling import LoadedModel, WhisperLoss, encode, whisper_of
from utils.silence import count_positions, encoder_positions

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # what the decoder casts its input to anyway


def encoder_is_fixed(model: torch.nn.Module) -> bool:
    """Whether Whisper's encoder gives the same for the same input all through training."""
    encoder = whisper_of(model).model.encoder
    config = encoder.config
    dropouts = (config.dropout, config.attention_dropout, config.activation_dropout)
    return not any(dropouts) and not any(parameter.requires_grad for parameter in encoder.parameters())


def open_encoder_states(
    accelerator: Accelerator,
    folder: Path,
    loaded: LoadedModel,
    contexts: Sequence[float],
    audio: Iterable[bytes],
    *,
    silence_run: int,
    multiple: int,
) -> EncoderStates | None:
    """Where the outputs of a fixed encoder are kept, old ones among them; all processes call this.

    Args:
        accelerator: Its precision is that of the outputs.
        folder: For them alone.
        loaded: The model, its encoder not trained.
        contexts: Seconds of each clip, the same all through the run.
        audio: Of each clip, as it is stored.
        silence_run: See `encode`.
        multiple: See `encode`.

    Returns:
        None where the disk has no room for them, which is told, or the encoder is spread over processes.
    """
    if is_sharded(accelerator):
        return None
    whisper = whisper_of(loaded.model)
    dtype = DTYPES.get(accelerator.mixed_precision, torch.float32)
    full = whisper.config.max_source_positions
    positions = [
        count_positions(encoder_positions(context), silence_run, full, multiple) for context in contexts
    ]
    states = EncoderStates(folder, positions, whisper.config.d_model, dtype)
    (fits,) = broadcast_object_list([states.fits()])
    if fits and accelerator.is_main_process:
        settings = (contexts, silence_run, multiple, dtype, loaded.processor.feature_extractor.to_dict())
        states.prepare(digest_of(whisper.model.encoder, audio, settings))
    elif accelerator.is_main_process:
        states.remove()
    accelerator.wait_for_everyone()
    size = f"{states.num_bytes / 1e9:.2f} GB in {folder}"
    outcome = f"kept until the end of training, {size}" if fits else f"not kept: {size} is over half the disk"
    accelerator.print(f"The encoder is frozen and no audio is changed: its outputs are {outcome}.")
    return states if fits else None


def encode_once(
    accelerator: Accelerator, loaded: LoadedModel, batch: Batch, kept: EncoderStates, loss: WhisperLoss
) -> torch.Tensor:
    """(B, positions, d_model) that the fixed encoder makes of a micro-batch: read, or computed and kept."""
    if batch.encoder_states is not None:
        return batch.encoder_states
    features = log_mel(batch.waveforms, loaded.processor.feature_extractor)  # in float32, as ever
    with torch.no_grad(), accelerator.autocast():
        states = encode(whisper_of(loaded.model), features, loss.silence_run, loss.multiples.positions)
    kept.write(batch.rows, states)
    return states

"""Training on an encoder that stays as it is: each clip is encoded once and its outputs are kept."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from utils.model.encoder import encode
from utils.model.loading import LoadedModel
from utils.model.loss import WhisperLoss
from utils.model.silence import count_positions, encoder_positions
from utils.model.whisper import whisper_of
from utils.training.collators import Batch
from utils.training.encoder_states import EncoderStates, digest_of
from utils.training.estimates import free_disk_bytes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # what the decoder casts its input to anyway


def encoder_is_fixed(model: torch.nn.Module) -> bool:
    """Whether Whisper's encoder gives the same for the same input all through training."""
    encoder = whisper_of(model).model.encoder
    config = encoder.config
    dropouts = (config.dropout, config.attention_dropout, config.activation_dropout)
    return not any(dropouts) and not any(parameter.requires_grad for parameter in encoder.parameters())


@dataclass(frozen=True)
class FixedEncoding:
    """What decides the outputs of a fixed encoder, beside its weights and the audio."""

    contexts: Sequence[float]  # seconds of each clip, the same all through the run
    silence_run: int  # see `encode`
    multiple: int  # see `encode`

    def states_in(self, folder: Path, loaded: LoadedModel, mixed_precision: str) -> EncoderStates:
        """The outputs in a folder for them alone; nothing is read or written yet."""
        config, (run, multiple) = whisper_of(loaded.model).config, (self.silence_run, self.multiple)
        full = config.max_source_positions
        positions = [
            count_positions(encoder_positions(context), run, full, multiple) for context in self.contexts
        ]
        return EncoderStates(folder, positions, config.d_model, DTYPES.get(mixed_precision, torch.float32))


def open_encoder_states(
    accelerator: Accelerator,
    folder: Path,
    loaded: LoadedModel,
    encoding: FixedEncoding,
    audio: Iterable[bytes],
) -> EncoderStates | None:
    """Where the outputs of a fixed encoder are kept, old ones among them; all processes call this.

    Args:
        accelerator: Its precision is that of the outputs.
        folder: For them alone.
        loaded: The model, its encoder not trained.
        encoding: How it encodes.
        audio: Of each clip, as it is stored.

    Returns:
        None where the disk has no room for them, which is told.
    """
    states = encoding.states_in(folder, loaded, accelerator.mixed_precision)
    (fits,) = broadcast_object_list([states.fits()])
    if fits and accelerator.is_main_process:
        settings = (encoding, accelerator.mixed_precision, loaded.processor.feature_extractor.to_dict())
        states.prepare(digest_of(whisper_of(loaded.model).model.encoder, audio, settings))
    elif accelerator.is_main_process:
        states.remove()
    accelerator.wait_for_everyone()
    size = f"{states.num_bytes / 1e9:.2f} GB in {folder}"
    outcome = f"kept until the end of training, {size}" if fits else f"not kept: {size} is over half the disk"
    accelerator.print(f"The encoder is frozen and no audio is changed: its outputs are {outcome}.")
    return states if fits else None


@contextmanager
def rehearsing_with_encoder_states(
    accelerator: Accelerator, output_dir: Path, loaded: LoadedModel, encoding: FixedEncoding
) -> Iterator[EncoderStates | None]:
    """Keep the outputs of a few steps in a temporary folder, where a run in `output_dir` would keep all."""
    with TemporaryDirectory() as folder:
        states = encoding.states_in(Path(folder) / "states", loaded, accelerator.mixed_precision)
        if states.fits_into(free_disk_bytes(output_dir)):
            states.prepare("")
            yield states
        else:
            yield None


def encode_once(
    accelerator: Accelerator,
    loaded: LoadedModel,
    batch: Batch,
    features: torch.Tensor | None,
    kept: EncoderStates,
    loss: WhisperLoss,
) -> torch.Tensor:
    """(B, positions, d_model) that the fixed encoder makes of a micro-batch: read, or computed and kept."""
    if features is None:
        assert batch.encoder_states is not None  # read by the loader's worker
        return batch.encoder_states
    with torch.no_grad(), accelerator.autocast():
        states = encode(whisper_of(loaded.model), features, loss.silence_run, loss.multiples.positions)
    kept.write(batch.rows, states)
    return states

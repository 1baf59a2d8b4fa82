"""What a micro-batch gives the model to hear: log-mel features, or the kept outputs of a frozen encoder."""

import torch

from utils.audio.log_mel import log_mel
from utils.audio.spec_augment import spec_augment
from utils.model.encoder import encode
from utils.model.whisper import whisper_of
from utils.training.batches import Batch
from utils.training.encoder_cache import EncoderCache
from utils.training.options import choose_spec_augment
from utils.training.run import Run


def encoder_inputs(run: Run, batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Features (B, n_mels, frames) to encode, masked where asked for; or encoder outputs known already.

    Args:
        batch: On the device.
    """
    if run.data.encoder_cache is not None:
        return None, encode_once(run, batch, run.data.encoder_cache)
    features = log_mel(batch.waveforms, run.loaded.processor.feature_extractor)
    masking = choose_spec_augment(run.args)
    if masking is not None:
        num_frames = [round(100 * seconds) for seconds in batch.durations]
        features = spec_augment(features, num_frames, masking, batch.seeds)
    return features, None


def encode_once(run: Run, batch: Batch, cache: EncoderCache) -> torch.Tensor:
    """(B, positions, d_model) that a frozen encoder makes of a micro-batch: read, or computed and kept."""
    if batch.encoder_states is not None:
        return batch.encoder_states
    loss = run.accelerator.unwrap_model(run.model)
    features = log_mel(batch.waveforms, run.loaded.processor.feature_extractor)  # in float32, as ever
    with torch.no_grad(), run.accelerator.autocast():
        states = encode(whisper_of(run.loaded.model), features, loss.silence_run, loss.multiples.positions)
    cache.write(batch.rows, states)
    return states

"""Compute the model input of a micro-batch: log-mel features, or outputs of a frozen encoder."""

from collections.abc import Sequence

import torch

from utils.audio.log_mel import log_mel
from utils.audio.spec_augment import spec_augment
from utils.model.encoder import encode
from utils.model.whisper import whisper_of
from utils.training.batches import Batch
from utils.training.encoder_cache import EncoderCache
from utils.training.run import Run


def encoder_inputs(run: Run, batch: Batch) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return a pair: log-mel features (B, n_mels, frames) and None, or None and the outputs of a frozen
    encoder.

    SpecAugment masks the features if requested.

    Args:
        run: The run.
        batch: The batch on the training device.
    """
    if batch.encoder_states is not None:
        return None, batch.encoder_states
    features = log_mel(batch.waveforms, run.loaded.processor.feature_extractor)
    if run.data.encoder_cache is not None:
        return None, encode_and_keep(run, batch.rows, features, run.data.encoder_cache)
    if run.args.apply_spec_augment:
        num_frames = [round(100 * seconds) for seconds in batch.durations]
        features = spec_augment(features, num_frames, run.args, batch.seeds)
    return features, None


def encode_and_keep(
    run: Run, rows: Sequence[int], features: torch.Tensor, cache: EncoderCache
) -> torch.Tensor:
    """Encode features with a frozen encoder, cache the outputs, and return them: (B, positions, d_model)."""
    loss = run.accelerator.unwrap_model(run.model)
    with torch.no_grad(), run.accelerator.autocast():
        states = encode(whisper_of(run.loaded.model), features, loss.silence_run, loss.multiples.positions)
    cache.write(rows, states)
    return states

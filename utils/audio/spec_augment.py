"""Apply SpecAugment to a batch of log-mel spectrograms. The masks of each clip depend on its own seed."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.audio.augmentation import SPEC_AUGMENT
from utils.audio.augmentation_options import SpecAugment


def spec_augment(
    features: torch.Tensor, num_frames: Sequence[int], settings: SpecAugment, seeds: Sequence[tuple[int, ...]]
) -> torch.Tensor:
    """Mask spans of frames and of mel bands (Park et al. 2019, arXiv:1904.08779, but without time warping).

    This differs from `apply_spec_augment` in transformers. The input is not changed in place. Each clip has a
    seed, so any split into micro-batches and processes gives the same masks. No mask lies in the padding. The
    masks of one axis do not overlap, so the masked share is the share that was set.

    Masked values become the clip's mean. The paper uses 0, which is the mean of its features, but not of
    Whisper's. Masked values do not become silence, because the model would learn to write text for silence.

    Args:
        features: (B, n_mels, frames).
        num_frames: Number of frames of each clip that are not padding. A second has 100 frames.
        settings: How much to mask.
        seeds: One for each clip, the same as for `augment`: the run's seed, the epoch and the clip's number;
            0 or above.

    Returns:
        (B, n_mels, frames) of the same dtype and device.
    """
    num_mels, most_frames = features.shape[1:]
    lengths = [min(length, most_frames) for length in num_frames]
    time_starts, mel_starts = [], []
    in_time = settings.mask_time_prob, settings.mask_time_length, settings.mask_time_min_masks
    in_mels = settings.mask_feature_prob, settings.mask_feature_length, settings.mask_feature_min_masks
    for length, seed in zip(lengths, seeds, strict=True):
        random = np.random.default_rng((SPEC_AUGMENT, *seed))
        time_starts.append(draw_spans(length, *in_time, random))
        mel_starts.append(draw_spans(num_mels, *in_mels, random))
    if not any(map(len, time_starts + mel_starts)):
        return features
    device = features.device
    frames = torch.arange(most_frames, device=device)
    real = (frames < torch.tensor(lengths, device=device)[:, None])[:, None]  # (B, 1, frames)
    frames_masked = _cover(time_starts, settings.mask_time_length, most_frames, device)[:, None]
    mels_masked = _cover(mel_starts, settings.mask_feature_length, num_mels, device)[:, :, None]
    sums = (features * real).sum(dim=(1, 2), keepdim=True, dtype=torch.float32)
    means = sums / (real.sum(dim=2, keepdim=True) * num_mels).clamp(min=1)
    return torch.where((frames_masked | mels_masked) & real, means.to(features.dtype), features)


def draw_spans(
    length: int, share: float, span: int, min_spans: int, random: np.random.Generator
) -> np.ndarray:
    """Draw the starts of spans that lie within `length` and do not overlap.

    All possible positions are equally likely.

    Returns:
        (spans,) int64, in rising order. On average they cover `share` of the length: their number is rounded
        up or down at random. There are at least `min_spans`, and they cover at most half of the length.
    """
    wanted = max(int(share * length / span + random.random()), min_spans)
    count = min(wanted, length // (2 * span))
    # count bars among the places that are left when every span is shrunk to nothing
    places = np.sort(random.choice(length - count * span + count, count, replace=False))
    return places + np.arange(count) * (span - 1)


def _cover(starts: list[np.ndarray], span: int, length: int, device: torch.device) -> torch.Tensor:
    """Return (B, length) bool. It is true for the `span` positions after each start."""
    most = max(map(len, starts))
    padded = np.full((len(starts), most), length)  # a start there covers nothing
    for row, own in zip(padded, starts, strict=True):
        row[: len(own)] = own
    first = torch.from_numpy(padded).to(device)[:, :, None]  # (B, spans, 1)
    places = torch.arange(length, device=device)
    return ((places >= first) & (places < first + span)).any(dim=1)

"""SpecAugment on a batch of Whisper's log-mel spectrograms: masks that each clip's own seed draws."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.audio.augmentation import SPEC_AUGMENT
from utils.audio.augmentation_options import SpecAugment


def spec_augment(
    features: torch.Tensor, num_frames: Sequence[int], settings: SpecAugment, seeds: Sequence[tuple[int, ...]]
) -> torch.Tensor:
    """Mask spans of frames and of mel bands (Park et al. 2019, arXiv:1904.08779, without its time warping).

    Differs from the `apply_spec_augment` of transformers: the tensor that came in stays as it was; each clip
    draws from a seed of its own, so that a step may be cut into micro-batches and processes in any way; no
    mask lies in the padding; the masks of one axis do not overlap, so that the share masked is the share set.

    What is masked takes the clip's own mean, as in the paper, whose features have a mean of 0; Whisper's do
    not. Not the value of silence: text would be taught where nothing is heard.

    Args:
        features: (B, n_mels, frames).
        num_frames: Frames of each clip that are not padding, 100 a second.
        settings: How much.
        seeds: Of each clip, those that `augment` gets, such as the run's seed, the epoch and the clip's
            number; nothing below 0.

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
    """Starts of spans that do not overlap and lie within `length`, every such placing as likely as another.

    Returns:
        (spans,) int64, rising. On average they cover `share` of the length, their number rounded up or down
        by chance; but there are at least `min_spans`, and no more than cover half of the length.
    """
    wanted = max(int(share * length / span + random.random()), min_spans)
    count = min(wanted, length // (2 * span))
    # count bars among the places that are left when every span is shrunk to nothing
    places = np.sort(random.choice(length - count * span + count, count, replace=False))
    return places + np.arange(count) * (span - 1)


def _cover(starts: list[np.ndarray], span: int, length: int, device: torch.device) -> torch.Tensor:
    """(B, length) bool, true within `span` places from each start."""
    most = max(map(len, starts))
    padded = np.full((len(starts), most), length)  # a start there covers nothing
    for row, own in zip(padded, starts, strict=True):
        row[: len(own)] = own
    first = torch.from_numpy(padded).to(device)[:, :, None]  # (B, spans, 1)
    places = torch.arange(length, device=device)
    return ((places >= first) & (places < first + span)).any(dim=1)

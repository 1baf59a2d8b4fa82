"""SpecAugment: masks on real frames alone, as many as set, the same however a step is cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.spec_augment import SpecAugment, draw_spans, spec_augment

ONLY_TIME = SpecAugment(mask_time_prob=0.2, mask_time_min_masks=0)


def spectrogram(clips: int, frames: int) -> torch.Tensor:
    return torch.randn(clips, 80, frames, generator=torch.Generator().manual_seed(0))


def seeds_of(clips: int) -> list[tuple[int, ...]]:
    return [(42, 0, clip) for clip in range(clips)]


def test_out_of_place_and_nothing_in_the_padding():
    features = spectrogram(4, 300)
    before, lengths = features.clone(), [300, 250, 120, 40]
    both = SpecAugment(mask_time_prob=0.3, mask_feature_prob=0.3)
    found = spec_augment(features, lengths, both, seeds_of(4))
    torch.testing.assert_close(features, before, rtol=0, atol=0)
    for row, new, length in zip(features, found, lengths, strict=True):
        torch.testing.assert_close(new[:, length:], row[:, length:], rtol=0, atol=0)
        assert (new[:, :length] != row[:, :length]).any()


@pytest.mark.parametrize(("frames", "clips"), [(100, 400), (333, 400), (3_000, 40)])
def test_the_share_of_frames_masked_is_the_share_set(frames, clips):
    features = spectrogram(1, frames).expand(clips, -1, -1)
    found = spec_augment(features, [frames] * clips, ONLY_TIME, seeds_of(clips))
    shares = (found != features).all(dim=1).float().mean(dim=1)
    assert shares.mean().item() == pytest.approx(0.2, abs=0.01)


def test_the_share_of_bands_masked_is_the_share_set():
    features = spectrogram(1, 50).expand(400, -1, -1)
    bands = SpecAugment(mask_time_prob=0.0, mask_time_min_masks=0, mask_feature_prob=0.1)
    found = spec_augment(features, [50] * 400, bands, seeds_of(400))
    assert (found != features).all(dim=2).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_what_is_masked_has_the_mean_of_the_real_frames():
    features = spectrogram(2, 200) + torch.tensor([1.0, -3.0])[:, None, None]
    features[1, :, 100:] = 99.0
    found = spec_augment(features, [200, 100], ONLY_TIME, seeds_of(2))
    for row, new, length in zip(features, found, [200, 100], strict=True):
        masked = new[new != row]
        assert len(masked) > 0
        expected = np.mean(row[:, :length].numpy().astype(np.float64))
        np.testing.assert_allclose(masked.numpy(), expected, atol=1e-5)


def test_the_same_however_a_step_is_cut():
    features, lengths = spectrogram(6, 150), [150, 140, 130, 90, 60, 30]
    settings_ = SpecAugment(mask_time_prob=0.2, mask_feature_prob=0.2)
    whole = spec_augment(features, lengths, settings_, seeds_of(6))
    for part in ([0, 2, 4], [1, 3, 5], [5]):
        seeds = [seeds_of(6)[clip] for clip in part]
        found = spec_augment(features[part], [lengths[clip] for clip in part], settings_, seeds)
        torch.testing.assert_close(found, whole[part], rtol=0, atol=1e-6)
    # nor does the context that the step was given matter to where the masks lie
    longer = torch.nn.functional.pad(features, (0, 500))
    found = spec_augment(longer, lengths, settings_, seeds_of(6))
    torch.testing.assert_close(found[..., :150], whole, rtol=0, atol=1e-6)


def test_each_clip_and_each_epoch_has_its_own_masks():
    features = spectrogram(1, 400).expand(2, -1, -1)
    first, second = spec_augment(features, [400, 400], ONLY_TIME, [(1, 0, 7), (1, 1, 7)])
    assert not torch.equal(first, second)


def test_masks_draw_from_a_stream_of_their_own():
    """Of number 7, which must not change; 1 to 6 are those of speed, room, noise, gain, codec and windows."""
    features, seed = spectrogram(1, 400), (42, 0, 3)
    found = spec_augment(features, [400], ONLY_TIME, [seed])
    masked = (found != features).all(dim=1)[0].nonzero()[:, 0].tolist()

    def drawn_by(stream: int) -> list[int]:
        starts = draw_spans(400, 0.2, 10, 0, np.random.default_rng((stream, *seed)))
        return [place for start in starts for place in range(start, start + 10)]

    assert [stream for stream in range(10) if drawn_by(stream) == masked] == [7]


def test_off_gives_back_what_came_in():
    features = spectrogram(2, 50)
    off = SpecAugment(mask_time_prob=0.0, mask_time_min_masks=0)
    assert spec_augment(features, [50, 50], off, seeds_of(2)) is features
    assert spec_augment(features, [5, 0], SpecAugment(), seeds_of(2)) is features  # too short for any mask


def test_bfloat16_stays():
    found = spec_augment(spectrogram(2, 100).bfloat16(), [100, 90], SpecAugment(), seeds_of(2))
    assert found.dtype == torch.bfloat16


@settings(deadline=None)
@given(
    length=st.integers(0, 400),
    share=st.floats(0, 1),
    span=st.integers(1, 40),
    min_spans=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_spans_lie_within_do_not_overlap_and_leave_half(length, share, span, min_spans, seed):
    starts = draw_spans(length, share, span, min_spans, np.random.default_rng(seed))
    covered = {place for start in starts for place in range(start, start + span)}
    assert len(covered) == len(starts) * span <= length / 2
    assert covered <= set(range(length))


def test_every_placing_is_as_likely():
    """Two spans of 2 in 8 frames: 15 placings."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(3_000):
        placing = tuple(draw_spans(8, 0.0, 2, 2, np.random.default_rng(seed)).tolist())
        counts[placing] = counts.get(placing, 0) + 1
    assert len(counts) == 15
    assert all(140 < count < 265 for count in counts.values())  # 200, some 4 standard deviations

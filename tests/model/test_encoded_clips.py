"""Encoder states of clips together in one batch: padding, masks, and some of the clips."""

import math

import pytest
import torch

from utils.model.encoded_clips import EncodedClips, attending_to, encode_in_contexts, join_encoded
from utils.model.loading import load_model


def states_of(*lengths: int) -> list[torch.Tensor]:
    return [torch.full((length, 2), float(number + 1)) for number, length in enumerate(lengths)]


def test_clips_of_one_length_need_no_mask():
    joined = join_encoded(states_of(3, 3))
    assert joined.mask is None and joined.states.shape == (2, 3, 2)


def test_shorter_clips_are_padded_and_the_padding_is_masked():
    joined = join_encoded(states_of(3, 1))
    assert joined.states[:, :, 0].tolist() == [[1, 1, 1], [2, 0, 0]]
    assert joined.mask.shape == (2, 1, 1, 3)
    assert joined.mask[:, 0, 0].tolist() == [[0, 0, 0], [0, -math.inf, -math.inf]]


def test_weights_of_positions_are_kept_beside_the_padding():
    joined = join_encoded(states_of(2, 1), [torch.tensor([0.0, 5.0]), torch.tensor([0.0])])
    assert joined.mask[:, 0, 0].tolist() == [[0, 5], [0, -math.inf]]
    alone = join_encoded(states_of(2), [torch.tensor([0.0, 5.0])])
    assert alone.mask[:, 0, 0].tolist() == [[0, 5]]


@pytest.mark.parametrize("kept", [[2, 0], torch.tensor([2, 0])])
def test_rows_are_the_clips_of_these_numbers_with_their_masks(kept):
    joined = join_encoded(states_of(1, 3, 2))
    some = joined.rows(kept)
    assert some.states[:, 0, 0].tolist() == [3, 1]
    assert some.mask[:, 0, 0].tolist() == [[0, 0, -math.inf], [0, -math.inf, -math.inf]]
    assert EncodedClips(joined.states).rows(kept).mask is None


def test_clips_are_encoded_as_alone_in_their_own_order(tiny_whisper, italian_prompts):
    loaded = load_model(str(tiny_whisper))
    clips = [samples[:16_000] for samples, _ in italian_prompts[:3]]
    contexts = [2.0, 1.5, 2.0]
    with torch.inference_mode():
        together = encode_in_contexts(loaded.model, loaded.processor, clips, contexts, 0)
        assert together.states.shape[1] == 100
        for row, length in enumerate((100, 75, 100)):
            alone = encode_in_contexts(loaded.model, loaded.processor, [clips[row]], [contexts[row]], 0)
            assert alone.mask is None and alone.states.shape[1] == length
            torch.testing.assert_close(together.states[row, :length], alone.states[0])


def test_the_decoder_does_not_see_the_padding_in_the_block_and_not_beyond(tiny_whisper):
    model = load_model(str(tiny_whisper)).model.eval()
    states = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0))
    padded = join_encoded([states[0], torch.zeros(6, 64)])
    own = padded.rows([0])

    def logits(states: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            decoder = model.model.decoder
            return decoder(input_ids=torch.tensor([[5, 6]]), encoder_hidden_states=states).last_hidden_state

    with attending_to(model, own):
        masked = logits(own.states)
    torch.testing.assert_close(masked, logits(states))
    assert not torch.allclose(masked, logits(own.states), atol=1e-4)

"""Times of words: the path against all paths, hand-made attention, a tiny model led through a text."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.data.forced_alignment.anchors import split_transcript
from utils.data.forced_alignment.token_path import cheapest_path, place_tokens, sharpen
from utils.data.forced_alignment.word_timing import attention_share, lead_through, time_units
from utils.model.encoder import encode
from utils.model.loading import load_model


def all_paths(rows: list[int], num_frames: int):
    """Every way to give each row a stretch of frames, in order, without a gap."""
    for edges in itertools.combinations(range(1, num_frames), len(rows) - 1):
        yield list(zip(rows, (0, *edges), (*edges, num_frames), strict=True))


def cost_of(costs: np.ndarray, stretches) -> float:
    return sum(costs[row, first:last].sum() for row, first, last in stretches)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(4, 7), st.integers(0, 2**32 - 1))
def test_path_is_the_cheapest_of_all(num_rows: int, num_frames: int, seed: int):
    random = np.random.default_rng(seed)
    costs = random.uniform(-0.5, 0.5, (num_rows, num_frames))
    skippable = np.arange(num_rows) % 2 == random.integers(0, 2)
    optional = np.flatnonzero(skippable).tolist()
    needed = [row for row in range(num_rows) if row not in optional]
    cheapest = min(
        cost_of(costs, path)
        for count in range(len(optional) + 1)
        for chosen in itertools.combinations(optional, count)
        if needed or chosen
        for path in all_paths(sorted([*needed, *chosen]), num_frames)
    )
    starts, ends = cheapest_path(costs, skippable)
    found = [(row, int(starts[row]), int(ends[row])) for row in range(num_rows)]
    assert cost_of(costs, found) == pytest.approx(cheapest)
    taken = [(first, last) for _, first, last in found if last > first]
    assert taken[0][0] == 0 and taken[-1][1] == num_frames
    assert all(before[1] == after[0] for before, after in itertools.pairwise(taken))


def test_more_rows_than_frames_still_give_a_path_in_order():
    starts, ends = cheapest_path(np.zeros((5, 2)), np.zeros(5, dtype=bool))
    assert starts.tolist() == sorted(starts.tolist())
    assert (ends >= starts).all() and ends[-1] == 2


def test_words_give_way_to_silence():
    scores = np.full((3, 20), -0.3)  # two tokens and the end
    scores[0, 0:6] = 4.0
    scores[1, 6:9] = 0.5  # a doubtful look into the silence
    scores[1, 12:18] = 4.0
    silent = np.zeros(20, dtype=bool)
    silent[6:12] = silent[18:] = True
    starts, ends = place_tokens(scores, np.array([True, True, True]), silent)
    assert starts.tolist() == [0, 12]
    assert ends.tolist() == [6, 18]


def test_no_silence_inside_a_word():
    scores = np.full((3, 20), -0.3)
    scores[0, 0:6] = scores[1, 12:18] = 4.0
    silent = np.zeros(20, dtype=bool)
    silent[6:12] = True
    starts, ends = place_tokens(scores, np.array([True, False, True]), silent)
    assert starts[1] == ends[0]


def test_sharpened_weights_compare_tokens_and_forget_clicks():
    weights = torch.full((2, 4, 50), 0.1)
    weights[:, 2, 20:30] = 0.9
    weights[:, 1, 40] = 0.9  # one frame
    scores = sharpen(weights)
    assert scores.shape == (4, 50)
    assert scores[2, 22:28] == pytest.approx(np.sqrt(3), abs=0.01)  # one of four: (1 - 1/4) / (sqrt(3) / 4)
    assert scores[1, 40] == 0.0


def test_speech_that_no_token_looks_at_counts_little():
    weights = torch.zeros(2, 3, 200)
    weights[:, :, :100] = 0.01  # all look at the first 2 s
    share = attention_share(weights, np.zeros(200, dtype=bool))
    assert share.shape == (200,)
    assert (share[:95] == 1.0).all() and (share[110:] == 0.0).all()


@pytest.fixture(scope="module")
def led(tiny_whisper):
    loaded = load_model(str(tiny_whisper))
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = encode(loaded.model.eval(), features)
    return loaded, states


def test_probabilities_and_weights_are_those_of_transformers(led):
    loaded, states = led
    model, prompt, tokens = loaded.model, [257, 258, 359], [[10, 20, 30], [40, 50]]
    model.set_attn_implementation("eager")
    results = lead_through(model, states, [prompt, prompt], tokens, [1500, 700])
    for row, result in enumerate(results):
        inputs = torch.tensor([prompt + tokens[row]])
        with torch.inference_mode():
            decoded = model.model.decoder(
                input_ids=inputs, encoder_hidden_states=states[row : row + 1], output_attentions=True
            )
            likely = model.proj_out(decoded.last_hidden_state)[0].softmax(-1)
        count = len(tokens[row])
        expected = [likely[2 + k, tokens[row][k]].item() for k in range(count)]
        assert result.probabilities == pytest.approx(expected, rel=1e-3)
        assert result.weights.shape == (2, count + 1, [1500, 700][row])
        if row == 0:  # no heads are listed: those of the upper of two layers
            heads = decoded.cross_attentions[1][0][:, 2:]
            assert torch.allclose(result.weights, heads, atol=1e-5)


def test_every_unit_gets_a_time_in_order(led):
    loaded, states = led
    texts = ["Uno, due… tré!", "数字です"]
    units = [split_transcript(text) for text in texts]
    silences = [np.zeros(200, dtype=bool), np.zeros(150, dtype=bool)]
    times = time_units(
        loaded.model, loaded.processor, states, [[257, 258, 359]] * len(texts), texts, units, silences
    )
    for own, found, seconds in zip(units, times, (4.0, 3.0), strict=True):
        assert len(found.starts) == len(own)
        edges = np.stack([found.starts, found.ends], axis=1).ravel()
        assert (np.diff(edges) >= -1e-9).all()
        assert edges[0] >= 0 and edges[-1] <= seconds
        assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()
        assert ((found.focus >= 0) & (found.focus <= 1 + 1e-6)).all()

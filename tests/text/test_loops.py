"""What counts as a loop of a decoder."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.model.resolving import resolve_model
from utils.text.loops import find_loop, loop_period


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import WhisperTokenizerFast

    return WhisperTokenizerFast.from_pretrained(resolve_model("openai/whisper-base"))


@pytest.mark.parametrize(
    ("tokens", "period"),
    [
        ([7] * 48, 1),
        ([7] * 47, None),  # "ha ha ha" may go on for a while
        ([1, 2, 3] + [7, 8] * 24, 2),
        ([1, 2, 3] * 16, 3),
        (list(range(32)) * 7, 32),
        (list(range(32)) * 6 + list(range(31)), None),
        (list(range(33)) * 8, None),  # a longer pattern is no loop: refrains are sung
        ([7] * 100 + [8], None),  # it has found its way out
        ([], None),
    ],
)
def test_loops(tokens, period):
    assert loop_period(tokens) == period


@given(st.lists(st.integers(0, 50_000), max_size=60), st.integers(1, 32), st.integers(0, 31))
def test_whatever_came_before_a_loop_does_not_hide_it(before, period, extra):
    pattern = random.Random(period).sample(range(50_000), period)
    repeats = max(8, -(-48 // period) + 1)
    loop = pattern * repeats + pattern[: extra % period]
    found = loop_period(before + loop)
    assert found == period


@given(st.lists(st.integers(0, 50_000), max_size=200, unique=True))
def test_different_tokens_are_no_loop(tokens):
    assert loop_period(tokens) is None


@pytest.mark.parametrize(
    "word", ["မြန်မာ", "გმადლობთ", "አመሰግናለሁ", "ご視聴ありがとうございました", "ha", "grazie a tutti "]
)
def test_what_decoding_cuts_is_a_loop_in_the_text_as_well(word, tokenizer):
    tokens = tokenizer.encode(word * 200, add_special_tokens=False)
    cut = next((tokens[:end] for end in range(len(tokens)) if loop_period(tokens[:end])), None)
    assert cut is not None and find_loop(tokenizer.decode(cut).strip()) is not None


@pytest.mark.parametrize(
    ("text", "said_again_and_again"),
    [
        ("Sì," + " ha" * 6, " ha"),
        ("Sì," + " ha" * 5, None),
        ("a" * 30, "aa"),
        ("Poi" + " di nuovo lo stesso." * 4, " di nuovo lo stesso."),  # 20 characters
        ("Poi" + " di nuovo lo stesso." * 3, None),
        ("Poi" + " di nuovo la stessa." * 3 + " di nuovo lo stesso." * 3, None),
        ("", None),
    ],
)
def test_loops_in_a_text(text, said_again_and_again):
    assert find_loop(text) == said_again_and_again

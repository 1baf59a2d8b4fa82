"""Prompts of terms, with Whisper's own tokenizer."""

import numpy as np
import pytest

from tests.support.clip_tables import tokenizer
from utils.text.term_tokens import TermTokens

TERMS = ["Zampieri", "Trenitalia", "S.p.A.", "東京"]


@pytest.fixture(scope="module")
def tokens() -> TermTokens:
    return TermTokens(tokenizer(), TERMS)


def test_a_prompt_is_what_a_user_would_write(tokens):
    written = " Trenitalia, 東京, Zampieri"
    assert tokens.join([1, 3, 0]) == tokenizer()(written, add_special_tokens=False).input_ids
    assert tokenizer().decode(tokens.join([2, 0])) == " S.p.A., Zampieri"
    assert tokens.join([]) == [] and len(tokens) == 4


def test_the_first_terms_that_fit_are_kept_whole(tokens):
    order = np.array([1, 0, 2, 3])
    lengths = [len(tokens.join(order[:count])) for count in range(5)]
    for room in range(-1, lengths[-1] + 2):
        expected = max(count for count in range(5) if lengths[count] <= max(room, 0))
        assert tokens.fitting(order, room).tolist() == order[:expected].tolist()

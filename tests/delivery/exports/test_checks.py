"""Checks that several formats share, against openai/whisper's own tokenizer."""

from dataclasses import dataclass

import pytest
from whisper.tokenizer import get_tokenizer

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.checks import find_token_problems


@dataclass(frozen=True)
class Vocabulary:
    """All of a tokenizer that the check asks for."""

    ids: dict[str, int]

    def get_vocab(self) -> dict[str, int]:
        return self.ids


SIZES = {51864: (False, 99), 51865: (True, 99), 51866: (True, 100)}


@pytest.fixture(params=SIZES)
def model(request, monkeypatch):
    model = build_source().loaded.model
    monkeypatch.setattr(model.config, "vocab_size", request.param)
    return model


def test_every_special_token_must_have_openais_number(model):
    multilingual, num_languages = SIZES[model.config.vocab_size]
    ids = get_tokenizer(multilingual, num_languages=num_languages).special_tokens
    assert len(ids) == 8 + num_languages + 1501
    assert find_token_problems(model, Vocabulary(ids)) == []
    for token, number in [*list(ids.items())[: 9 + num_languages], ("<|30.00|>", ids["<|30.00|>"])]:
        (problem,) = find_token_problems(model, Vocabulary({token: number + 1}))
        assert problem.startswith(f"tokenizer.json: {token} is number {number + 1}, expected {number}. ")
    assert find_token_problems(model, Vocabulary({"<|nocaptions|>": 1, "hello": 2})) == []

"""Write names and terms as the decoder's prompt, in the place of the previous text: ` Rossi, Trenitalia`."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.text.label_tokens import encode_texts

if TYPE_CHECKING:
    from transformers import WhisperTokenizer


class TermTokens:
    """The tokens of terms, and prompts of some of them with a comma between two.

    Args:
        tokenizer: The model's tokenizer.
        terms: Names and terms. They are identified by their numbers in this list.
    """

    def __init__(self, tokenizer: "WhisperTokenizer", terms: Sequence[str]) -> None:
        self._tokens = encode_texts(tokenizer, terms)
        self._comma: list[int] = tokenizer(",", add_special_tokens=False).input_ids
        self._lengths = np.array([len(tokens) + len(self._comma) for tokens in self._tokens])

    def __len__(self) -> int:
        return len(self._tokens)

    def fitting(self, numbers: np.ndarray, room: int) -> np.ndarray:
        """Return the first of the terms: as many as fit into `room` tokens. No term is cut."""
        ends = np.cumsum(self._lengths[numbers]) - len(self._comma)  # no comma after the last
        return numbers[: np.searchsorted(ends, room, side="right")]

    def join(self, numbers: Iterable[int]) -> list[int]:
        """Return the tokens of a prompt with these terms in this order."""
        prompt: list[int] = []
        for number in numbers:
            prompt += [*(self._comma if prompt else ()), *self._tokens[number]]
        return prompt

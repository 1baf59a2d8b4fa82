"""Draw the prompts by which a model learns to use a list of names and terms.

On half of the examples, the prompt before the text holds the listed terms that are said, and some that are
not: decoys. So the model learns to take the spelling from the prompt, but only of what it hears. The other
half has no prompt, so that the model stays good without one. This follows Jogi et al., "Improving Rare-Word
Recognition of Whisper in Zero-Shot Settings" (https://arxiv.org/abs/2502.11572). If there is a previous text
too, it comes after the terms, as in faster-whisper (hotwords) and openai/whisper (carry_initial_prompt).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.audio.augmentation import TERM_PROMPTS
from utils.data.length_batches import Example
from utils.runtime.errors import UserError
from utils.runtime.messages import counted
from utils.text.label_tokens import room_for_previous
from utils.text.term_tokens import TermTokens
from utils.text.terms import TermFinder, read_terms

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

PROMPTED_SHARE = 0.5  # of the examples


@dataclass(frozen=True)
class TermPrompts:
    """The listed terms, and those that are said in each clip."""

    tokens: TermTokens
    spoken: Sequence[frozenset[int]]  # numbers of the terms in the text of each row

    def __str__(self) -> str:
        known, clips = len(frozenset().union(*self.spoken)), sum(map(bool, self.spoken))
        others = "" if known == len(self.tokens) else ". The others are only decoys"
        return (
            f"{known:,} of {counted(len(self.tokens), 'term')} said in {clips:,} of "
            f"{counted(len(self.spoken), 'clip')}{others}"
        )

    def choose(self, examples: Sequence[Example], seed: Sequence[int]) -> list[Example]:
        """Choose the examples that get a prompt of terms, by a seed of the epoch."""
        chances = np.random.default_rng(seed).random(len(examples))
        return [
            replace(example, with_terms=bool(chance < PROMPTED_SHARE))
            for example, chance in zip(examples, chances, strict=True)
        ]

    def write(self, example: Example, previous: Sequence[int]) -> list[int]:
        """Return the tokens before an example: its terms and decoys in random order, then the previous text.

        All terms that are said come in, as long as they fit. The number of decoys is drawn evenly, from none
        to as many as fit; if no term is said, there is at least one. A term is never cut. The end of the
        previous text gets the room that is left.
        """
        room = room_for_previous(example.num_targets + 1)
        random = np.random.default_rng((TERM_PROMPTS, *example.seed))
        spoken = np.array(sorted(frozenset().union(*(self.spoken[row] for row in example.rows))), dtype=int)
        decoys = np.setdiff1d(np.arange(len(self.tokens)), spoken)
        drawn = np.concatenate([random.permutation(spoken), random.permutation(decoys)])
        fitting = self.tokens.fitting(drawn, room)
        fewest = min(max(1, len(spoken)), len(fitting))
        size = random.integers(fewest, len(fitting), endpoint=True)
        terms = self.tokens.join(random.permutation(fitting[:size]))
        return [*terms, *previous[max(0, len(previous) + len(terms) - room) :]]


def load_term_prompts(
    file: str, texts: Sequence[str], tokenizer: "WhisperTokenizer", *, lower_case: bool = False
) -> TermPrompts:
    """Read the listed terms, and find them in the texts of the training clips.

    Args:
        file: Text file with a term on each line.
        texts: Text of each row.
        tokenizer: The model's tokenizer.
        lower_case: Convert the terms to lower case, as the texts are.

    Raises:
        UserError: The list is unusable, or no text has a term.
    """
    terms = read_terms(Path(file))
    finder = TermFinder(terms)
    spoken = [frozenset(finder.count(text)) for text in texts]
    if not any(spoken):
        raise UserError(
            f"{file}: no text of the training clips has one of its {counted(len(terms), 'term')}, such as "
            f"{terms[0]!r}. Expected terms that are said. Write them as they are in the texts."
        )
    written = [term.lower() for term in terms] if lower_case else terms
    return TermPrompts(TermTokens(tokenizer, written), spoken)

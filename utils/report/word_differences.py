"""Finds the differences between a hypothesis and its reference, in the form in which a page shows them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from utils.scoring.word_alignment import Edit

LONGEST_RUN = 24  # words of one insertion or deletion: a hypothesis that loops would fill the page

LONGEST_PIECE = 40  # words of a run that are counted together

LONGEST_TEXT = 1200  # characters of one text

LONGEST_WORD = 80  # characters


@dataclass(frozen=True)
class Passage:
    """Neighbouring words with the same operation. Each substitution is a passage by itself."""

    kind: str  # equal, substitute, delete, insert; rest: what follows is not shown
    said: str = ""
    written: str = ""
    more: int = 0  # words that were left out


def list_passages(alignment: Sequence[Edit], between: str = " ") -> Iterable[Passage]:
    """Merge both texts into a list of passages. Long passages are cut.

    Args:
        alignment: The edits in the order of the text.
        between: Separator between two words. It is empty if the alignment is of characters.
    """
    left = LONGEST_TEXT
    for kind, references, hypotheses in _join_runs(alignment):
        if left <= 0:
            yield Passage("rest")
            return
        most = LONGEST_PIECE if kind == "equal" else LONGEST_RUN
        said, written = (between.join(map(_shown_word, words[:most])) for words in (references, hypotheses))
        yield Passage(kind, said, written, max(len(references), len(hypotheses), most) - most)
        left -= sum(min(len(word), LONGEST_WORD) + 1 for word in (references + hypotheses)[:LONGEST_PIECE])


def _join_runs(alignment: Sequence[Edit]) -> Iterable[tuple[str, list[str], list[str]]]:
    """Join the words of each passage.

    A passage has the words that were said, and those that were written if they differ.
    """
    run: tuple[str, list[str], list[str]] = ("", [], [])
    for operation, reference, hypothesis in alignment:
        is_full = operation == "equal" and len(run[1]) == LONGEST_PIECE
        if operation != run[0] or operation == "substitute" or is_full:
            if run[0]:
                yield run
            run = (operation, [], [])
        if reference is not None:
            run[1].append(reference)
        if hypothesis is not None and operation != "equal":
            run[2].append(hypothesis)
    if run[0]:
        yield run


def _shown_word(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…"

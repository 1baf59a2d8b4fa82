"""Read a list of names and terms, and find them in texts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from utils.runtime.errors import UserError
from utils.text.cleaning import CONTROL_TOKEN, clean_text
from utils.text.line_lists import check_list_file, read_list_lines
from utils.text.normalizing import normalize_text
from utils.text.scripts import SPACELESS_CHARACTER

MOST_TOLD = 5  # problems in one message


def read_terms(path: Path) -> tuple[str, ...]:
    """Read a list of names and terms, each once, in the order of the file.

    Two that differ only in case and punctuation are the same term. The first spelling counts.

    Args:
        path: UTF-8 text with a term on each line; blank lines and lines that start with # are left out.

    Raises:
        UserError: The file is missing, empty or no text, or a line cannot be a term.
    """
    check_list_file(path, "term")
    terms: dict[tuple[str, ...], str] = {}
    problems = []
    for number, line in read_list_lines(path):
        term = clean_text(line)
        words = words_to_find(term)
        if token := CONTROL_TOKEN.search(term):
            problems.append(f"line {number}: found the control token {token.group()}; remove it")
        elif not words:
            problems.append(f"line {number}: {term[:40]!r} has no letter or digit, apart from remarks")
        terms.setdefault(words, term)
    if problems:
        more = [f"and {len(problems) - MOST_TOLD:,} more"] if len(problems) > MOST_TOLD else []
        raise UserError(f"{path}: correct these terms: {'; '.join(problems[:MOST_TOLD] + more)}.")
    if not terms:
        raise UserError(f"{path}: no terms. Write a name or a term on each line.")
    return tuple(terms.values())


def words_to_find(text: str) -> tuple[str, ...]:
    """Return the words by which terms are found, without case and punctuation.

    In a script without spaces between words, each character is a word. All scripts keep the marks that belong
    to the spelling, whatever normaliser the scores have.
    """
    return tuple(SPACELESS_CHARACTER.sub(r" \g<0> ", normalize_text(text, "script-safe")).split())


class TermFinder:
    """Find terms in texts as whole words.

    A term of several words is found where these words follow each other. Other forms of a word, such as a
    plural, are other words. If a term is a part of another one, both are found.

    Args:
        terms: Names and terms, see `read_terms`.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self.terms = tuple(terms)
        self._by_first_word: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for number, term in enumerate(self.terms):
            words = words_to_find(term)
            self._by_first_word.setdefault(words[0], []).append((number, words))

    def count(self, text: str) -> Counter[int]:
        """Count how often each term is in a text. The keys are the numbers of the terms."""
        words = words_to_find(text)
        return Counter(
            number
            for place, first in enumerate(words)
            for number, term in self._by_first_word.get(first, ())
            if words[place : place + len(term)] == term
        )

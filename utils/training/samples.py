"""Show sample transcripts: reference and hypothesis, with differing words in colour."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import numpy as np
from rich.console import Console
from rich.text import Text

from utils.runtime.messages import counted
from utils.scoring.error_rates import ScoredUtterance
from utils.scoring.word_alignment import Edit, align_words

# colours of Okabe and Ito, which remain distinct in every form of colour blindness
STYLES = {"equal": "", "substitute": "bold #e69f00", "insert": "bold #0072b2", "delete": "bold #d55e00"}

LONGEST = 60  # words per line: a hypothesis with a loop would fill the screen


@dataclass(frozen=True)
class Sample:
    """An utterance to show, with raw or normalised texts."""

    id: str
    reference: str
    hypothesis: str
    errors: int
    num_words: int


def pick_samples(utterances: Sequence[ScoredUtterance], count: int, seed: int, *, raw: bool) -> list[Sample]:
    """Draw `count` utterances, the same at every evaluation, and add the one with the most errors.

    Args:
        utterances: All utterances of the evaluation, in a fixed order.
        count: Number of utterances to draw.
        seed: Seed of the random choice.
        raw: Show raw instead of normalised texts.
    """
    if not utterances:
        return []
    samples = [_as_sample(utterance, raw) for utterance in utterances]
    drawn = sorted(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    worst = max(range(len(samples)), key=lambda index: (samples[index].errors, -index))
    return [samples[index] for index in dict.fromkeys([*drawn, worst])]


def _as_sample(utterance: ScoredUtterance, raw: bool) -> Sample:
    texts = utterance if raw else utterance.normalized
    counts = utterance.raw.words if raw else utterance.normalized.words
    return Sample(utterance.id, texts.reference, texts.hypothesis, counts.errors, counts.reference_length)


def print_samples(samples: Sequence[Sample], console: Console) -> None:
    """Print references and hypotheses. Differences are in brackets and in colours, see `STYLES`."""
    console.print(Text("Some validation clips and the worst one; [brackets] mark differences:"))
    for sample in samples:
        edits = align_words(sample.reference, sample.hypothesis)
        errors = f"{counted(sample.errors, 'error')} in {counted(sample.num_words, 'word')}"
        console.print(Text(f"{sample.id}: {errors}", style="dim"))
        console.print(Text("  reference   ") + _coloured(edits, "reference"))
        console.print(Text("  hypothesis  ") + _coloured(edits, "hypothesis"))


def word_runs(edits: Sequence[Edit], side: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words of one side (`reference` or `hypothesis`), grouped by runs of the same operation."""
    for operation, run in groupby(edits, attrgetter("operation")):
        words = [word for edit in run if (word := getattr(edit, side)) is not None]
        if words:
            yield operation, words


def _coloured(edits: Sequence[Edit], side: str) -> Text:
    """Return one line. Differences are in brackets, so that they can also be seen without colours."""
    line, shown = Text(), 0
    for operation, words in word_runs(edits, side):
        kept = words[: LONGEST - shown]
        shown += len(kept)
        if kept:
            text = " ".join(kept) if operation == "equal" else f"[{' '.join(kept)}]"
            line.append(" " if line else "").append(text, style=STYLES[operation])
        if len(kept) < len(words):
            return line.append(" …")
    return line


def samples_as_markdown(samples: Sequence[Sample]) -> str:
    """Return the samples as a Markdown table with differing words in bold, for trackers."""
    lines = ["| id | errors | reference | hypothesis |", "|---|---|---|---|"]
    for sample in samples:
        edits = align_words(sample.reference, sample.hypothesis)
        sides = (_bold(edits, "reference"), _bold(edits, "hypothesis"))
        lines.append(
            f"| {_escaped(sample.id)} | {sample.errors} / {sample.num_words} | {' | '.join(sides)} |"
        )
    return "\n".join(lines)


def _bold(edits: Sequence[Edit], side: str) -> str:
    texts = [(operation, _escaped(" ".join(words))) for operation, words in word_runs(edits, side)]
    return " ".join(text if operation == "equal" else f"**{text}**" for operation, text in texts)


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_|<>[]#" else character for character in text)

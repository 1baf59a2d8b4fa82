"""Transcripts for the eye: reference against hypothesis, differing words in colour."""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np
from rich.console import Console
from rich.text import Text

from utils.scoring.error_rates import ScoredUtterance

# Okabe and Ito's colours, told apart in every form of colour blindness
STYLES = {"equal": "", "substitute": "bold #e69f00", "insert": "bold #0072b2", "delete": "bold #d55e00"}

LONGEST = 60  # words of a line: a hypothesis that runs away would fill the screen


@dataclass(frozen=True)
class WordEdit:
    """A run of words that are equal, or that one edit turns into others."""

    kind: str  # equal, substitute, insert, delete
    reference: tuple[str, ...]  # empty for an insertion
    hypothesis: tuple[str, ...]  # empty for a deletion


@dataclass(frozen=True)
class Sample:
    """An utterance to show, in one form of its text."""

    id: str
    reference: str
    hypothesis: str
    errors: int
    num_words: int


def word_edits(reference: str, hypothesis: str) -> list[WordEdit]:
    """Align two texts word by word, as the WER counts them."""
    output = jiwer.process_words([" ".join(reference.split())], [" ".join(hypothesis.split())])
    words, heard = output.references[0], output.hypotheses[0]
    return [
        WordEdit(
            chunk.type,
            tuple(words[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in output.alignments[0]
    ]


def pick_samples(utterances: Sequence[ScoredUtterance], count: int, seed: int, *, raw: bool) -> list[Sample]:
    """`count` utterances, the same at every evaluation of one seed, and then the one with the most errors.

    Args:
        utterances: All of the evaluation, in a fixed order.
        count: 0 for none at all.
        seed: Draws them.
        raw: Show texts as they are instead of normalised.
    """
    if count == 0 or not utterances:
        return []
    samples = [_as_sample(utterance, raw) for utterance in utterances]
    drawn = sorted(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    worst = max(range(len(samples)), key=lambda index: (samples[index].errors, -index))
    return [samples[index] for index in dict.fromkeys([*drawn, worst])]


def _as_sample(utterance: ScoredUtterance, raw: bool) -> Sample:
    if raw:
        texts, counts = (utterance.reference, utterance.hypothesis), utterance.raw_words
    else:
        texts = (utterance.normalized_reference, utterance.normalized_hypothesis)
        counts = utterance.normalized_words
    return Sample(utterance.id, *texts, counts.errors, counts.reference_length)


def print_samples(samples: Sequence[Sample], console: Console) -> None:
    """Reference above hypothesis: substituted words orange, inserted blue, deleted red, all in brackets."""
    for sample in samples:
        edits = word_edits(sample.reference, sample.hypothesis)
        console.print(Text(f"{sample.id}: {sample.errors} errors in {sample.num_words} words", style="dim"))
        console.print(Text("  reference   ") + _coloured([(edit.kind, edit.reference) for edit in edits]))
        console.print(Text("  hypothesis  ") + _coloured([(edit.kind, edit.hypothesis) for edit in edits]))


def _coloured(runs: Sequence[tuple[str, tuple[str, ...]]]) -> Text:
    """One line; brackets tell the differences where there are no colours, in a log or on paper."""
    line, shown = Text(), 0
    for kind, words in runs:
        kept = words[: LONGEST - shown]
        shown += len(kept)
        if kept:
            text = " ".join(kept) if kind == "equal" else f"[{' '.join(kept)}]"
            line.append(" " if line else "").append(text, style=STYLES[kind])
        if len(kept) < len(words):
            return line.append(" …")
    return line


def samples_as_markdown(samples: Sequence[Sample]) -> str:
    """The samples as a Markdown table, differing words bold, for trackers that show text."""
    lines = ["| id | errors | reference | hypothesis |", "|---|---|---|---|"]
    for sample in samples:
        edits = word_edits(sample.reference, sample.hypothesis)
        sides = (
            _bold([(edit.kind, edit.reference) for edit in edits]),
            _bold([(edit.kind, edit.hypothesis) for edit in edits]),
        )
        lines.append(
            f"| {_escaped(sample.id)} | {sample.errors} / {sample.num_words} | {' | '.join(sides)} |"
        )
    return "\n".join(lines)


def _bold(runs: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    texts = [(kind, _escaped(" ".join(words))) for kind, words in runs if words]
    return " ".join(text if kind == "equal" else f"**{text}**" for kind, text in texts)


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_|<>[]#" else character for character in text)

"""Where a hypothesis differs from its reference, word by word, as coloured and marked text on a page."""

from collections.abc import Iterable, Sequence

from utils.report.page import Html, join, tag

LONGEST_RUN = 24  # words of one insertion or deletion: a hypothesis that loops would fill the page

LONGEST_PIECE = 40  # words of a run that are counted together

LONGEST_TEXT = 1200  # characters of one text

LONGEST_WORD = 80  # characters

# Told apart without colour too: struck through, underlined, and both together in one frame.
DIFFERENCE_STYLE = """
:root { --gone: #fbe3d9; --extra: #dcebf6; --swapped: #fdf0d2; }
@media (prefers-color-scheme: dark) { :root { --gone: #4a2a1e; --extra: #1d3c54; --swapped: #45371a; } }
@media print { :root { --gone: #ffffff; --extra: #ffffff; --swapped: #ffffff; } }
.differences { line-height: 1.75; }
.differences span, .differences del, .differences ins { unicode-bidi: isolate; }
.differences del, .differences ins { border-radius: .25rem; padding: .05rem .25rem; }
.differences del { background: var(--gone); text-decoration: line-through; text-decoration-thickness: 1.5px; }
.differences ins {
  background: var(--extra); text-decoration: underline; text-decoration-thickness: 2px;
  text-underline-offset: .18em;
}
.differences .swapped {
  background: var(--swapped); border: 1px solid var(--warning-line); border-radius: .3rem;
  padding: .05rem .2rem;
}
.differences .swapped del, .differences .swapped ins { background: none; padding: 0 .1rem; }
.differences .swapped del { color: var(--soft); }
.differences .more { color: var(--soft); font-size: .85em; }
"""


def mark_differences(alignment: Sequence[Sequence[str | None]], between: str = " ") -> Html:
    """Both texts in one: what was only said is struck through, what was only written underlined.

    Args:
        alignment: [op, reference word or None, hypothesis word or None], in the order of the text; op is
            equal, substitute, insert or delete.
        between: What stands between two words; nothing, where the alignment is of characters.
    """
    parts: list[str] = []
    left = LONGEST_TEXT
    for kind, references, hypotheses in _join_runs(alignment):
        if left <= 0:
            parts.append(tag("span", "… the rest is not shown", class_="more"))
            break
        parts += [_mark_run(kind, references, hypotheses, between), between]
        left -= sum(min(len(word), LONGEST_WORD) + 1 for word in (references + hypotheses)[:LONGEST_PIECE])
    return tag("p", *parts, class_="text differences", dir="auto")


def _mark_run(kind: str, references: list[str], hypotheses: list[str], between: str) -> Html:
    if kind == "substitute":
        swapped = (tag("del", _text(references, between)), " ", tag("ins", _text(hypotheses, between)))
        return tag("span", *swapped, class_="swapped")
    words = references or hypotheses
    if kind == "equal":
        return tag("span", _text(words, between))
    name = "del" if kind == "delete" else "ins"
    marked = tag(name, _text(words[:LONGEST_RUN], between))
    if len(words) <= LONGEST_RUN:
        return marked
    unit = "words" if between else "characters"
    more = tag("span", f"… {len(words) - LONGEST_RUN:,} more {unit}", class_="more")
    return join([marked, " ", more])


def _join_runs(alignment: Sequence[Sequence[str | None]]) -> Iterable[tuple[str, list[str], list[str]]]:
    """Words that follow one another with one op, together; every substitution by itself."""
    run: tuple[str, list[str], list[str]] | None = None
    for op, reference, hypothesis in alignment:
        if (
            run is None
            or op != run[0]
            or op == "substitute"
            or (op == "equal" and len(run[1]) == LONGEST_PIECE)
        ):
            if run is not None:
                yield run
            run = (str(op), [], [])
        if reference is not None:
            run[1].append(reference)
        if hypothesis is not None and op != "equal":
            run[2].append(hypothesis)
    if run is not None:
        yield run


def _text(words: Sequence[str], between: str) -> str:
    return between.join(
        word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD - 1] + "…" for word in words
    )


def differences_legend() -> Html:
    """The three kinds of difference, each marked as in the texts."""
    kinds = [
        (tag("span", tag("del", "said"), " ", tag("ins", "written"), class_="swapped"), "another word"),
        (tag("del", "said"), "left out"),
        (tag("ins", "written"), "added"),
    ]
    items = [tag("li", marked, f" {words}") for marked, words in kinds]
    return tag("ul", *items, class_="legend differences")

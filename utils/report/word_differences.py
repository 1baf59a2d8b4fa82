"""Where a hypothesis differs from its reference, word by word, as coloured and marked text on a page."""

from collections.abc import Iterable, Sequence

from utils.report.page import Html, join, tag
from utils.scoring.word_alignment import Edit

LONGEST_RUN = 24  # words of one insertion or deletion: a hypothesis that loops would fill the page

LONGEST_PIECE = 40  # words of a run that are counted together

LONGEST_TEXT = 1200  # characters of one text

LONGEST_WORD = 80  # characters


def mark_differences(alignment: Sequence[Edit], between: str = " ") -> Html:
    """Both texts in one: what was only said is struck through, what was only written underlined.

    Args:
        alignment: The edits in the order of the text.
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


def _join_runs(alignment: Sequence[Edit]) -> Iterable[tuple[str, list[str], list[str]]]:
    """Words that follow one another with one operation, together; every substitution by itself."""
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

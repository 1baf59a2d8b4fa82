"""What a reader of speech yields: utterances not yet decoded, and rejects with their reasons."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from utils.archives import ArchiveMember
from utils.errors import UserError
from utils.text import CONTROL_TOKEN

SPLITS = ("train", "validation", "test")

_SPLIT_ALIASES = {
    "training": "train",
    **dict.fromkeys(("dev", "devel", "valid", "val", "eval", "evaluation"), "validation"),
    "testing": "test",
}
_EVALUATION = re.compile(r"(?<![a-z])eval(uation)?(?![a-z])", re.IGNORECASE)

# fmt: off
PREPARED_COLUMNS = (
    "id", "audio", "text", "duration", "language", "speaker", "group", "start", "end", "source", "split",
    "previous_text", "segments",
)
# fmt: on
"""Columns with a meaning of their own; what a source has under such a name is kept as `original_<name>`."""

Scalar = str | int | float | bool


Audio = Path | bytes | ArchiveMember
"""Where the audio of an utterance is: a file, the bytes of one, or a member of a tar or zip archive."""


@dataclass(frozen=True)
class TimedText:
    """Text with its place in seconds, within whatever it belongs to."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of audio, not yet decoded.

    `start` and `end` are seconds within `audio`, both None for all of it. `source` and `position` say where
    it came from, for rejects; `id` is unique within one source. `text` is clean and not empty.
    """

    id: str
    audio: Audio
    text: str
    source: str
    position: int | str
    start: float | None = None
    end: float | None = None
    language: str | None = None
    speaker: str | None = None
    group: str | None = None
    recording: str | None = None  # utterances of one recording share this; None: `audio` tells
    split: str | None = None
    segments: tuple[TimedText, ...] = ()  # the text in timed pieces, seconds from the utterance's start
    previous_text: str | None = None  # what was said right before, in the same recording
    extra: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Reject:
    """One item that is not kept; `reason` is `kind: details`, and rejects are counted by kind."""

    source: str
    position: int | str
    reason: str

    @property
    def kind(self) -> str:
        return self.reason.split(": ", maxsplit=1)[0]


@dataclass(frozen=True)
class Source:
    """What a reader found. `items` come in the same order each time it is read and are not held in memory.

    Utterances cut from one recording stand together, so that it is decoded once.
    """

    items: Iterable[Utterance | Reject]
    total: int | None = None  # of items, where that is known beforehand
    credit: str | None = None
    notes: tuple[str, ...] = ()


class BadItem(Exception):
    """An item that becomes a reject; its text is the reason."""


def split_name(name: str) -> str | None:
    """`train`, `validation` or `test` for a split's name in the wild (`dev93`, `test.clean`), or None.

    `train_dev` is the validation split that recipes of Kaldi and ESPnet cut from the training data.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[._\-\[]", name.strip().lower())]
    words = [_SPLIT_ALIASES.get(word, word) for word in words]
    head = "validation" if words[:2] == ["train", "validation"] else words[0]
    return head if head in SPLITS else None


def splits_of_names(
    names: Iterable[str], read: Callable[[str], str | None] = split_name
) -> dict[str, str | None]:
    """The split that each name in one source tells; `eval` is test where another one is for validation.

    Args:
        names: All that the source has, of folders or tables or in a column.
        read: Gives the split of one name.
    """
    names = list(names)
    as_test = {name: read(_EVALUATION.sub("test", name)) for name in names}
    return as_test if "validation" in as_test.values() else {name: read(name) for name in names}


def given_splits(rows: Iterable[Mapping[str, object]]) -> set[str]:
    """The values that rows have under `split`."""
    values = (row.get("split") for row in rows)
    return {value.strip() for value in values if isinstance(value, str) and value.strip()}


def known_split(given: str, splits: Mapping[str, str | None]) -> str:
    """What a value of `split` means in its source.

    Raises:
        BadItem: Nothing that is known.
    """
    split = splits.get(given)
    if split is None:
        raise BadItem(f"unknown split: {given!r}, expected {', '.join(SPLITS)}")
    return split


def unsplit_notes(splits: Mapping[str, str | None], most: int = 10) -> tuple[str, ...]:
    """Tells of names without a split beside others that have one; what they hold is trained on."""
    without = [printable(name) for name, split in splits.items() if split is None]
    if not without or len(without) == len(splits):
        return ()
    names = ", ".join(without[:most]) + (f" and {len(without) - most} more" if len(without) > most else "")
    return (f"{names}: no split in its name, counted as train.",)


def text_problem(text: str) -> str | None:
    """Why a cleaned text cannot be learnt from, or None."""
    if not text:
        return "empty text: nothing is left after cleaning"
    if token := CONTROL_TOKEN.search(text):
        return f"control token in the text: {token.group()}; remove it"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "broken characters in the text: half of a surrogate pair; save the text as UTF-8"
    return None


def read_language(code: str | None) -> str | None:
    """A language code as a manifest gives it, checked.

    Raises:
        BadItem: Whisper knows no such language.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    if code is None or code in LANGUAGES:
        return code
    known = whisper_language(code)
    hint = f"write {known!r}" if known else "expected a code Whisper knows, such as it, en or fa"
    raise BadItem(f"unknown language: {code!r}, {hint}")


def whisper_language(name: str) -> str | None:
    """Whisper's code for a code, a locale (`sv-SE`) or an English name (`Swedish`), or None."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    lower = name.strip().lower()
    head = re.split(r"[-_]", lower)[0]
    return next((c for c in (lower, TO_LANGUAGE_CODE.get(lower), head) if c in LANGUAGES), None)


def read_extras(row: Mapping[str, object], taken: Iterable[str] = ()) -> dict[str, Scalar]:
    """The columns that are kept as they are; one that has a name of ours is called `original_<name>`."""
    read_already = {"audio", "text", "start", "end", "language", "speaker", "group", "split", *taken}
    extras: dict[str, Scalar] = {}
    for key, value in row.items():
        if key in read_already or value is None:
            continue
        name = f"original_{key}" if key in PREPARED_COLUMNS else key
        plain = value if isinstance(value, str | bool | float) else _as_scalar(value)
        if not is_utf8(key) or (isinstance(plain, str) and not is_utf8(plain)):
            raise BadItem(f"broken characters in {key!a}: half of a surrogate pair")
        extras[name] = plain
    return extras


def _as_scalar(value: object) -> Scalar:
    """Whole numbers of 64 bits as they are, everything nested or larger as JSON text."""
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def check_any_usable(items: Iterable[Utterance | Reject], name: str) -> None:
    """Raise a UserError with the commonest reasons unless at least one item is an utterance."""
    rejects = []
    for item in items:
        if isinstance(item, Utterance):
            return
        rejects.append(item)
    raise UserError(f"{name}: no usable utterance. {commonest_reasons(rejects)}")


def commonest_reasons(rejects: Iterable[Reject], most: int = 3) -> str:
    """The commonest kinds of reject, each with its count and first example."""
    first: dict[str, Reject] = {}
    counts: Counter[str] = Counter()
    for reject in rejects:
        first.setdefault(reject.kind, reject)
        counts[reject.kind] += 1
    shown = [
        f"{count} × {first[kind].reason} ({first[kind].source}, {first[kind].position})"
        for kind, count in counts.most_common(most)
    ]
    return f"Rejected: {'; '.join(shown)}." if shown else "It holds no items."


def is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

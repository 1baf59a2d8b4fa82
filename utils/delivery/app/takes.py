"""Takes as lines of the manifest of recordings, which preprocess.py reads, and their speakers."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from utils.data.fields import is_utf8, parse_json_object, text_problem
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.cleaning import clean_text

LONGEST_LABEL = 60  # characters in the name of a speaker or an accent

TAKE_NAME = re.compile(r"speaker-[0-9a-f]{8}/[0-9a-f]{16}\.flac")


@dataclass(frozen=True)
class Speaker:
    """Who reads: a name or a code, perhaps the accent, and the terms to which the speaker has agreed."""

    name: str
    group: str | None = None
    terms: str | None = None


@dataclass(frozen=True)
class Take:
    """A recorded sentence: a line of the manifest. `extra` are the keys that somebody else has added."""

    audio: str  # relative to the manifest
    text: str
    speaker: str
    language: str | None = None
    group: str | None = None  # the accent; evaluate.py scores each group
    terms: str | None = None
    sentence_id: str | None = None
    recorded: str | None = None  # date and time in UTC
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Return what a redo replaces: the speaker's take of this sentence."""
        return self.speaker, self.text

    def as_line(self) -> dict[str, object]:
        row = asdict(self)
        extra = row.pop("extra")
        return {key: value for key, value in row.items() if value is not None} | extra


def read_speaker(name: object, group: object = None, terms: str | None = None) -> Speaker:
    """Check what a speaker typed.

    Raises:
        BadItem: The name is empty, or one of them is too long or unusable.
    """
    labels = {"name": clean_text(str(name or "")), "accent": clean_text(str(group or ""))}
    for what, label in labels.items():
        if len(label) > LONGEST_LABEL:
            raise BadItem(f"{what} too long", f"at most {LONGEST_LABEL} characters.")
        if label and text_problem(label):
            raise BadItem(f"unusable {what}", "use letters and digits.")
    if not labels["name"]:
        raise BadItem("no name", "type a name or a code for the speaker.")
    return Speaker(labels["name"], labels["accent"] or None, terms)


def read_takes(manifest: Path) -> list[Take]:
    """Read the manifest of a folder of recordings. It has no takes if it does not exist.

    Raises:
        UserError: A line is not one that the recorder could have written.
    """
    if not manifest.exists():
        return []
    takes = []
    for number, line in enumerate(manifest.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                takes.append(_read_take(line))
            except (BadItem, UnicodeDecodeError) as error:
                raise UserError(
                    f"{manifest}: line {number} is not one of a recording: {error}. Correct it, or choose "
                    "another folder for the recordings."
                ) from None
    return takes


def _read_take(line: bytes) -> Take:
    row = parse_json_object(line.decode("utf-8"))
    own = [name for name in Take.__dataclass_fields__ if name != "extra"]
    values = {name: row[name] for name in own if row.get(name) is not None}
    if lacking := [name for name in ("audio", "text", "speaker") if name not in values]:
        raise BadItem(f"missing key {lacking[0]!r}", f"found {', '.join(map(repr, row)) or 'none'}")
    if strange := [name for name, value in values.items() if not isinstance(value, str)]:
        raise BadItem(f"wrong type of {strange[0]!r}", "expected text")
    if not TAKE_NAME.fullmatch(str(values["audio"])):
        raise BadItem("unexpected 'audio'", "expected the name that the recorder gave")
    if not is_utf8(json.dumps(row, ensure_ascii=False)):
        raise BadItem("broken characters", "an incomplete character (lone surrogate)")
    extra = {key: value for key, value in row.items() if key not in own}
    return Take(**values, extra=extra)  # type: ignore[arg-type]

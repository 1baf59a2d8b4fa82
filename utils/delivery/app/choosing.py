"""Choose which of the recordings that a visitor gave is transcribed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["microphone", "file", "link"]

NOTHING_GIVEN = "There is nothing to transcribe yet. Record something, choose a file, or give a link."


@dataclass(frozen=True)
class Given:
    """What a visitor gave, by the tabs of the page."""

    microphone: str | None  # path of an upload
    file: str | None  # path of an upload
    link: str | None

    def choose(self) -> "Chosen | None":
        """Return the first of microphone, file and link. None if nothing was given."""
        ways: list[tuple[Kind, str]] = [
            ("microphone", self.microphone or ""),
            ("file", self.file or ""),
            ("link", (self.link or "").strip()),
        ]
        given = [(kind, value) for kind, value in ways if value]
        if not given:
            return None
        (kind, value), *others = given
        return Chosen(kind, value, [other for other, _ in others])


@dataclass(frozen=True)
class Chosen:
    """The recording that is transcribed."""

    kind: Kind
    value: str  # path of an upload, or a link
    ignored: list[Kind]  # what was given too

    @property
    def upload(self) -> Path | None:
        return None if self.kind == "link" else Path(self.value)

    @property
    def warning(self) -> str | None:
        """Return a sentence about what is ignored."""
        if not self.ignored:
            return None
        others = " and the ".join(self.ignored)
        return f"The {self.kind} is transcribed. Clear it to use the {others}."

"""Names the speakers of utterances by the folders or names of their recordings."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from utils.data.archives.members import ArchiveMember
from utils.data.fields import printable
from utils.data.utterance import Audio, Items, Reject, Source, Utterance
from utils.runtime.errors import UserError

if TYPE_CHECKING:
    from regex import Pattern

BY_FOLDER = "folder"

MOST_SECONDS = 1.0  # for one path: some patterns would take years for a path of 40 characters

_Find = Callable[[PurePosixPath], str | None]
"""Function that returns the speaker that a path names."""


def rule_problems(rule: str) -> list[str]:
    """Return a sentence if a rule is neither `folder` nor a pattern with a group."""
    import regex

    if rule == BY_FOLDER:
        return []
    try:
        groups = regex.compile(rule).groups
    except regex.error as error:
        return [f"speaker_from {rule!r}: expected folder or a regular expression; {error}."]
    if not groups:
        return [
            f"speaker_from {rule!r}: expected a group in parentheses, which is the speaker: '(child\\d+)_'."
        ]
    return []


def name_speakers(source: Source, rule: str, input: Path) -> Source:
    """Give each utterance the speaker that the path of its recording names, if it names one.

    Args:
        source: Its own speakers stay only where the path names none.
        rule: `folder`: the name of the folder that the recording is in. Otherwise a regular expression, which
            is searched in the path. The speaker is its group `speaker`, or its first group.
        input: The corpus. Paths are relative to it.

    Raises:
        UserError: No path names a speaker, or the pattern takes too long.
    """
    top = input.parent if input.is_file() else input
    find = _by_folder if rule == BY_FOLDER else _by_pattern(rule)
    _check_any_named(source.items, find, top, rule)
    items = Items(partial(_name_items, source.items, find, top))
    return replace(source, items=items, speaker_rule=rule)


def _name_items(items: Iterable[Utterance | Reject], find: _Find, top: Path) -> Iterator[Utterance | Reject]:
    for item in items:
        path = _path_of(item.audio, top) if isinstance(item, Utterance) else None
        speaker = find(path) if path else None
        yield replace(item, speaker=speaker) if isinstance(item, Utterance) and speaker else item


def _path_of(audio: Audio, top: Path) -> PurePosixPath | None:
    """Return the path of a recording in its corpus. None if only its bytes are known."""
    if isinstance(audio, bytes):
        return None
    if isinstance(audio, ArchiveMember):
        path = audio.name
    else:
        whole, start = os.path.normpath(audio), os.path.normpath(top)
        path = os.path.relpath(whole, start) if Path(whole).is_relative_to(start) else whole
    return PurePosixPath(unicodedata.normalize("NFC", printable(path)))  # macOS writes another form of `é`


def _by_folder(path: PurePosixPath) -> str | None:
    return path.parent.name.strip(" .") or None


def _by_pattern(rule: str) -> _Find:
    import regex

    pattern = regex.compile(rule)
    return partial(_search, pattern, "speaker" if "speaker" in pattern.groupindex else 1)


def _search(pattern: "Pattern[str]", group: str | int, path: PurePosixPath) -> str | None:
    try:
        found = pattern.search(str(path), timeout=MOST_SECONDS)
    except TimeoutError:
        raise UserError(
            f"speaker_from {pattern.pattern!r}: takes over {MOST_SECONDS:g} s for the path {path}. "
            "Simplify it: a repeated group such as (\\w+)+ often causes this."
        ) from None
    return (found[group] or "").strip() or None if found else None


def _check_any_named(items: Iterable[Utterance | Reject], find: _Find, top: Path, rule: str) -> None:
    paths = (_path_of(item.audio, top) for item in items if isinstance(item, Utterance))
    first, count = None, 0
    for path in filter(None, paths):
        if find(path):
            return
        first, count = first or path, count + 1
    if first is None:
        raise UserError(f"speaker_from {rule!r}: this source gives the audio without its path.")
    expected = (
        "expected a folder for each speaker. For names in file names, give a regular expression"
        if rule == BY_FOLDER
        else "expected the speaker in its group. The expression is searched in the path from --input"
    )
    raise UserError(f"speaker_from {rule!r}: names no speaker in {count} paths, such as {first}; {expected}.")

"""Find the recordings to transcribe, and a name for the transcripts of each."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from utils.data.fields import is_utf8, parse_json_object
from utils.data.sources.listings import list_folders
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

STANDARD_INPUT = "-"

MOST_BYTES = 4 << 30  # of standard input, which is held in memory

MOST_STEM_BYTES = 200  # file systems allow 255 for a name; extensions and a temporary name need some


@dataclass(frozen=True)
class GivenFile:
    """A file of audio or video."""

    path: Path  # `-` for standard input
    stem: PurePath  # of its transcripts, in the folder for results; never outside it
    language: str | None = None  # from a manifest
    state: tuple[str, int, int] | None = None  # path, bytes, time of change; None if they cannot be known

    def read(self) -> Path | bytes:
        """Return the input of `decode_audio`: the path, or the bytes of standard input."""
        if self.path != Path(STANDARD_INPUT):
            return self.path
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f"standard input: over {MOST_BYTES >> 30} GiB. Give the file by its name.")
        return data


def find_given_files(words: Sequence[str]) -> list[GivenFile]:
    """Return the files that the words on the command line mean, each file only once.

    Args:
        words: Files, folders (searched with all folders below), patterns, JSONL manifests, or `-`.

    Raises:
        UserError: A word names no file, or a manifest is unusable. All such words are reported together.
    """
    found: dict[str, GivenFile] = {}
    problems = []
    for word in words:
        try:
            for file in _find(word):
                found.setdefault(_real_name(file.path), file)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n       ".join(problems))
    return [replace(file, state=_state_of(file.path)) for file in _with_names_of_their_own(found.values())]


def _real_name(path: Path) -> str:
    """Return one name for a file that is given through several folders or links to folders."""
    try:
        return str(Path(os.path.realpath(path.parent), path.name))
    except ValueError:  # a NUL character
        return str(path)


def _state_of(path: Path) -> tuple[str, int, int] | None:
    try:
        state = None if path == Path(STANDARD_INPUT) else path.stat()
    except (OSError, ValueError):
        state = None
    return None if state is None else (str(path.absolute()), state.st_size, state.st_mtime_ns)


def _find(word: str) -> Iterator[GivenFile]:
    try:
        yield from _find_existing(word)
    except OSError as error:
        raise UserError(f"{word[:200]}: {error.strerror}.") from None


def _find_existing(word: str) -> Iterator[GivenFile]:
    # the shell expands ~ on the command line, but not in a recipe
    path = Path(word).expanduser() if word.startswith("~/") else Path(word)
    if not word:
        raise UserError("a file with an empty name: expected the name of a file or folder.")
    if word == STANDARD_INPUT:
        yield GivenFile(path, PurePath("stdin"))
    elif path.is_dir():
        yield from _in_folder(path)
    elif path.suffix.lower() == ".jsonl" and path.is_file():
        yield from _in_manifest(path)
    elif path.exists():
        yield _named(path)
    elif matches := sorted(glob.glob(str(path), recursive=True)):  # noqa: PTH207, takes absolute patterns
        for match in matches:
            yield from _find(match)
    else:
        raise UserError(f"{word}: no such file or folder.")


def _named(path: Path, language: str | None = None) -> GivenFile:
    stem = path.stem if path.stem.strip(".") else path.name  # of `..wav` it would be another folder
    return GivenFile(path, _shortened(PurePath(stem)), language)


def _shortened(stem: PurePath) -> PurePath:
    kept = os.fsencode(stem.name)[:MOST_STEM_BYTES].decode("utf-8", errors="ignore")
    return stem if len(os.fsencode(stem.name)) <= MOST_STEM_BYTES else stem.with_name(kept)


def _in_folder(folder: Path) -> Iterator[GivenFile]:
    """Yield the audio and video files of a folder and its subfolders.

    Their transcripts get the same subfolders.
    """
    paths = [listing.folder / name for listing in list_folders(folder) for name in listing.recordings]
    if not paths:
        raise UserError(f"{folder}: no file with the extension of an audio or video format. Name the files.")
    yield from (GivenFile(path, _shortened(path.relative_to(folder).with_suffix(""))) for path in paths)


def _in_manifest(manifest: Path) -> Iterator[GivenFile]:
    """Yield the recordings of a manifest: `audio`, relative to it, and perhaps `language` in each line."""
    with manifest.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = parse_json_object(line)
            except BadItem:
                row = {}
            audio, language = row.get("audio"), row.get("language")
            is_path = isinstance(audio, str) and audio and is_utf8(audio)
            if not is_path or not isinstance(language, str | None):
                raise UserError(
                    f'{manifest}: line {number}: expected {{"audio": "path of a recording"}}, relative to '
                    'the manifest, perhaps with a "language".'
                )
            yield _named(manifest.parent / str(audio), language)


def _with_names_of_their_own(files: Collection[GivenFile]) -> list[GivenFile]:
    """Make the stems different, also in lower case: add the extension, then a number."""
    counts = Counter(_folded(file.stem) for file in files)
    taken: set[str] = set()
    named = []
    for file in files:
        stem = file.stem
        if counts[_folded(stem)] > 1:
            stem = stem.with_name(stem.name + file.path.suffix)
        number = 2
        unique = stem
        while _folded(unique) in taken:
            unique, number = stem.with_name(f"{stem.name}-{number}"), number + 1
        taken.add(_folded(unique))
        named.append(replace(file, stem=unique))
    return named


def _folded(stem: PurePath) -> str:
    return str(stem).casefold()

"""Find the recordings to transcribe, and a name for the transcripts of each."""

import glob
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from utils.data.sources.listings import list_folders
from utils.runtime.errors import UserError

STANDARD_INPUT = "-"

MOST_BYTES = 4 << 30  # of standard input, which is held in memory


@dataclass(frozen=True)
class GivenFile:
    """A file of audio or video."""

    path: Path  # `-` for standard input
    stem: PurePath  # of its transcripts, in the folder for results; never outside it
    language: str | None = None  # from a manifest

    @property
    def state(self) -> tuple[str, int, int] | None:
        """Return path, size and time of change.

        None for standard input, or if the file does not exist any more.
        """
        try:
            state = None if self.path == Path(STANDARD_INPUT) else self.path.stat()
        except OSError:
            state = None
        return None if state is None else (str(self.path.absolute()), state.st_size, state.st_mtime_ns)

    def read(self) -> Path | bytes:
        """Return the input of `decode_audio`: the path, or the bytes of standard input."""
        if self.path != Path(STANDARD_INPUT):
            return self.path
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f"standard input: over {MOST_BYTES >> 30} GiB. Give the file by its name.")
        return data


def find_given_files(words: Sequence[str]) -> list[GivenFile]:
    """Return the files that the words on the command line name. Each file comes once.

    Args:
        words: Files, folders (searched with all folders below), patterns, JSONL manifests, or `-`.

    Raises:
        UserError: A word names no file, or a manifest is unusable. All such words are reported together.
    """
    found: dict[Path, GivenFile] = {}
    problems = []
    for word in words:
        try:
            for file in _find(word):
                found.setdefault(Path(file.path).absolute(), file)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n       ".join(problems))
    return _with_names_of_their_own(list(found.values()))


def _find(word: str) -> Iterator[GivenFile]:
    path = Path(word).expanduser()
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
    return GivenFile(path, PurePath(path.stem or path.name), language)


def _in_folder(folder: Path) -> Iterator[GivenFile]:
    """Yield the audio and video files of a folder and its subfolders.

    Their transcripts get the same subfolders.
    """
    paths = [listing.folder / name for listing in list_folders(folder) for name in listing.recordings]
    if not paths:
        raise UserError(f"{folder}: no audio or video files, known by their extensions. Name the files.")
    yield from (GivenFile(path, path.relative_to(folder).with_suffix("")) for path in paths)


def _in_manifest(manifest: Path) -> Iterator[GivenFile]:
    """Yield the recordings of a manifest: `audio`, relative to it, and perhaps `language` in each line."""
    with manifest.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line) if line.strip() else None
            except ValueError:
                row = {}
            if row is None:
                continue
            audio, language = (
                row.get(key) if isinstance(row, dict) else None for key in ("audio", "language")
            )
            if not isinstance(audio, str) or not audio or not isinstance(language, str | None):
                raise UserError(
                    f'{manifest}: line {number}: expected {{"audio": "path of a recording"}}, relative to '
                    'the manifest, perhaps with a "language".'
                )
            yield _named(manifest.parent / audio, language)


def _with_names_of_their_own(files: list[GivenFile]) -> list[GivenFile]:
    """Make all names different, even without regard to upper and lower case.

    Add the extension, or a number if that is not enough.
    """
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

"""Reads AfriSpeech-200 in its published form."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from utils.data.archives.tree import FileTree, find_files, is_archive_name, open_inner, open_tree
from utils.data.sources.rows import rows_as_source, split_in_name
from utils.data.sources.tables import Row, read_table
from utils.data.utterance import Audio, Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem

AFRISPEECH_PATHS = ("path", "audio_paths", "audio_path")


def read_afrispeech(path: Path, *, accents: Sequence[str] = ()) -> Source:
    """Read AfriSpeech-200 (https://huggingface.co/datasets/intronhealth/afrispeech-200).

    The names of the CSV tables contain the split. The tables are in one folder, or in a folder for each
    accent. Audio is in any subfolder, unpacked or in the corpus's own `<split>_<accent>_<n>.tar.gz`. Rows
    name audio as `/AfriSpeech-100/train/<speaker>/<clip>.wav`, or without that prefix. Audio is found by the
    last two parts of this path.

    Args:
        path: Folder or archive of the corpus.
        accents: Read only these accents. If empty, read all.

    Raises:
        UserError: There is no such corpus, or it does not have one of the accents.
    """
    tree = open_tree(path)
    tables = _afrispeech_tables(tree)
    wanted = {_slug(accent) for accent in accents}
    rows = partial(_afrispeech_rows, tree, tables, wanted)
    if wanted:
        _check_accents(tree, tables, wanted)
    return rows_as_source(rows, partial(_afrispeech_row, _audio_by_tail(tree, wanted)))


def _afrispeech_tables(tree: FileTree) -> dict[str, str]:
    """Return the split of each table.

    A split may have a table for all accents and one for each accent. Then only the first is read.
    """
    found = [(name, split_in_name(name)) for name in find_files(tree, "*.csv")]
    depth = {split: name.count("/") for name, split in reversed(found) if split}
    tables = {name: split for name, split in found if split and name.count("/") == depth[split]}
    if not tables:
        raise UserError(
            f"{tree.root}: no train.csv, dev.csv or test.csv. --input must be the folder of AfriSpeech-200."
        )
    return tables


def _check_accents(tree: FileTree, tables: dict[str, str], wanted: set[str]) -> None:
    rows = (row for row in _afrispeech_rows(tree, tables, set()) if isinstance(row, Row))
    counts = Counter(str(row.values["accent"]).strip() for row in rows)
    lacking = wanted - {_slug(accent) for accent in counts}
    if lacking:
        known = ", ".join(f"{accent} ({count})" for accent, count in counts.most_common(20))
        raise UserError(f"{tree.root}: no accent {', '.join(sorted(lacking))}; it has {known}.")


def _afrispeech_rows(tree: FileTree, tables: dict[str, str], wanted: set[str]) -> Iterator[Row | Reject]:
    for name in tables:
        for row in read_table(tree, name, separator=",", needed=("transcript", "accent")):
            if not wanted or isinstance(row, Reject) or _slug(str(row.values["accent"])) in wanted:
                yield row


def _afrispeech_row(find_audio: Callable[[str], Audio], row: Row) -> Utterance:
    written = row.label(*AFRISPEECH_PATHS)
    if written is None:
        raise BadItem("no audio path", f"expected a column {', '.join(AFRISPEECH_PATHS)}")
    taken = (*AFRISPEECH_PATHS, "audio", "transcript", "speaker_id", "user_ids", "accent")
    return row.utterance(
        id=PurePosixPath(_tail(written)).with_suffix("").as_posix(),
        audio=find_audio(written),
        text=row.spoken("transcript"),
        language="en",
        speaker=row.label("speaker_id", "user_ids"),
        group=row.label("accent"),
        split=split_in_name(row.table),
        extra=row.extras(*taken, numbers={"duration": float}),
    )


def _audio_by_tail(tree: FileTree, accents: set[str]) -> Callable[[str], Audio]:
    """Return a function that finds audio by the last two parts of a path, in the corpus and its archives."""
    trees = [tree, *_open_shards(tree, accents)]
    places: dict[str, tuple[int, str]] = {}
    for number, part in enumerate(trees):
        for name in part.names():
            places.setdefault(_tail(name), (number, name))
    return partial(_find_by_tail, trees, places)


def _open_shards(tree: FileTree, accents: set[str]) -> Iterator[FileTree]:
    for name in tree.names():
        if is_archive_name(name) and (not accents or accents & set(name.split("/"))):
            yield open_inner(tree, name)


def _find_by_tail(trees: Sequence[FileTree], places: dict[str, tuple[int, str]], written: str) -> Audio:
    place = places.get(_tail(written)) or places.get(posixpath.basename(written))
    if place is None:
        raise BadItem("no such file", f"{_tail(written)} is in no folder or archive of the corpus")
    number, name = place
    return trees[number].audio(name)


def _tail(name: str) -> str:
    return "/".join(name.rsplit("/", maxsplit=2)[-2:])


def _slug(accent: str) -> str:
    """Return an accent in the form of the corpus's folder names: `luo, swahili` is `luo-swahili`."""
    return "-".join(re.findall(r"\w+", accent.lower()))

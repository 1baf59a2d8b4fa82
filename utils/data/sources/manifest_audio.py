"""Audio that a toolkit's manifest names, found beside it."""

import math
import os
import posixpath
from pathlib import Path

from utils.data.archives.tree import FileTree, Folder, find_files, open_tree
from utils.data.fields import shown
from utils.data.utterance import Audio
from utils.runtime.problems import BadItem


def manifests_at(path: Path, *patterns: str) -> tuple[FileTree, list[str]]:
    """The manifests of a folder or archive, or the one that `path` itself is."""
    if path.is_file() and any(path.match(pattern) for pattern in patterns):
        return Folder(path.parent), [path.name]
    tree = open_tree(path)
    return tree, find_files(tree, *patterns)


def find_audio(tree: FileTree, folder: str, written: str) -> Audio:
    """Audio by its path from the manifest or the root; an absolute one also where the corpus is now."""
    try:
        os.fsencode(written)
    except UnicodeEncodeError:
        raise BadItem("broken characters in the audio path", f"{shown(written)}") from None
    parts = [part for part in written.split("/") if part]
    tails = ["/".join(parts[index:]) for index in range(len(parts))]
    if written.startswith("/"):
        if isinstance(tree, Folder) and Path(written).is_file():
            return Path(written)
        places = [posixpath.join(base, tail) for tail in tails for base in dict.fromkeys((folder, ""))]
    else:
        places = [posixpath.normpath(posixpath.join(folder, written)), posixpath.normpath(written)]
    found = next((place for place in places if place in tree), None)
    if found is not None:
        return tree.audio(found)
    if isinstance(tree, Folder):
        return Path(written) if written.startswith("/") else tree.root / folder / written
    return tree.audio(places[0])


def manifest_seconds(name: str, value: object, least: float = 0.0) -> float:
    """A time as a manifest gives it.

    Raises:
        BadItem: It is no number, or below the least.
    """
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not least <= seconds < 1e9:  # also False for NaN
        raise BadItem("time out of range", f"{name} is {shown(value)}, expected seconds from 0")
    return seconds

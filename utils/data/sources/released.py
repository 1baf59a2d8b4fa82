"""What readers of released corpora share: which folder or archive the corpus lies in."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from utils.data.archives.tree import FileTree, Folder, find_files
from utils.runtime.errors import UserError


def find_tables(tree: FileTree, *patterns: str, corpus: str) -> list[str]:
    """The files that fit a pattern.

    Raises:
        UserError: There is none, so that it is no such corpus.
    """
    tables = find_files(tree, *patterns)
    if not tables:
        raise UserError(f"{tree.root}: no {' or '.join(patterns)}. --input must name {corpus}.")
    return tables


def choose_folder(tree: FileTree, tables: Sequence[str], chosen: str | None, expected: str) -> str:
    """The one folder that holds tables, or the one that is called as was chosen."""
    folders = sorted({posixpath.dirname(name) for name in tables})
    if not folders:
        raise UserError(f"{tree.root}: no {expected} found. Is it another corpus, or a folder inside it?")
    names = [posixpath.basename(folder) or tree.root.name.split(".")[0] for folder in folders]
    fitting = [f for f, name in zip(folders, names, strict=True) if chosen in (None, name)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(names[:20])
    found = f"several languages: {there}" if fitting else f"no language {chosen!r}, but {there}"
    raise UserError(f"{tree.root}: found {found}. Name one with --dataset_config_name.")


def path_of_archive(tree: FileTree, name: str) -> Path:
    if not isinstance(tree, Folder):
        raise UserError(
            f"{tree.root}: an archive in an archive, {name}. Unpack the outer one and name its folder."
        )
    return tree.root / name

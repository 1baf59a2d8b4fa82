"""Reads FLEURS in its published form."""

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from utils.data.archives.tree import FileTree, choose_folder, find_files, open_inner, open_tree
from utils.data.delivery.hub_errors import hub_errors_told
from utils.data.sources.hub_ids import FLEURS_ON_HUB
from utils.data.sources.rows import rows_as_source
from utils.data.sources.tables import Row, read_table
from utils.data.split_names import split_name
from utils.data.utterance import Audio, Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.text.languages import whisper_language

_FLEURS_COLUMNS = (
    "id", "file_name", "raw_transcription", "transcription", "chars", "num_samples", "gender",
)  # fmt: skip

_FLEURS_FOLDER = re.compile(r"[a-z]{2,3}(_[a-z]{4})?_([a-z]{2}|\d{3})")  # it_it, es_419, cmn_hans_cn


def read_fleurs(
    path: Path, *, dataset_config_name: str | None = None, text_column_name: str | None = None
) -> Source:
    """Read FLEURS (https://huggingface.co/datasets/google/fleurs).

    Reads `<config>/{train,dev,test}.tsv` without a header, and audio in `audio/<split>/` or
    `audio/<split>.tar.gz` beside them. The column `chars` is left out.

    Args:
        path: Folder or archive of the corpus or of one language, or `google/fleurs`: then one language is
            downloaded from the Hub.
        dataset_config_name: Language such as `it_it`, if there are several.
        text_column_name: `raw_transcription`, the original text (also if None), or `transcription`, in lower
            case.

    Raises:
        UserError: There is no such corpus or no such column, or the download failed.
    """
    text_column = text_column_name or "raw_transcription"
    if text_column not in _FLEURS_COLUMNS[2:4]:
        raise UserError(f"no column {text_column!r} in FLEURS; expected raw_transcription or transcription.")
    if path == Path(FLEURS_ON_HUB) and not path.exists():
        path = _download_fleurs(dataset_config_name)
    tree = open_tree(path)
    tables = find_files(tree, "train.tsv", "dev.tsv", "test.tsv")
    folder = choose_folder(tree, tables, dataset_config_name, "train.tsv, dev.tsv or test.tsv")
    tables = [name for name in tables if posixpath.dirname(name) == folder]
    name = posixpath.basename(folder) or tree.root.name.split(".")[0]
    language = whisper_language(name) if _FLEURS_FOLDER.fullmatch(name) else None
    find_audio = {name: _fleurs_audio(tree, folder, PurePosixPath(name).stem) for name in tables}
    return rows_as_source(
        partial(_fleurs_rows, tree, tables), partial(_fleurs_row, find_audio, text_column, language)
    )


def _download_fleurs(config: str | None) -> Path:
    """Download one language into the Hub's cache, unless it is there. Return the folder of the languages."""
    if config is None or not _FLEURS_FOLDER.fullmatch(config):
        raise UserError(
            f"{FLEURS_ON_HUB}: found language {config}, expected one such as it_it. "
            "Name it with --dataset_config_name."
        )
    from huggingface_hub import snapshot_download

    with hub_errors_told(FLEURS_ON_HUB):
        found = snapshot_download(FLEURS_ON_HUB, repo_type="dataset", allow_patterns=[f"data/{config}/*"])
    return Path(found) / "data"


def _fleurs_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    for name in tables:
        yield from read_table(tree, name, separator="\t", columns=_FLEURS_COLUMNS)


def _fleurs_audio(tree: FileTree, folder: str, split: str) -> Callable[[str], Audio]:
    """Return a function that maps a file name of one split to its audio."""
    names = (posixpath.join(folder, f"audio/{split}.{end}") for end in ("tar.gz", "tgz", "tar", "zip"))
    packed = next((name for name in names if name in tree), None)
    if packed is None:
        return partial(_fleurs_unpacked, tree, posixpath.join(folder, "audio", split))
    return partial(_fleurs_packed, open_inner(tree, packed), split)


def _fleurs_unpacked(tree: FileTree, folder: str, name: str) -> Audio:
    return tree.audio(posixpath.join(folder, name))


def _fleurs_packed(shard: FileTree, split: str, name: str) -> Audio:
    return shard.audio(name if name in shard else f"{split}/{name}")


def _fleurs_row(
    find_audio: dict[str, Callable[[str], Audio]], text_column: str, language: str | None, row: Row
) -> Utterance:
    file_name, split = row.text("file_name"), PurePosixPath(row.table).stem
    return row.utterance(
        id=f"{split}/{PurePosixPath(file_name).stem}",
        audio=find_audio[row.table](file_name),
        text=row.spoken(text_column),
        language=language,
        split=split_name(split),
        extra=row.extras("file_name", "chars", text_column, numbers={"id": int, "num_samples": int}),
    )

"""Reads Common Voice in its published form."""

import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from utils.data.archives.tree import FileTree, choose_folder, find_files, open_tree
from utils.data.sources.rows import rows_as_source
from utils.data.sources.tables import Row, read_table
from utils.data.split_names import split_name
from utils.data.utterance import Reject, Source, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.languages import whisper_language

_COMMON_VOICE_TABLES = ("train.tsv", "dev.tsv", "test.tsv", "validated.tsv")


def read_common_voice(
    path: Path,
    *,
    dataset_config_name: str | None = None,
    use_validated: bool = False,
    min_net_votes: int | None = None,
) -> Source:
    """Read a Common Voice release (https://commonvoice.mozilla.org): `<locale>/*.tsv` and `<locale>/clips/`.

    The speaker is `client_id`, the group is the accent.

    Args:
        path: Folder or archive of the release or of one locale.
        dataset_config_name: The locale, if there are several.
        use_validated: Use `validated.tsv`, without the clips of dev and test, as train. `train.tsv` has only
            one recording of each sentence.
        min_net_votes: Reject clips with fewer net votes (up votes minus down votes).

    Raises:
        UserError: There is no such corpus, or a column of its tables is missing.
    """
    tree = open_tree(path)
    folder = choose_folder(
        tree, find_files(tree, *_COMMON_VOICE_TABLES), dataset_config_name, "train.tsv or validated.tsv"
    )
    train = "validated.tsv" if use_validated else "train.tsv"
    there = [name for name in (train, "dev.tsv", "test.tsv") if posixpath.join(folder, name) in tree]
    if train not in there:
        raise UserError(
            f"{path}: no {train} in {folder or 'it'}. "
            "Delta releases have only validated.tsv: read them with --use_validated."
        )
    unread = [name for name in ("validated.tsv", "invalidated.tsv", "other.tsv") if name not in there]
    unread = [name for name in unread if posixpath.join(folder, name) in tree]
    return rows_as_source(
        partial(_common_voice_rows, tree, folder, there),
        partial(_common_voice_row, tree, folder, min_net_votes),
        notes=[f"Not read: {', '.join(unread)}."] if unread else [],
    )


def _common_voice_rows(tree: FileTree, folder: str, tables: Sequence[str]) -> Iterator[Row | Reject]:
    read = partial(read_table, tree, separator="\t", needed=("client_id", "path", "sentence"))
    held_out: set[object] = set()
    if "validated.tsv" in tables:
        for name in tables[1:]:
            held_out.update(
                r.values["path"] for r in read(posixpath.join(folder, name)) if isinstance(r, Row)
            )
    for name in tables:
        for row in read(posixpath.join(folder, name)):
            if name != "validated.tsv" or isinstance(row, Reject) or row.values["path"] not in held_out:
                yield row


def _common_voice_row(tree: FileTree, folder: str, min_net_votes: int | None, row: Row) -> Utterance:
    clip = row.text("path")
    if not PurePosixPath(clip).suffix:
        clip += ".mp3"  # missing in the second and third release
    extra = row.extras(
        "client_id", "path", "sentence", "accents", "accent", numbers={"up_votes": int, "down_votes": int}
    )
    if min_net_votes is not None:
        up, down = int(extra.get("up_votes", 0)), int(extra.get("down_votes", 0))
        if up - down < min_net_votes:
            raise BadItem(
                "too few votes",
                f"{up} up-votes and {down} down-votes, expected at least {min_net_votes} more up-votes",
            )
    split = split_name(PurePosixPath(row.table).stem)
    return row.utterance(
        id=PurePosixPath(clip).stem,
        audio=tree.audio(posixpath.join(folder, "clips", clip)),
        text=row.spoken("sentence"),
        language=whisper_language(row.label("locale") or posixpath.basename(folder)),
        speaker=row.label("client_id"),
        group=row.label("accents", "accent"),
        split=split or "train",
        extra=extra,
    )

"""Readers of released corpora as their makers publish them, in a folder or an archive read in place."""

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from utils.archives import FileTree, Folder, find_files, is_archive_name, open_tree
from utils.errors import UserError
from utils.tables import (
    Row,
    language_of,
    read_lines,
    read_table,
    reject_unlisted,
    rows_as_source,
    split_in_name,
    usable_id,
)
from utils.utterances import Audio, BadItem, Reject, Source, Utterance, shown, split_name

# ---- Common Voice ------------------------------------------------------------------------------------------

_COMMON_VOICE_TABLES = ("train.tsv", "dev.tsv", "test.tsv", "validated.tsv")


def read_common_voice(
    path: Path, *, locale: str | None = None, use_validated: bool = False, min_net_votes: int | None = None
) -> Source:
    """Read a Common Voice release (https://commonvoice.mozilla.org): `<locale>/*.tsv` and `<locale>/clips/`.

    The speaker is `client_id`, the group is the accent.

    Args:
        path: Folder or archive, of the release or of one locale.
        locale: Which one, where there are several.
        use_validated: Train on `validated.tsv` without what is in dev and test, instead of on `train.tsv`,
            which holds only one recording of each sentence.
        min_net_votes: Clips with fewer votes, up less down, are rejected.

    Raises:
        UserError: There is no such corpus, or its tables lack columns.
    """
    tree = open_tree(path)
    folder = _choose_folder(
        tree, find_files(tree, *_COMMON_VOICE_TABLES), locale, "train.tsv or validated.tsv"
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
        clip += ".mp3"  # the second and third release leave it out
    extra = row.extras(
        "client_id", "path", "sentence", "accents", "accent", numbers={"up_votes": int, "down_votes": int}
    )
    if min_net_votes is not None:
        up, down = int(extra.get("up_votes", 0)), int(extra.get("down_votes", 0))
        if up - down < min_net_votes:
            raise BadItem(f"too few votes: {up} up and {down} down, expected a net {min_net_votes}")
    split = split_name(PurePosixPath(row.table).stem)
    return Utterance(
        id=usable_id(PurePosixPath(clip).stem),
        audio=tree.audio(posixpath.join(folder, "clips", clip)),
        text=row.spoken("sentence"),
        source=row.source,
        position=row.line,
        language=language_of(row.label("locale") or posixpath.basename(folder)),
        speaker=row.label("client_id"),
        group=row.label("accents", "accent"),
        split=split or "train",
        extra=extra,
    )


# ---- AfriSpeech-200 ----------------------------------------------------------------------------------------

_AFRISPEECH_PATHS = ("path", "audio_paths", "audio_path")


def read_afrispeech(path: Path, *, accents: Sequence[str] = ()) -> Source:
    """Read AfriSpeech-200 (https://huggingface.co/datasets/intronhealth/afrispeech-200).

    CSV tables with the split in their names, in one place or a folder per accent, and audio anywhere below,
    unpacked or in the corpus's own `<split>_<accent>_<n>.tar.gz`. Rows name audio as
    `/AfriSpeech-100/train/<speaker>/<clip>.wav` or without that prefix; the last two parts are looked for.

    Args:
        path: Folder or archive of the corpus.
        accents: Only these; empty means all.

    Raises:
        UserError: There is no such corpus, or it has none of the accents.
    """
    tree = open_tree(path)
    tables = _afrispeech_tables(tree)
    wanted = {_slug(accent) for accent in accents}
    rows = partial(_afrispeech_rows, tree, tables, wanted)
    if wanted:
        _check_accents(tree, tables, wanted)
    return rows_as_source(rows, partial(_afrispeech_row, _audio_by_tail(tree, wanted)))


def _afrispeech_tables(tree: FileTree) -> dict[str, str]:
    """Split of each table. Where a split is there both whole and by accent, the shallower tables are read."""
    found = [(name, split_in_name(name)) for name in find_files(tree, "*.csv")]
    depth = {split: name.count("/") for name, split in reversed(found) if split}
    tables = {name: split for name, split in found if split and name.count("/") == depth[split]}
    if not tables:
        raise UserError(f"{tree.root}: no train.csv, dev.csv or test.csv. --input must name AfriSpeech-200.")
    return tables


def _check_accents(tree: FileTree, tables: dict[str, str], wanted: set[str]) -> None:
    rows = (row for row in _afrispeech_rows(tree, tables, set()) if isinstance(row, Row))
    counts = Counter(str(row.values["accent"]).strip() for row in rows)
    lacking = wanted - {_slug(accent) for accent in counts}
    if lacking:
        known = ", ".join(f"{accent} ({count})" for accent, count in counts.most_common(20))
        raise UserError(f"{tree.root}: no accent {', '.join(sorted(lacking))}; found {known}.")


def _afrispeech_rows(tree: FileTree, tables: dict[str, str], wanted: set[str]) -> Iterator[Row | Reject]:
    for name in tables:
        for row in read_table(tree, name, separator=",", needed=("transcript", "accent")):
            if not wanted or isinstance(row, Reject) or _slug(str(row.values["accent"])) in wanted:
                yield row


def _afrispeech_row(find_audio: Callable[[str], Audio], row: Row) -> Utterance:
    written = row.label(*_AFRISPEECH_PATHS)
    if written is None:
        raise BadItem(f"no audio path: expected a column {', '.join(_AFRISPEECH_PATHS)}")
    taken = (*_AFRISPEECH_PATHS, "audio", "transcript", "speaker_id", "user_ids", "accent")
    return Utterance(
        id=usable_id(PurePosixPath(_tail(written)).with_suffix("").as_posix()),
        audio=find_audio(written),
        text=row.spoken("transcript"),
        source=row.source,
        position=row.line,
        language="en",
        speaker=row.label("speaker_id", "user_ids"),
        group=row.label("accent"),
        split=split_in_name(row.table),
        extra=row.extras(*taken, numbers={"duration": float}),
    )


def _audio_by_tail(tree: FileTree, accents: set[str]) -> Callable[[str], Audio]:
    """A function that finds audio by the last two parts of a path, in the corpus and the archives in it."""
    trees = [tree, *_open_shards(tree, accents)]
    places: dict[str, tuple[int, str]] = {}
    for number, part in enumerate(trees):
        for name in part.names():
            places.setdefault(_tail(name), (number, name))
    return partial(_find_by_tail, trees, places)


def _open_shards(tree: FileTree, accents: set[str]) -> Iterator[FileTree]:
    for name in tree.names():
        if is_archive_name(name) and (not accents or accents & set(name.split("/"))):
            yield open_tree(_path_of_archive(tree, name))


def _find_by_tail(trees: Sequence[FileTree], places: dict[str, tuple[int, str]], written: str) -> Audio:
    place = places.get(_tail(written)) or places.get(posixpath.basename(written))
    if place is None:
        raise BadItem(f"no such file: {_tail(written)}, looked for in all folders and archives of the corpus")
    number, name = place
    return trees[number].audio(name)


def _tail(name: str) -> str:
    return "/".join(name.rsplit("/", maxsplit=2)[-2:])


def _slug(accent: str) -> str:
    """An accent as the corpus names its folders: `luo, swahili` is `luo-swahili`."""
    return "-".join(re.findall(r"\w+", accent.lower()))


# ---- FLEURS ------------------------------------------------------------------------------------------------

_FLEURS_COLUMNS = (
    "id", "file_name", "raw_transcription", "transcription", "chars", "num_samples", "gender",
)  # fmt: skip
_FLEURS_FOLDER = re.compile(r"[a-z]{2,3}(_[a-z]{4})?_([a-z]{2}|\d{3})")  # it_it, es_419, cmn_hans_cn


def read_fleurs(path: Path, *, config: str | None = None, text_column: str | None = None) -> Source:
    """Read FLEURS (https://huggingface.co/datasets/google/fleurs).

    `<config>/{train,dev,test}.tsv` without a header, and the audio in `audio/<split>/` or
    `audio/<split>.tar.gz` beside them. The column `chars` is left out.

    Args:
        path: Folder or archive of the corpus or of one language.
        config: Language such as `it_it`, where there are several.
        text_column: `raw_transcription`, as it was written (also if None), or `transcription`, in lower case.

    Raises:
        UserError: There is no such corpus, or no such column.
    """
    text_column = text_column or "raw_transcription"
    if text_column not in _FLEURS_COLUMNS[2:4]:
        raise UserError(f"no column {text_column!r} in FLEURS; expected raw_transcription or transcription.")
    tree = open_tree(path)
    tables = find_files(tree, "train.tsv", "dev.tsv", "test.tsv")
    folder = _choose_folder(tree, tables, config, "train.tsv, dev.tsv or test.tsv")
    tables = [name for name in tables if posixpath.dirname(name) == folder]
    name = posixpath.basename(folder) or tree.root.name.split(".")[0]
    language = language_of(name) if _FLEURS_FOLDER.fullmatch(name) else None
    find_audio = {name: _fleurs_audio(tree, folder, PurePosixPath(name).stem) for name in tables}
    return rows_as_source(
        partial(_fleurs_rows, tree, tables), partial(_fleurs_row, find_audio, text_column, language)
    )


def _fleurs_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    for name in tables:
        yield from read_table(tree, name, separator="\t", columns=_FLEURS_COLUMNS)


def _fleurs_audio(tree: FileTree, folder: str, split: str) -> Callable[[str], Audio]:
    """A function from a file name of one split to where it is."""
    names = (posixpath.join(folder, f"audio/{split}.{end}") for end in ("tar.gz", "tgz", "tar", "zip"))
    packed = next((name for name in names if name in tree), None)
    if packed is None:
        return partial(_fleurs_unpacked, tree, posixpath.join(folder, "audio", split))
    return partial(_fleurs_packed, open_tree(_path_of_archive(tree, packed)), split)


def _fleurs_unpacked(tree: FileTree, folder: str, name: str) -> Audio:
    return tree.audio(posixpath.join(folder, name))


def _fleurs_packed(shard: FileTree, split: str, name: str) -> Audio:
    return shard.audio(name if name in shard else f"{split}/{name}")


def _fleurs_row(
    find_audio: dict[str, Callable[[str], Audio]], text_column: str, language: str | None, row: Row
) -> Utterance:
    file_name, split = row.text("file_name"), PurePosixPath(row.table).stem
    return Utterance(
        id=usable_id(f"{split}/{PurePosixPath(file_name).stem}"),
        audio=find_audio[row.table](file_name),
        text=row.spoken(text_column),
        source=row.source,
        position=row.line,
        language=language,
        split=split_name(split),
        extra=row.extras("file_name", "chars", text_column, numbers={"id": int, "num_samples": int}),
    )


# ---- LJSpeech ----------------------------------------------------------------------------------------------

_LJSPEECH_COLUMNS = ("id", "text", "normalized_text")


def read_ljspeech(path: Path, *, text_column: str | None = None) -> Source:
    """Read LJSpeech (https://keithito.com/LJ-Speech-Dataset) and what is laid out like it.

    `metadata.csv` with `id|text|normalised text`, the last of which may lack, and `wavs/<id>.wav`.

    Args:
        path: Folder or archive.
        text_column: `text` (also when None), or `normalized_text` with numbers in words.

    Raises:
        UserError: There is no such corpus, or no such column.
    """
    text_column = text_column or "text"
    if text_column not in _LJSPEECH_COLUMNS[1:]:
        raise UserError(f"no column {text_column!r} in LJSpeech; expected text or normalized_text.")
    tree = open_tree(path)
    tables = find_files(tree, "metadata.csv")
    if not tables:
        raise UserError(f"{path}: no metadata.csv. --input must name LJSpeech or a corpus laid out like it.")
    return rows_as_source(partial(_ljspeech_rows, tree, tables[0]), partial(_ljspeech_row, tree, text_column))


def _ljspeech_rows(tree: FileTree, table: str) -> Iterator[Row | Reject]:
    listed = set[str]()
    for row in read_table(tree, table, separator="|", columns=_LJSPEECH_COLUMNS, optional=1):
        if isinstance(row, Row):
            listed.add(_ljspeech_wav(row))
        yield row
    yield from reject_unlisted(tree, listed, table)


def _ljspeech_wav(row: Row) -> str:
    return posixpath.join(posixpath.dirname(row.table), "wavs", f"{row.values['id']}.wav")


def _ljspeech_row(tree: FileTree, text_column: str, row: Row) -> Utterance:
    chapter = re.fullmatch(r"(LJ\d+)-\d+", row.text("id"))
    return Utterance(
        id=usable_id(row.text("id")),
        audio=tree.audio(_ljspeech_wav(row)),
        text=row.spoken(text_column),
        source=row.source,
        position=row.line,
        recording=chapter[1] if chapter else None,
        extra=row.extras("id", text_column),
    )


# ---- LibriSpeech -------------------------------------------------------------------------------------------


def read_librispeech(path: Path) -> Source:
    """Read LibriSpeech (https://www.openslr.org/12): `<subset>/<speaker>/<chapter>/*.trans.txt` and `.flac`.

    The subset gives the split (`train-clean-100`, `dev-other`), the recording is the chapter, and the
    gender comes from `SPEAKERS.TXT` where that is there.

    Raises:
        UserError: There is no such corpus.
    """
    tree = open_tree(path)
    tables = find_files(tree, "*.trans.txt")
    if not tables:
        raise UserError(f"{path}: no *.trans.txt. --input must name LibriSpeech or one of its subsets.")
    return rows_as_source(
        partial(_librispeech_rows, tree, tables),
        partial(_librispeech_row, tree, _librispeech_genders(tree)),
        notes=["LibriSpeech's transcripts are in upper case and have no punctuation."],
    )


def _librispeech_rows(tree: FileTree, tables: Sequence[str]) -> Iterator[Row | Reject]:
    listed = set[str]()
    for table in tables:
        for line, content in read_lines(tree, table):
            if content.strip():
                id, _, text = content.partition(" ")
                listed.add(posixpath.join(posixpath.dirname(table), f"{id}.flac"))
                yield Row(table, line, {"id": id, "text": text})
    yield from reject_unlisted(tree, listed, "its .trans.txt")


def _librispeech_row(tree: FileTree, genders: dict[str, str], row: Row) -> Utterance:
    id, chapter = row.text("id"), posixpath.dirname(row.table)
    parts = f"{tree.root.name}/{chapter}".split("/")  # …, subset, speaker, chapter
    if len(parts) < 3 or id.split("-")[:2] != parts[-2:]:
        raise BadItem(f"malformed row: {shown(id)} in {row.table}, expected speaker-chapter-number")
    return Utterance(
        id=usable_id(id),
        audio=tree.audio(f"{chapter}/{id}.flac"),
        text=row.spoken("text"),
        source=row.source,
        position=row.line,
        language="en",
        speaker=parts[-2],
        recording="-".join(parts[-2:]),
        split=split_name(parts[-3]),
        extra={"gender": genders[parts[-2]]} if parts[-2] in genders else {},
    )


def _librispeech_genders(tree: FileTree) -> dict[str, str]:
    """Gender (F, M) of each speaker; lines `14 | F | train-clean-360 | 25.03 | name`."""
    fields = [
        [field.strip() for field in line.split("|")]
        for name in find_files(tree, "SPEAKERS.TXT")
        for _, line in read_lines(tree, name)
        if not line.startswith(";")
    ]
    return {field[0]: field[1] for field in fields if len(field) >= 2 and field[1] in ("F", "M")}


# ---- what several share ------------------------------------------------------------------------------------


def _choose_folder(tree: FileTree, tables: Sequence[str], chosen: str | None, expected: str) -> str:
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


def _path_of_archive(tree: FileTree, name: str) -> Path:
    if not isinstance(tree, Folder):
        raise UserError(
            f"{tree.root}: an archive in an archive, {name}. Unpack the outer one and name its folder."
        )
    return tree.root / name

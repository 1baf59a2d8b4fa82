"""Loads prepared datasets."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.data.archives.zip_and_tar import plain_name
from utils.runtime.downloads import cache_folder, filling_cache
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def load_prepared(folders: list[str], split: str, *, language: str) -> "Dataset":
    """Load one split of one or more prepared datasets. Audio stays FLAC bytes, memory-mapped from disk.

    Args:
        folders: Folders that preprocess.py wrote, or .zip files of them.
        split: Name of the split.
        language: Language of rows that have none. With `auto`, it stays None.

    Raises:
        UserError: A folder is missing, is not a prepared dataset, or does not have the split. The message
            names all such folders.
    """
    from datasets import concatenate_datasets

    found = [unpacked_folder(Path(folder)) for folder in folders]
    problems = [problem for folder in found if (problem := _folder_problem(folder, split))]
    if problems:
        raise UserError("\n       ".join(problems))
    parts = [_load_split(folder / split) for folder in found]
    return _fill_language(concatenate_datasets(_with_common_types(parts)), language)


def pick_split(folder: str, splits: tuple[str, ...]) -> str:
    """Return the first of `splits` that has utterances in a prepared dataset.

    If none has, return `splits[0]`.
    """
    return next((split for split in splits if has_split(folder, split)), splits[0])


def has_split(folder: str, split: str) -> bool:
    """Check whether a prepared dataset, or a .zip of one, has utterances in a split."""
    return not _folder_problem(unpacked_folder(Path(folder)), split)


def unpacked_folder(path: Path) -> Path:
    """Return the folder. If the path is a .zip, unpack it to a folder in the cache and return that.

    A file inside a .zip cannot be memory-mapped.

    Raises:
        UserError: The archive is damaged, or was not written by `--archive`.
    """
    if path.suffix.lower() != ".zip" or not path.is_file():
        return path
    status = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    target = cache_folder() / "prepared" / key[:24]
    if not target.is_dir():
        with filling_cache(f"prepared-{target.name}"):  # only one process unpacks
            if not target.is_dir():
                _unpack(path, target)
    return target


def _unpack(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive, folder_written_whole(target) as folder:
            for member in archive.infolist():
                stored = member.compress_type == zipfile.ZIP_STORED  # uncompressed: not a bomb
                if plain_name(member.filename) != member.filename or "\\" in member.filename or not stored:
                    raise UserError(
                        f"{path}: holds {member.filename!r}, which preprocess.py --archive does not write. "
                        "Expected a .zip from --archive. Nothing was unpacked."
                    )
                archive.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: incomplete archive: {error}. Write it again with --archive.") from None


def _folder_problem(folder: Path, split: str) -> str | None:
    if not folder.is_dir():
        return f"{folder}: no such folder. --dataset must name a folder written by preprocess.py."
    if not (folder / "dataset_dict.json").is_file():
        return f"{folder}: not a prepared dataset. Run preprocess.py on the data first."
    advice = " Training needs none with --eval_steps 0." if split == "validation" else ""
    if not (folder / split / "state.json").is_file():
        there = sorted(path.parent.name for path in folder.glob("*/state.json"))
        return f"{folder}: no split {split!r}. Its splits are: {', '.join(there) or 'none'}.{advice}"
    state = json.loads((folder / split / "state.json").read_text(encoding="utf-8"))
    if not state.get("_data_files"):  # `datasets` saves an empty split this way, and cannot load it again
        return f"{folder}: the split {split!r} is empty. Prepare the data with a larger share for it.{advice}"
    return None


def _load_split(folder: Path) -> "Dataset":
    from datasets import load_from_disk

    try:
        part = load_from_disk(str(folder))
    except (OSError, ValueError) as error:  # pyarrow's errors are subclasses of these
        raise UserError(f"{folder}: damaged: {error}. Prepare the dataset again.") from error
    lacking = [name for name in ("id", "audio", "text", "duration", "language") if name not in part.features]
    if lacking or part.features["audio"].dtype != "binary":
        what = f"no column {', '.join(lacking)}" if lacking else "the column audio does not hold FLAC bytes"
        raise UserError(f"{folder}: {what}. --dataset must name a folder written by preprocess.py.")
    read_audio(part[:1], str(folder))
    return part


def read_audio(rows: Mapping[str, Sequence], where: str) -> list["np.ndarray"]:
    """Decode the audio of rows to (samples,) float32 at 16 kHz each.

    Args:
        rows: Columns id and audio of some rows of a prepared dataset.
        where: Name of the dataset in error messages.

    Raises:
        UserError: The audio of a row is not in the form that `preprocess.py` writes.
    """
    from utils.audio.flac import AudioError, decode_flac

    samples = []
    for name, flac in zip(rows["id"], rows["audio"], strict=True):
        try:
            samples.append(decode_flac(flac))
        except AudioError as error:
            raise UserError(
                f"{where}: the audio of {name!r} cannot be used: {error}. Expected FLAC at 16 kHz mono from "
                "preprocess.py. Prepare the dataset again."
            ) from None
    return samples


def read_split(folder: Path) -> Iterator[dict]:
    """Yield the rows of one split of a prepared dataset."""
    from datasets import load_from_disk

    yield from load_from_disk(str(folder))


def _with_common_types(parts: list["Dataset"]) -> list["Dataset"]:
    """Drop the extra columns whose types differ between datasets, because they do not fit into one table."""
    types: dict[str, set[str]] = {}
    for part in parts:
        for name, feature in part.features.items():
            types.setdefault(name, set()).add(str(feature))
    mixed = [name for name, found in types.items() if len(found) > 1]
    return [part.remove_columns([name for name in mixed if name in part.features]) for part in parts]


def _fill_language(dataset: "Dataset", language: str) -> "Dataset":
    from datasets import Value

    own = dataset.data.column("language").to_pylist()
    if language == "auto" or None not in own:
        return dataset
    filled = [code or language for code in own]
    # added in memory, because `map` would write the whole table again
    return dataset.remove_columns("language").add_column("language", filled, feature=Value("string"))


def describe_own_languages(codes: Sequence[str | None], language: str) -> str:
    """Return a sentence with the number of clips whose own language differs from `--language`; "" if there
    are none.
    """
    others = [code for code in codes if code not in (language, None)]
    if language == "auto" or not others:
        return ""
    return (
        f"--language {language} is only for clips without a language of their own. {len(others):,} of "
        f"{len(codes):,} clips keep theirs: {', '.join(sorted(set(others)))}."
    )


def draw_rows(rows: "Dataset", limit: int | None, seed: int) -> "Dataset":
    """Draw at most `limit` rows at random by the seed, and keep their order. None keeps all rows."""
    if limit is None or limit >= len(rows):
        return rows
    import numpy as np

    return rows.select(sorted(np.random.default_rng(seed).permutation(len(rows))[:limit].tolist()))


def digest_of(rows: "Dataset", *settings: object) -> str:
    """Compute a digest of the utterances of a split, in order.

    For the audio, only the size of the FLAC is used. Different samples hardly ever give the same size. To use
    the bytes, we would have to read the whole dataset.

    Args:
        settings: Other values that go into the digest.
    """
    import pyarrow.compute
    import xxhash

    digest = xxhash.xxh3_128(repr(settings).encode())
    kept = ("id", "text", "duration", "language", "segments", "previous_text", "audio")
    columns = rows.select_columns([name for name in kept if name in rows.column_names]).with_format("arrow")
    for table in columns.iter(batch_size=1000):
        sizes = pyarrow.compute.binary_length(table.column("audio"))
        digest.update(repr(table.drop_columns("audio").append_column("size", sizes).to_pylist()).encode())
    return digest.hexdigest()

"""Writes a prepared dataset in two other forms: as one .zip, and as a folder of WAV files with metadata."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import soundfile

from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import read_split
from utils.data.split_names import SPLITS, split_name
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

Forms = Mapping[Path, Callable[[Path], Path]]
"""The path of each other form of the dataset, and the function that writes it."""


def archive_path(folder: Path) -> Path:
    """Return the path of the archive of a prepared dataset."""
    return folder.with_name(f"{folder.name}.zip")


def audiofolder_path(folder: Path) -> Path:
    """Return the path of the WAV files of a prepared dataset."""
    return folder.with_name(f"{folder.name}-audiofolder")


def is_current(form: Path, folder: Path) -> bool:
    """Check whether another form of a prepared dataset exists and is newer than the dataset's folder."""
    # ctime, because a rename sets it: when a dataset is prepared again and when another takes its place
    return form.exists() and form.stat().st_mtime_ns > folder.stat().st_ctime_ns


def check_own(form: Path) -> None:
    """Raise a UserError if the path of another form belongs to something else."""
    if form.is_dir():
        is_own = all(path.name in SPLITS and (path / "metadata.jsonl").is_file() for path in form.iterdir())
    elif zipfile.is_zipfile(form):
        with zipfile.ZipFile(form) as archive:
            is_own = "dataset_dict.json" in archive.namelist()
    else:
        is_own = not form.exists()
    if not is_own:
        raise UserError(
            f"{form}: not written by preprocess.py, expected nothing or another form of the dataset. "
            "Move it away, or choose another --output_dir."
        )


def write_archive(folder: Path) -> Path:
    """Write a prepared dataset as `<folder>.zip` for train.py and evaluate.py, completely or not at all.

    The archive is not compressed, because compression does not make FLAC smaller. Two archives of the same
    dataset have the same bytes.
    """
    archive = archive_path(folder)
    temporary = archive.with_name(f".{archive.name}.tmp")  # overwrites the file of a killed run
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # without the modification time
                member.external_attr = 0o644 << 16
                with path.open("rb") as source, file.open(member, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)  # if the disk is full
    return archive


def write_audiofolder(folder: Path) -> Path:
    """Write every clip of a prepared dataset as `<split>/<id>.wav`, with a `metadata.jsonl` for each split.

    If an id begins with the folder of a split, as in `train/anna_segment_000`, its file name is without it.
    The layout is `audiofolder` of https://huggingface.co/docs/datasets/audio_dataset: `file_name`,
    `transcription` and all other columns with a value. If the dataset already has a column with one of these
    names, it is renamed to `original_<name>`.
    """
    target = audiofolder_path(folder)
    with folder_written_whole(target) as temporary:
        for split in json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
            split_dir = temporary / split
            split_dir.mkdir()
            taken: set[str] = set()
            with (split_dir / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
                for row in read_split(folder / split):
                    name = _file_name(_without_split(row["id"]), taken)
                    soundfile.write(split_dir / name, decode_flac(row.pop("audio")), SAMPLE_RATE, "PCM_16")
                    record = _with_columns({"file_name": name, "transcription": row.pop("text")}, row)
                    metadata.write(json.dumps(record, ensure_ascii=False) + "\n")
    return target


def _with_columns(record: dict, columns: dict) -> dict:
    """Add the columns that have a value.

    If the name of a column is already used, put `original_` before it.
    """
    for column, value in columns.items():
        name = column
        while name in record:
            name = f"original_{name}"
        if value is not None:
            record[name] = value
    return record


def _without_split(id: str) -> str:
    """Leave out the first folder of an id if it is a split's. The file is in the folder of its split."""
    first, _, rest = id.partition("/")
    return rest if rest and split_name(first) else id


def _file_name(id: str, taken: set[str]) -> str:
    """Make a file name that is unique in its split. It has no characters that file systems may refuse."""
    plain = "".join(c if c.isalnum() or c in "._- " else "_" for c in id).strip(". ")
    stem = plain.encode()[:200].decode(errors="ignore") or "clip"
    name, number = f"{stem}.wav", 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}_{number}.wav"
    taken.add(name.lower())
    return name


def choose_forms(output_dir: Path, *, archive: bool, also_write: str | None) -> Forms:
    """Return the requested forms: a .zip, and the form that `--also_write` names."""
    forms: dict[Path, Callable[[Path], Path]] = {}
    if archive:
        forms[archive_path(output_dir)] = write_archive
    if also_write == "audiofolder":
        forms[audiofolder_path(output_dir)] = write_audiofolder
    return forms


def check_forms(forms: Forms, input: str | None) -> None:
    """Check that no form overwrites the input, or anything that preprocess.py did not write."""
    for form in forms:
        if input is not None and Path(input).resolve().is_relative_to(form.resolve()):
            raise UserError(
                f"{form}: another form of the dataset would be written here, over --input. "
                "Choose another --output_dir."
            )
        check_own(form)


def write_forms(forms: Forms, output_dir: Path) -> None:
    """Write the forms that do not exist, or are older than the dataset."""
    for form, write in forms.items():
        if not is_current(form, output_dir):
            print(f"Also written: {write(output_dir)}")

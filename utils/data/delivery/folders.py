"""A prepared dataset in other forms: one .zip to carry about, and a folder of WAV files with metadata."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import soundfile

from utils.audio.flac import SAMPLE_RATE, decode_flac
from utils.data.prepared_dataset import read_split
from utils.data.split_names import SPLITS
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

Forms = Mapping[Path, Callable[[Path], Path]]
"""Where the dataset is to be written in another form, and what writes it there."""


def archive_path(folder: Path) -> Path:
    """Where the archive of a prepared dataset is."""
    return folder.with_name(f"{folder.name}.zip")


def audiofolder_path(folder: Path) -> Path:
    """Where the WAV files of a prepared dataset are."""
    return folder.with_name(f"{folder.name}-audiofolder")


def is_current(form: Path, folder: Path) -> bool:
    """Whether another form of a prepared dataset is there and younger than the folder has its name."""
    # a rename sets the time of the status: of a dataset prepared anew, and of one put in another's place
    return form.exists() and form.stat().st_mtime_ns > folder.stat().st_ctime_ns


def check_own(form: Path) -> None:
    """Raise a UserError where a name for another form of a dataset is taken by something else."""
    if form.is_dir():
        is_own = all(path.name in SPLITS and (path / "metadata.jsonl").is_file() for path in form.iterdir())
    elif zipfile.is_zipfile(form):
        with zipfile.ZipFile(form) as archive:
            is_own = "dataset_dict.json" in archive.namelist()
    else:
        is_own = not form.exists()
    if not is_own:
        raise UserError(
            f"{form}: not written by preprocess.py, expected nothing there or another form of the dataset. "
            "Move it away, or choose another --output_dir."
        )


def write_archive(folder: Path) -> Path:
    """Write a prepared dataset as `<folder>.zip`, which train.py and evaluate.py read; whole or not at all.

    Stored, not deflated: FLAC does not shrink. Two archives of one dataset are equal byte for byte.
    """
    archive = archive_path(folder)
    temporary = archive.with_name(f".{archive.name}.tmp")  # one that a killed run left is overwritten
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                member = zipfile.ZipInfo(path.relative_to(folder).as_posix())  # without the time of change
                member.external_attr = 0o644 << 16
                with path.open("rb") as source, file.open(member, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)  # where the disk is full
    return archive


def write_audiofolder(folder: Path) -> Path:
    """Write every clip of a prepared dataset as `<split>/<id>.wav`, with a `metadata.jsonl` for each split.

    The layout is the `audiofolder` of https://huggingface.co/docs/datasets/audio_dataset: `file_name` and
    `transcription`, and the other columns that have a value; one of either name is called `original_<name>`.
    """
    target = audiofolder_path(folder)
    with folder_written_whole(target) as temporary:
        for split in json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]:
            split_dir = temporary / split
            split_dir.mkdir()
            taken: set[str] = set()
            with (split_dir / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
                for row in read_split(folder / split):
                    name = _file_name(row["id"], taken)
                    soundfile.write(split_dir / name, decode_flac(row.pop("audio")), SAMPLE_RATE, "PCM_16")
                    record = _with_columns({"file_name": name, "transcription": row.pop("text")}, row)
                    metadata.write(json.dumps(record, ensure_ascii=False) + "\n")
    return target


def _with_columns(record: dict, columns: dict) -> dict:
    """The record with the columns that have a value; where a name is taken, `original_` goes before it."""
    for column, value in columns.items():
        name = column
        while name in record:
            name = f"original_{name}"
        if value is not None:
            record[name] = value
    return record


def _file_name(id: str, taken: set[str]) -> str:
    """A name without folders or characters that a file system may refuse; unique in its split."""
    plain = "".join(c if c.isalnum() or c in "._- " else "_" for c in id).strip(". ")
    stem = plain.encode()[:200].decode(errors="ignore") or "clip"
    name, number = f"{stem}.wav", 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}_{number}.wav"
    taken.add(name.lower())
    return name


def choose_forms(output_dir: Path, *, archive: bool, also_write: str | None) -> Forms:
    """The forms that were asked for: a .zip, and the one named by `--also_write`."""
    forms: dict[Path, Callable[[Path], Path]] = {}
    if archive:
        forms[archive_path(output_dir)] = write_archive
    if also_write == "audiofolder":
        forms[audiofolder_path(output_dir)] = write_audiofolder
    return forms


def check_forms(forms: Forms, input: str | None) -> None:
    """Other forms of a dataset are written anew with it: never over what is read, nor over something else."""
    for form in forms:
        if input is not None and Path(input).resolve().is_relative_to(form.resolve()):
            raise UserError(
                f"{form}: --input, and where another form of the dataset is to be written. "
                "Choose another --output_dir."
            )
        check_own(form)


def write_forms(forms: Forms, output_dir: Path) -> None:
    """Write the forms that are not there, or older than the dataset."""
    for form, write in forms.items():
        if not is_current(form, output_dir):
            print(f"Also written: {write(output_dir)}")

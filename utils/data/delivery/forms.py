"""The other forms of a prepared dataset that a run writes beside its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

from utils.data.delivery.folders import (
    archive_path,
    audiofolder_path,
    check_own,
    is_current,
    write_archive,
    write_audiofolder,
)
from utils.runtime.errors import UserError

Forms = Mapping[Path, Callable[[Path], Path]]
"""Where the dataset is to be written in another form, and what writes it there."""


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

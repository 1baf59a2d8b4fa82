"""What lies in a prepared dataset's folder."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a dataset."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

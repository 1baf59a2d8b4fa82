"""Writes splits as Arrow files that `datasets` can load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow

from utils.data.clips.block_files import OWN_COLUMNS, SCHEMA
from utils.data.split_names import SPLITS
from utils.runtime.files import write_text

if TYPE_CHECKING:
    from datasets import Features
    from datasets.arrow_writer import ArrowWriter


WRITE_BATCH = 100  # rows kept in memory before they are written; at most 30 s of FLAC each: about 50 MB

FILE_BYTES = 400 << 20  # audio bytes in one Arrow file of a split

CASTS: Mapping[str, type] = {"string": str, "int64": int, "float64": float, "bool": bool}
"""The Python type for each type of column. Values are converted to it."""


def dataset_features(columns: Mapping[str, set[str]]) -> "Features":
    """Return the columns of the prepared dataset: our columns with values, and the source's own columns.

    Args:
        columns: The types of the values of each column. A column with int and float becomes float. Other
            mixtures become text.
    """
    from datasets import Features, List, Value

    types: dict[str, object] = {}
    for name in OWN_COLUMNS:
        if name == "segments" and name in columns:
            types[name] = List({"start": Value("float64"), "end": Value("float64"), "text": Value("string")})
        elif name in columns or name in ("id", "audio", "text", "duration", "language", "source"):
            types[name] = Value(str(SCHEMA.field(name).type).replace("double", "float64"))
    for name in sorted(columns.keys() - set(OWN_COLUMNS)):
        kinds = columns[name]
        kind = next(iter(kinds)) if len(kinds) == 1 else "float" if kinds == {"int", "float"} else "str"
        types[name] = Value(next(dtype for dtype, cast in CASTS.items() if cast.__name__ == kind))
    return Features(types)


class SplitWriter:
    """Write the rows of one split in the form of `Dataset.save_to_disk`. At most one batch is in memory."""

    def __init__(self, folder: Path, features: "Features", fingerprint: str) -> None:
        self._folder, self._features, self._fingerprint = folder, features, fingerprint
        self._rows: list[dict] = []
        self._files: list[Path] = []
        self._writer: ArrowWriter | None = None
        self._bytes = 0
        self._casts = {
            name: CASTS[feature.dtype]
            for name, feature in features.items()
            if name not in OWN_COLUMNS  # our own columns have their types already
        }
        folder.mkdir()

    def write(self, row: dict) -> None:
        """Add one row of a block."""
        extra = json.loads(row.pop("extra") or "{}")
        row |= {
            name: None if extra.get(name) is None else cast(extra[name]) for name, cast in self._casts.items()
        }
        self._rows.append({name: row[name] for name in self._features})
        self._bytes += len(row["audio"])
        if len(self._rows) == WRITE_BATCH:
            self._flush()

    def _flush(self) -> None:
        from datasets.arrow_writer import ArrowWriter

        if not self._rows:
            return
        if self._writer is None:
            self._files.append(self._folder / f"part-{len(self._files):05d}.arrow")
            self._writer = ArrowWriter(features=self._features, path=str(self._files[-1]))
        assert self._writer is not None
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._features.arrow_schema))
        self._rows = []
        if self._bytes > FILE_BYTES:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.finalize()
        self._writer, self._bytes = None, 0

    def close(self) -> None:
        """Write the last rows, and the files in which `datasets` finds the names of its data files."""
        from datasets import DatasetInfo

        self._flush()
        self._close_file()
        names = [f"data-{number:05d}-of-{len(self._files):05d}.arrow" for number in range(len(self._files))]
        for file, name in zip(self._files, names, strict=True):
            file.rename(self._folder / name)
        DatasetInfo(features=self._features).write_to_directory(str(self._folder))
        state: dict[str, object] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": f"{self._fingerprint}{SPLITS.index(self._folder.name)}",
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self._folder.name,
        }
        write_text(self._folder / "state.json", json.dumps(state, indent=2))

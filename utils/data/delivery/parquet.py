"""Writes Parquet shards of a prepared dataset that the Hub's viewer can play."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute

from utils.audio.flac import SAMPLE_RATE
from utils.data.delivery.cards import without_folders

if TYPE_CHECKING:
    from datasets import Dataset, Features


SHARD_BYTES = 500_000_000  # the size of shards in `datasets`

ROW_GROUP = 100  # rows read at once, here and by the viewer; at most 30 s of FLAC each: about 50 MB


def write_shard(path: Path, rows: "Dataset", features: "Features") -> int:
    """Write rows of a prepared dataset as Parquet that `datasets` and the Hub's viewer read as audio.

    A value of the `Audio` column is stored as the bytes and the name of a file. Nothing is encoded, so
    torchcodec is not needed.

    Returns:
        The size of the rows in memory, in bytes.
    """
    from datasets.arrow_writer import ParquetWriter

    writer = ParquetWriter(features=features, path=str(path))
    for table in rows.with_format("arrow").iter(ROW_GROUP):
        writer.write_table(_as_on_the_hub(table, features), ROW_GROUP)
    return writer.finalize()[1]


def hub_features(features: "Features") -> "Features":
    from datasets import Audio, Features

    audio = Audio(sampling_rate=SAMPLE_RATE)
    return Features({name: audio if name == "audio" else kind for name, kind in features.items()})


def _as_on_the_hub(table: pyarrow.Table, features: "Features") -> pyarrow.Table:
    """Store audio as bytes with a file name, and remove the folders of this machine from `source`."""
    table = table.combine_chunks()
    schema = features.arrow_schema
    names = pyarrow.compute.binary_join_element_wise(table["id"], ".flac", "")
    audio = pyarrow.StructArray.from_arrays(
        [column.combine_chunks() for column in (table["audio"], names)],
        fields=list(schema.field("audio").type),
    )
    sources = [without_folders(source) for source in table["source"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("audio"), schema.field("audio"), audio)
    return table.set_column(table.schema.get_field_index("source"), "source", [pyarrow.array(sources)])

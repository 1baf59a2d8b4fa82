"""Reads any dataset that `datasets.load_dataset` can read. Each row becomes an utterance or a reject.

A dataset that preprocess.py has written, local or on the Hub, is recognised by its columns and read without
loss.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from utils.data.sources.hub_rows import audio_left_encoded, describe_audio, read_hub_rows, rows_of
from utils.data.sources.tables import TEXT_COLUMNS
from utils.data.split_names import split_name, splits_of_names
from utils.data.utterance import Items, Reject, Source, Utterance
from utils.runtime.errors import UserError

# Names in public corpora, the most common first. A name from the user comes before all of them, and then a
# column of the type Audio.
_AUDIO_COLUMNS = ("audio", "path", "file", "file_name", "audio_path")


def read_hub(
    name: str,
    *,
    dataset_config_name: str | None = None,
    audio_column_name: str | None = None,
    text_column_name: str | None = None,
    streaming: bool = False,
    local_cache: Path,
) -> Source:
    """Read the rows of a dataset of the Hub, or of a local folder with audio and metadata, Parquet, CSV or
    JSON.

    Args:
        name: Hub id or a local folder. The folder may be from `save_to_disk`.
        dataset_config_name: Configuration of the dataset, such as a language.
        audio_column_name: None searches for it.
        text_column_name: None searches for it.
        streaming: Download one row after another and store nothing on disk. Then the number of rows is not
            known in advance.
        local_cache: Folder for files that `datasets` writes while it reads a local folder. The caller removes
            it. A dataset of the Hub is kept in the Hub's own cache, so that it is downloaded only once.

    Raises:
        UserError: The dataset cannot be loaded, or it has no text or audio column or no usable split.
    """
    from datasets import Audio, disable_progress_bars

    is_local = Path(name).exists()
    if is_local:
        disable_progress_bars()
    splits = load_splits(name, dataset_config_name, local_cache if is_local else None, streaming)
    chosen, notes = _choose_splits(splits, name)
    columns = {split: _columns(splits[split], name) for split in chosen}
    text = _find_column(columns, text_column_name, TEXT_COLUMNS, "text", name)
    typed = [c for found in columns.values() for c, feature in found.items() if isinstance(feature, Audio)]
    audio = _find_column(columns, audio_column_name, [*typed, *_AUDIO_COLUMNS], "audio", name)
    datasets = [(split, as_split, _undecoded(splits[split], audio)) for split, as_split in chosen.items()]
    is_known = all(hasattr(rows, "__len__") for _, _, rows in datasets)  # streams have no length
    total = sum(len(rows) for _, _, rows in datasets) if is_known else None
    if total == 0:
        raise UserError(f"{name}: the dataset has no rows.")
    return Source(Items(partial(_read_splits, name, datasets, audio, text)), total, notes=tuple(notes))


def _columns(dataset, name: str) -> dict[str, object]:
    """Return the type of each column. Some streams give only the names, from their first row."""
    if dataset.features is not None:
        return dict(dataset.features)
    return dict.fromkeys(next(rows_of(dataset, name), {}))


def load_splits(name: str, config: str | None, cache: Path | None, streaming: bool) -> dict:
    """Load all splits by name, as `datasets.Dataset`s, or as `IterableDataset`s if streaming."""
    from datasets import load_dataset, load_from_disk

    folder = Path(name)
    if cache is None and (folder.is_absolute() or name.startswith((".", "~"))):
        raise UserError(f"{name}: no such folder. --input must name a dataset of the Hub or a folder.")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = load_from_disk(name)  # stays on disk, with or without streaming
        elif folder.is_file():
            raise UserError(
                f"{name}: found a file, expected a folder. Unpack an archive first; for a JSONL manifest use "
                "--source manifest."
            )
        else:
            with audio_left_encoded():
                loaded = load_dataset(
                    name, config, cache_dir=None if cache is None else str(cache), streaming=streaming
                )
    except UserError:
        raise
    except Exception as error:  # datasets, pyarrow, the Hub and the network each raise their own errors
        raise UserError(f"{name}: datasets cannot load it {describe_audio(error)}") from error
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _choose_splits(splits: Mapping[str, object], name: str) -> tuple[dict[str, str | None], list[str]]:
    """Choose the splits to read, and their names in the result.

    If there is only one split, it may have any name.
    """
    if len(splits) == 1:
        only = next(iter(splits))
        return {only: split_name(only)}, []
    chosen = {split: known for split, known in splits_of_names(splits).items() if known}
    left_out = [split for split in splits if split not in chosen]
    if not chosen:
        found = ", ".join(splits)
        raise UserError(
            f"{name}: found the splits {found}, expected train, validation (dev, valid, val) or test."
        )
    notes = [f"Splits not read: {', '.join(left_out)}."] if left_out else []
    return dict(chosen), notes


def _find_column(
    columns: Mapping[str, Mapping], given: str | None, candidates: Iterable[str], what: str, name: str
) -> str:
    """Return the given column, or the first candidate that every split has."""
    common = [c for c in next(iter(columns.values())) if all(c in features for features in columns.values())]
    found = next((c for c in (candidates if given is None else (given,)) if c in common), None)
    if found is None:
        lacking = f"no column {given!r}" if given is not None else f"no {what} column recognised"
        raise UserError(
            f"{name}: {lacking}; found {', '.join(common) or 'none'}. Name it with --{what}_column_name."
        )
    return found


def _undecoded(dataset, audio: str):
    """Return the dataset with its audio column as path and bytes. So torchcodec is not needed."""
    from datasets import Audio

    if dataset.features is not None and isinstance(dataset.features[audio], Audio):
        return dataset.cast_column(audio, Audio(decode=False))
    return dataset


def _read_splits(name: str, datasets: list, audio: str, text: str) -> Iterator[Utterance | Reject]:
    for split, as_split, rows in datasets:
        yield from read_hub_rows(name, split, as_split, rows, audio, text)

"""Reader of anything `datasets.load_dataset` reads: each row is an utterance or a reject, decoded later.

What preprocess.py has written, on this machine or on the Hub, is known by its columns and read without loss.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from utils.archives import MOST_MEMBER_BYTES, plain_name
from utils.errors import UserError
from utils.sources import read_previous_text, read_segments
from utils.tables import LANGUAGE_COLUMNS, SPEAKER_COLUMNS, TEXT_COLUMNS, Items
from utils.text import clean_text
from utils.utterances import (
    BadItem,
    Reject,
    Source,
    Utterance,
    is_utf8,
    read_extras,
    shown,
    split_name,
    splits_of_names,
    text_problem,
    whisper_language,
)

# Names seen in public corpora, the most common first; a name given by the user goes before all of them.
_AUDIO_COLUMNS = ("audio", "path", "file", "file_name", "audio_path")
# What every prepared dataset has, see `utils.assembly.dataset_features`.
_PREPARED_TYPES = dict.fromkeys(("id", "text", "language", "source"), "string") | {"duration": "float64"}
_READ_ANEW = ("original_id", "original_duration", "original_segments", "original_previous_text")
_REMOTE = ("hf://",)  # where audio that a streamed row only names may be: rows are not to be trusted


def read_hub(
    name: str,
    *,
    config: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
    streaming: bool = False,
    local_cache: Path,
) -> Source:
    """Read a dataset of the Hub, or a local folder of audio with metadata, Parquet, CSV or JSON, row by row.

    Args:
        name: Hub id, or a local folder; one written by `save_to_disk` is read too.
        config: Configuration, such as a language.
        audio_column: Found when None.
        text_column: Found when None.
        streaming: Fetch row by row and keep nothing on disk; how many rows there are is then not known.
        local_cache: Receives what `datasets` writes while it reads a local folder; the caller removes it. A
            dataset of the Hub stays in the Hub's own cache, so that it is downloaded once.

    Raises:
        UserError: The dataset cannot be loaded, or has no text or audio column or no split that is used.
    """
    from datasets import disable_progress_bars

    is_local = Path(name).exists()
    if is_local:
        disable_progress_bars()
    splits = _load_splits(name, config, local_cache if is_local else None, streaming)
    chosen, notes = _choose_splits(splits, name)
    columns = {split: _columns(splits[split], name) for split in chosen}
    text = _find_column(columns, text_column, TEXT_COLUMNS, "text", name)
    audio = _find_column(columns, audio_column, _audio_names(columns), "audio", name)
    datasets = [(split, as_split, _undecoded(splits[split], audio)) for split, as_split in chosen.items()]
    total = _count_rows([rows for _, _, rows in datasets])
    if total == 0:
        raise UserError(f"{name}: the dataset has no rows.")
    return Source(Items(partial(_read_splits, name, datasets, audio, text)), total, notes=tuple(notes))


def _count_rows(datasets: list) -> int | None:
    """Of all together, or None where they are streamed."""
    return sum(map(len, datasets)) if all(hasattr(rows, "__len__") for rows in datasets) else None


def _columns(dataset, name: str) -> dict[str, object]:
    """The type of each column; a stream may know the names only, and those from its first row."""
    if dataset.features is not None:
        return dict(dataset.features)
    return dict.fromkeys(next(_rows_of(dataset, name), {}))


def _load_splits(name: str, config: str | None, cache: Path | None, streaming: bool) -> dict:
    """All splits by name, as `datasets.Dataset`s, or as `IterableDataset`s where they are streamed."""
    from datasets import load_dataset, load_from_disk

    folder = Path(name)
    if cache is None and (folder.is_absolute() or name.startswith((".", "~"))):
        raise UserError(f"{name}: no such folder. --input must name a dataset of the Hub or a folder.")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = load_from_disk(name)  # stays on disk, streamed or not
        elif folder.is_file():
            raise UserError(
                f"{name}: found a file, expected a folder; a JSONL manifest is --source manifest."
            )
        else:
            with _audio_left_encoded():
                loaded = load_dataset(
                    name, config, cache_dir=None if cache is None else str(cache), streaming=streaming
                )
    except UserError:
        raise
    except Exception as error:  # datasets, pyarrow, the Hub and the network each have their own; none is ours
        raise UserError(f"{name}: datasets cannot load it {_describe(error)}") from error
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _describe(error: Exception) -> str:
    return f"({type(error).__name__}): {' '.join(str(error.__cause__ or error).split())[:600]}"


@contextlib.contextmanager
def _audio_left_encoded() -> Iterator[None]:
    """Let `datasets` take files and bytes of audio as they are.

    Its `Audio` feature imports torchcodec for every row of an audio folder or a WebDataset, even where
    nothing is decoded; torchcodec needs the system's FFmpeg and is not required here.
    """
    from datasets import Audio

    original = Audio.encode_example
    Audio.encode_example = _path_and_bytes
    try:
        yield
    finally:
        Audio.encode_example = original


def _path_and_bytes(_: object, value: object) -> dict[str, object]:
    """What an `Audio` column stores for a path, for bytes, or for a record of both."""
    if isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value), "path": None}
    if isinstance(value, Mapping) and (value.get("bytes") or value.get("path")):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    raise ValueError(f"found {shown(value)} in an audio column, expected a path or the bytes of a file")


def _choose_splits(splits: Mapping[str, object], name: str) -> tuple[dict[str, str | None], list[str]]:
    """Which splits are read and as what; a single split of any name counts as not split."""
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
    """The first candidate that every split has; the one given goes before all."""
    common = [c for c in next(iter(columns.values())) if all(c in features for features in columns.values())]
    if given is not None and given in common:
        return given
    found = None if given is not None else next((c for c in candidates if c in common), None)
    if found is None:
        lacking = f"no column {given!r}" if given is not None else f"no {what} column recognised"
        raise UserError(
            f"{name}: {lacking}; found {', '.join(common) or 'none'}. Name it with --{what}_column_name."
        )
    return found


def _audio_names(columns: Mapping[str, Mapping]) -> list[str]:
    """Columns of the type Audio, then those that are called as audio often is."""
    from datasets import Audio

    typed = [
        c for features in columns.values() for c, feature in features.items() if isinstance(feature, Audio)
    ]
    return [*typed, *_AUDIO_COLUMNS]


def _undecoded(dataset, audio: str):
    """The dataset with its audio column as path and bytes, which needs no torchcodec."""
    from datasets import Audio

    if dataset.features is not None and isinstance(dataset.features[audio], Audio):
        return dataset.cast_column(audio, Audio(decode=False))
    return dataset


def _read_splits(name: str, datasets: list, audio: str, text: str) -> Iterator[Utterance | Reject]:
    for split, as_split, rows in datasets:
        yield from _read_rows(name, split, as_split, rows, audio, text)


def _rows_of(rows, name: str) -> Iterator[dict]:
    """Rows one after another; the network is only asked for the next.

    Raises:
        UserError: They cannot be fetched or read.
    """
    remaining = iter(rows)
    while True:
        try:
            with _audio_left_encoded():  # a stream encodes its rows as they come
                row = next(remaining, None)
        except Exception as error:  # see _load_splits
            raise UserError(
                f"{name}: datasets cannot read on {_describe(error)}. What was finished is kept; try again."
            ) from error
        if row is None:
            return
        yield row


def _read_rows(
    name: str, split: str, as_split: str | None, rows, audio: str, text: str
) -> Iterator[Utterance | Reject]:
    source = f"{name}:{split}"
    is_prepared = _is_prepared(rows.features or {}, audio, text)
    base = Path(name) if Path(name).is_dir() else None
    features = rows.features or {}
    names = {c: feature.names for c, feature in features.items() if hasattr(feature, "int2str")}
    for number, row in enumerate(_rows_of(rows, name)):
        for column, labels in names.items():  # a class label is stored as its number
            row[column] = labels[row[column]] if row[column] is not None and row[column] >= 0 else None
        try:
            utterance = _read_row(row, f"{split}-{number:06d}", source, number, as_split, base, audio, text)
            yield _as_it_was(utterance, row) if is_prepared else utterance
        except BadItem as problem:
            yield Reject(source, number, str(problem))


def _read_row(
    row: dict, id: str, source: str, number: int, split: str | None, base: Path | None, audio: str, text: str
) -> Utterance:
    if not isinstance(row[text], str):
        raise BadItem(f"wrong type of {text!r}: found {shown(row[text])}, expected text")
    cleaned = clean_text(row[text])
    if problem := text_problem(cleaned):
        raise BadItem(problem)
    language = next((row[c] for c in LANGUAGE_COLUMNS if isinstance(row.get(c), str)), None)
    speaker = next((row[c] for c in SPEAKER_COLUMNS if isinstance(row.get(c), str | int)), None)
    # a language Whisper does not know is no fault of the row: it is trained under --language
    rest = {c: value for c, value in row.items() if c not in (audio, text, "audio", "text", "path")}
    return Utterance(
        id=id,
        audio=_row_audio(row[audio], base),
        text=cleaned,
        source=source,
        position=number,
        language=whisper_language(language) if language else None,
        speaker=None if speaker is None else str(speaker),
        group=str(row["group"]) if isinstance(row.get("group"), str | int) else None,
        split=split,
        extra=read_extras(rest, taken=SPEAKER_COLUMNS),
    )


def _is_prepared(features: Mapping, audio: str, text: str) -> bool:
    """Whether the columns are those of a prepared dataset, which has them all, with these types."""
    types = {column: getattr(feature, "dtype", None) for column, feature in features.items()}
    return (audio, text) == ("audio", "text") and _PREPARED_TYPES.items() <= types.items()


def _as_it_was(utterance: Utterance, row: Mapping[str, object]) -> Utterance:
    """The utterance of a prepared row under its own id; where it first came from is kept."""
    id = row["id"]
    if not isinstance(id, str) or not id.strip() or not is_utf8(id):
        raise BadItem(f"unusable id: found {shown(id)}, expected text")
    duration = row["duration"]
    extra = {name: value for name, value in utterance.extra.items() if name not in _READ_ANEW}
    for name in ("start", "end"):  # the clip is cut already; `source` is kept likewise, as `original_source`
        value = row.get(name)
        if isinstance(value, float):
            extra.setdefault(f"original_{name}", value)
    return replace(
        utterance,
        id=id,
        segments=read_segments(row, utterance.text, duration if isinstance(duration, float) else math.inf),
        previous_text=read_previous_text(row),
        extra=extra,
    )


def _row_audio(value: object, base: Path | None) -> Path | bytes:
    """Bytes, or the path of a file.

    Args:
        value: What the audio column holds.
        base: The dataset's folder, from which relative paths count; None for a dataset of the Hub.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and "://" in value:
        return _fetch(value)
    if isinstance(value, str) and value:
        return _cached_file(value) if base is None else _local_file(value, base)
    raise BadItem(f"no audio: found {shown(value)}, expected bytes or a path")


def _local_file(written: str, base: Path) -> Path:
    """A file of a local dataset; as in manifests, an absolute path is followed on this machine."""
    if Path(written).is_absolute():
        return Path(written)
    plain = plain_name(written)
    if plain is None:
        raise BadItem(f"path outside the dataset: {shown(written)}, expected one below {base}")
    return base / plain


def _cached_file(written: str) -> Path:
    """A file that `datasets` has downloaded or unpacked; a row of the Hub names no other of this machine."""
    from datasets import config
    from huggingface_hub import constants

    caches = (
        constants.HF_HUB_CACHE,
        config.HF_DATASETS_CACHE,
        config.DOWNLOADED_DATASETS_PATH,
        config.EXTRACTED_DATASETS_PATH,
    )
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a NUL, a name too long, links in a circle
        path = Path(written).resolve()
        if any(path.is_relative_to(Path(cache).resolve()) for cache in caches):
            return path
    raise BadItem(f"path outside the dataset: {shown(written)}, expected audio that comes with it")


def _fetch(address: str) -> bytes:
    """The bytes of a file that a stream names, such as `hf://datasets/…` or `zip://a.wav::hf://datasets/…`."""
    import fsspec

    if not address.rsplit("::", maxsplit=1)[-1].startswith(_REMOTE):
        raise BadItem(f"no audio: found the address {shown(address)}, expected one of {', '.join(_REMOTE)}")
    try:
        with fsspec.open(address, "rb") as file:
            data = file.read(MOST_MEMBER_BYTES + 1)
    except Exception as error:  # each file system has its own; none is ours
        raise BadItem(f"not fetched: {shown(address)} {_describe(error)}") from None
    if len(data) > MOST_MEMBER_BYTES:
        raise BadItem(f"too large: {shown(address)} has over {MOST_MEMBER_BYTES} bytes")
    return data

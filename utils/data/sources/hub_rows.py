"""Turns rows of a Hub dataset into utterances."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from utils.data.archives.members import MOST_MEMBER_BYTES
from utils.data.archives.zip_and_tar import plain_name
from utils.data.fields import is_utf8, read_extras, shown
from utils.data.sources.manifest_fields import read_previous_text, read_segments
from utils.data.sources.tables import LANGUAGE_COLUMNS, SPEAKER_COLUMNS, Row
from utils.data.utterance import Reject, Utterance
from utils.runtime.errors import UserError
from utils.runtime.problems import BadItem
from utils.text.languages import whisper_language

# Columns of every prepared dataset, see `utils.data.split_writing.dataset_features`.
_PREPARED_TYPES = dict.fromkeys(("id", "text", "language", "source"), "string") | {"duration": "float64"}

_READ_ANEW = ("original_id", "original_duration", "original_segments", "original_previous_text")

_REMOTE = ("hf://",)  # the only addresses that a streamed row may name: rows are not trusted


def describe_audio(error: Exception) -> str:
    return f"({type(error).__name__}): {' '.join(str(error.__cause__ or error).split())[:600]}"


@contextlib.contextmanager
def audio_left_encoded() -> Iterator[None]:
    """In the block, let `datasets` return audio as paths or bytes, without decoding.

    Its `Audio` feature imports torchcodec for every row of an audio folder or a WebDataset, even if nothing
    is decoded. torchcodec needs the system's FFmpeg and is not required here.
    """
    from datasets import Audio

    original = Audio.encode_example
    Audio.encode_example = _path_and_bytes
    try:
        yield
    finally:
        Audio.encode_example = original


def _path_and_bytes(_: object, value: object) -> dict[str, object]:
    """Return the content of an `Audio` column for a path, for bytes, or for a record of both."""
    if isinstance(value, str | Path):
        return {"bytes": None, "path": str(value)}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value), "path": None}
    if isinstance(value, Mapping) and (value.get("bytes") or value.get("path")):
        return {"bytes": value.get("bytes"), "path": value.get("path")}
    raise ValueError(f"found {shown(value)} in an audio column, expected a path or the bytes of a file")


def rows_of(rows, name: str) -> Iterator[dict]:
    """Yield the rows one after another. Each step fetches only the next row.

    Raises:
        UserError: The rows cannot be fetched or read.
    """
    remaining = iter(rows)
    while True:
        try:
            with audio_left_encoded():  # a stream encodes each row when it is fetched
                row = next(remaining, None)
        except Exception as error:  # see load_splits
            raise UserError(
                f"{name}: datasets cannot read the next row {describe_audio(error)}. "
                "Finished work is kept. Try again."
            ) from error
        if row is None:
            return
        yield row


def read_hub_rows(
    name: str, split: str, as_split: str | None, rows, audio: str, text: str
) -> Iterator[Utterance | Reject]:
    source = f"{name}:{split}"
    is_prepared = _is_prepared(rows.features or {}, audio, text)
    base = Path(name) if Path(name).is_dir() else None
    features = rows.features or {}
    names = {c: feature.names for c, feature in features.items() if hasattr(feature, "int2str")}
    for number, row in enumerate(rows_of(rows, name)):
        for column, labels in names.items():  # a class label is stored as a number
            row[column] = labels[row[column]] if row[column] is not None and row[column] >= 0 else None
        try:
            id = f"{split}-{number:06d}"
            utterance = _read_row(Row(source, number, row), id, as_split, base, audio, text)
            yield _as_it_was(utterance, row) if is_prepared else utterance
        except BadItem as error:
            yield Reject(source, number, error.problem)


def _read_row(row: Row, id: str, split: str | None, base: Path | None, audio: str, text: str) -> Utterance:
    cleaned, values = row.spoken(text), row.values
    language = next((str(values[c]) for c in LANGUAGE_COLUMNS if isinstance(values.get(c), str)), None)
    speaker = next((str(values[c]) for c in SPEAKER_COLUMNS if isinstance(values.get(c), str | int)), None)
    # a language that Whisper does not know is not an error: the row is trained with --language
    rest = {c: value for c, value in values.items() if c not in (audio, text, "audio", "text", "path")}
    return row.utterance(
        id=id,
        audio=_row_audio(values[audio], base),
        text=cleaned,
        language=whisper_language(language) if language else None,
        speaker=speaker,
        group=str(values["group"]) if isinstance(values.get("group"), str | int) else None,
        split=split,
        extra=read_extras(rest, taken=SPEAKER_COLUMNS),
    )


def _is_prepared(features: Mapping, audio: str, text: str) -> bool:
    """Check whether the columns are those of a prepared dataset, with the same types."""
    types = {column: getattr(feature, "dtype", None) for column, feature in features.items()}
    return (audio, text) == ("audio", "text") and _PREPARED_TYPES.items() <= types.items()


def _as_it_was(utterance: Utterance, row: Mapping[str, object]) -> Utterance:
    """Return the utterance of a row of a prepared dataset, with the id of the row.

    The source of the row is kept in another column.
    """
    id = row["id"]
    if not isinstance(id, str) or not id.strip() or not is_utf8(id):
        raise BadItem("unusable id", f"found {shown(id)}, expected text")
    duration = row["duration"]
    extra = {name: value for name, value in utterance.extra.items() if name not in _READ_ANEW}
    for name in ("start", "end"):  # the clip is already cut; `source` is kept in `original_source`
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
    """Return the audio of a row as bytes, or as the path of a file.

    Args:
        value: Value of the audio column.
        base: The dataset's folder, for relative paths. None for a dataset of the Hub.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and "://" in value:
        return _fetch(value)
    if isinstance(value, str) and value:
        return _cached_file(value) if base is None else _local_file(value, base)
    raise BadItem("no audio", f"found {shown(value)}, expected bytes or a path")


def _local_file(written: str, base: Path) -> Path:
    """Return the path of a file of a local dataset. As in manifests, absolute paths are allowed."""
    if Path(written).is_absolute():
        return Path(written)
    plain = plain_name(written)
    if plain is None:
        raise BadItem("path outside the dataset", f"{shown(written)}, expected a path below {base}")
    return base / plain


def _cached_file(written: str) -> Path:
    """Return a file that `datasets` has downloaded or unpacked.

    A row of a Hub dataset may not name any other local file.
    """
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
    raise BadItem("path outside the dataset", f"{shown(written)}, expected audio that is part of it")


def _fetch(address: str) -> bytes:
    """Fetch a file that a stream names, such as `hf://datasets/…` or `zip://a.wav::hf://datasets/…`."""
    import fsspec

    if not address.rsplit("::", maxsplit=1)[-1].startswith(_REMOTE):
        raise BadItem("no audio", f"found the address {shown(address)}, expected one of {', '.join(_REMOTE)}")
    try:
        with fsspec.open(address, "rb") as file:
            data = file.read(MOST_MEMBER_BYTES + 1)
    except Exception as error:  # each file system raises its own errors
        raise BadItem("not fetched", f"{shown(address)} {describe_audio(error)}") from None
    if len(data) > MOST_MEMBER_BYTES:
        raise BadItem("too large", f"{shown(address)} has over {MOST_MEMBER_BYTES} bytes")
    return data

"""The prepared dataset: split so that no sentence is in two splits, written as one folder, loaded again."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import write_json
from utils.recordings import Clip
from utils.text import normalize_text
from utils.utterances import SPLITS, Reject, Scalar, Utterance, printable

if TYPE_CHECKING:
    from datasets import Dataset, Features

LABEL_LIMIT = 448
"""Tokens of a label, `max_target_positions` of every Whisper."""

LABEL_FRAME = 4
"""Label tokens besides the text: language, task, no timestamps, end. The shift adds the start token."""

WRITE_BATCH = 200  # rows held before they go to disk; at most 30 s of FLAC each, so some 100 MB

NUMBERS_FILE = "data_report.json"
REJECTS_FILE = "rejects.jsonl"
ARGUMENTS_FILE = "preprocess.yaml"


@dataclass(frozen=True)
class SplitReport:
    """What one split holds. Durations in seconds."""

    utterances: int
    hours: float
    mean_duration: float
    longest: float
    distinct_texts: int


@dataclass(frozen=True)
class DataReport:
    """What became of everything that was seen; `seen == kept + rejected`."""

    seen: int
    kept: int
    rejected: int
    hours: float
    splits: dict[str, SplitReport]
    reasons: dict[str, int]
    """Rejects by kind, the commonest first."""
    shared_texts: int
    """Normalised texts that are in more than one split, because the source split them so."""
    leaked_utterances: int
    """Utterances of validation and test whose normalised text is in train."""
    credit: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


# ---- splitting ---------------------------------------------------------------------------------------------


def split_utterances(
    texts: Sequence[str],
    given: Sequence[str | None],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
) -> list[str]:
    """Give every utterance a split; splits the source lacks are cut off train, whole sentences at a time.

    Args:
        texts: One text an utterance. Texts equal after normalisation go to the same split.
        given: Split each utterance already has, or None. None counts as train.
        validation_share: Share of train that becomes validation, if no utterance was given to it.
        test_share: The same for test.
        seed: Decides which sentences go where; their order does not.

    Returns:
        `train`, `validation` or `test` for each utterance. Splits that were given are kept as they are.
    """
    splits = [split or "train" for split in given]
    shares = {"test": test_share, "validation": validation_share}
    lacking = {name: share for name, share in shares.items() if name not in splits and share > 0}
    members: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        if splits[index] == "train":
            members.setdefault(sentence_key(text), []).append(index)
    sizes = {key: len(indices) for key, indices in members.items()}
    for key, split in _assign_sentences(sizes, lacking, seed).items():
        for index in members[key]:
            splits[index] = split
    return splits


def sentence_key(text: str) -> str:
    """Equal for texts that count as one sentence; a text without words stands for itself."""
    return normalize_text(text) or text


def _assign_sentences(sizes: Mapping[str, int], lacking: Mapping[str, float], seed: int) -> dict[str, str]:
    """Draw sentences for the lacking splits until each has its share; train keeps at least one sentence.

    The draw orders sentences by a hash of seed and text, so that no change of Python's generators moves it.
    """
    order = sorted(sizes, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest())
    total, assigned = sum(sizes.values()), dict[str, str]()
    room = {split: max(1, round(share * total)) for split, share in lacking.items()}
    filled = dict.fromkeys(room, 0)
    for key in order:
        split = next((s for s in room if filled[s] + sizes[key] <= room[s]), None)
        still_empty = sum(1 for s in room if s != split and not filled[s])
        # one sentence stays for train and for each split that has none yet
        if split is not None and len(sizes) - len(assigned) - 1 >= 1 + still_empty:
            assigned[key] = split
            filled[split] += sizes[key]
    for split in (s for s in room if not filled[s]):  # what is left is larger than its share, or scarce
        free = [key for key in order if key not in assigned]
        if len(free) > 1:
            assigned[min(free, key=sizes.__getitem__)] = split
    return assigned


def count_shared_texts(texts: Sequence[str], splits: Sequence[str]) -> tuple[int, int]:
    """Normalised texts that are in several splits, and utterances outside train whose text is in train."""
    where: dict[str, set[str]] = {}
    keys = [sentence_key(text) for text in texts]
    for key, split in zip(keys, splits, strict=True):
        where.setdefault(key, set()).add(split)
    leaked = sum(split != "train" and "train" in where[key] for key, split in zip(keys, splits, strict=True))
    return sum(len(found) > 1 for found in where.values()), leaked


# ---- writing -----------------------------------------------------------------------------------------------


def reject_long_labels(
    items: Iterable[Utterance | Reject], count_tokens: Callable[[str], int]
) -> Iterator[Utterance | Reject]:
    """Pass items through; an utterance whose label would not fit Whisper's decoder becomes a reject."""
    for item in items:
        if isinstance(item, Utterance):
            num_tokens = count_tokens(item.text) + LABEL_FRAME
            if num_tokens > LABEL_LIMIT:
                reason = (
                    f"label too long: {num_tokens} tokens, expected at most {LABEL_LIMIT}; cut the utterance"
                )
                item = Reject(item.source, item.position, reason)
        yield item


def write_prepared(
    folder: Path,
    results: Iterable[tuple[Utterance, Clip] | Reject],
    *,
    language: str,
    extra_types: Mapping[str, type],
    validation_share: float,
    test_share: float,
    seed: int,
    on_item: Callable[[float], None],
    credit: str | None = None,
    notes: tuple[str, ...] = (),
) -> DataReport:
    """Write clips as a `DatasetDict` with `rejects.jsonl` and `data_report.json` beside it.

    Args:
        folder: Exists; best one that takes its name when all is done (`utils.files.folder_written_whole`).
        results: Clips and rejects in the order of the source. Only their texts stay in memory.
        language: Of utterances without their own; `auto` leaves it open.
        extra_types: Type of each further column.
        validation_share: See `split_utterances`.
        test_share: See `split_utterances`.
        seed: See `split_utterances`.
        on_item: Called after each item with its audio seconds, 0 for a reject.
        credit: Kept in the report.
        notes: Kept in the report.

    Raises:
        UserError: Nothing was kept.
    """
    import datasets

    datasets.disable_progress_bars()  # ours is the one bar
    clips_file = folder / ".clips.arrow"
    kept, reasons, used = _write_clips(folder, clips_file, results, language, extra_types, on_item)
    if not kept:
        raise UserError(f"no usable utterance left. {_describe(reasons, folder / REJECTS_FILE)}")
    texts, durations = [text for text, _, _ in kept], [duration for _, duration, _ in kept]
    given = [split for _, _, split in kept]
    splits = split_utterances(
        texts, given, validation_share=validation_share, test_share=test_share, seed=seed
    )
    _save_splits(folder, clips_file, splits, used)
    clips_file.unlink()
    shared, leaked = count_shared_texts(texts, splits)
    rejected = sum(reasons.values())
    report = DataReport(
        seen=len(kept) + rejected,
        kept=len(kept),
        rejected=rejected,
        hours=sum(durations) / 3600,
        splits={name: _report_split(name, texts, durations, splits) for name in SPLITS if name in splits},
        reasons=dict(reasons.most_common()),
        shared_texts=shared,
        leaked_utterances=leaked,
        credit=credit,
        notes=notes,
    )
    write_json(folder / NUMBERS_FILE, as_dict(report))
    return report


def _write_clips(
    folder: Path,
    clips_file: Path,
    results: Iterable[tuple[Utterance, Clip] | Reject],
    language: str,
    extra_types: Mapping[str, type],
    on_item: Callable[[float], None],
) -> tuple[list[tuple[str, float, str | None]], Counter[str], set[str]]:
    """Write every clip to one Arrow file and every reject to `rejects.jsonl`, in the order they come.

    Returns:
        (text, duration, given split) of each clip; the rejects of each kind; the columns that hold a value.
    """
    from datasets.arrow_writer import ArrowWriter

    kept: list[tuple[str, float, str | None]] = []
    reasons: Counter[str] = Counter()
    used: set[str] = set()
    writer = ArrowWriter(features=_features(extra_types), path=str(clips_file), writer_batch_size=WRITE_BATCH)
    with writer, (folder / REJECTS_FILE).open("w", encoding="utf-8") as rejects:
        for result in results:
            if isinstance(result, Reject):
                rejects.write(_reject_line(result))
                reasons[result.kind] += 1
                on_item(0.0)
                continue
            utterance, clip = result
            row = _row(utterance, clip, language, extra_types)
            writer.write(row)
            used.update(column for column, value in row.items() if value is not None)
            kept.append((utterance.text, clip.duration, utterance.split))
            on_item(clip.duration)
        writer.finalize()
    return kept, reasons, used


def _features(extra_types: Mapping[str, type]) -> "Features":
    from datasets import Features, Value

    types = {"id": "string", "audio": "binary", "text": "string", "duration": "float64", "language": "string"}
    types |= {
        "speaker": "string",
        "group": "string",
        "start": "float64",
        "end": "float64",
        "source": "string",
    }
    names: Mapping[type, str] = {str: "string", int: "int64", float: "float64", bool: "bool"}
    types |= {name: names[kind] for name, kind in extra_types.items()}
    return Features({name: Value(dtype) for name, dtype in types.items()})


def _row(
    utterance: Utterance, clip: Clip, language: str, extra_types: Mapping[str, type]
) -> dict[str, Scalar | bytes | None]:
    source = printable(utterance.audio) if isinstance(utterance.audio, Path) else utterance.source
    row: dict[str, Scalar | bytes | None] = {
        "id": utterance.id,
        "audio": clip.flac,
        "text": utterance.text,
        "duration": clip.duration,
        "language": utterance.language or (None if language == "auto" else language),
        "speaker": utterance.speaker,
        "group": utterance.group,
        "start": utterance.start,
        "end": utterance.end,
        "source": source,
    }
    for name, kind in extra_types.items():
        value = utterance.extra.get(name)
        row[name] = None if value is None else kind(value)
    return row


def _reject_line(reject: Reject) -> str:
    record = {"source": reject.source, "position": reject.position, "reason": reject.reason}
    # a name of bytes that are no UTF-8 must not end the run
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", errors="backslashreplace").decode("utf-8")
    return line + "\n"


def _save_splits(folder: Path, clips_file: Path, splits: Sequence[str], used: set[str]) -> None:
    """Cut the one Arrow file into the splits and save them without the columns that are empty throughout."""
    from datasets import Dataset, DatasetDict

    clips = Dataset.from_file(str(clips_file))
    clips = clips.remove_columns([c for c in clips.column_names if c not in used and c != "language"])
    members: dict[str, list[int]] = {name: [] for name in SPLITS}
    for index, split in enumerate(splits):
        members[split].append(index)
    DatasetDict({name: clips.select(indices) for name, indices in members.items() if indices}).save_to_disk(
        str(folder)
    )


def _report_split(
    name: str, texts: Sequence[str], durations: Sequence[float], splits: Sequence[str]
) -> SplitReport:
    indices = [index for index, split in enumerate(splits) if split == name]
    seconds = [durations[index] for index in indices]
    return SplitReport(
        utterances=len(indices),
        hours=sum(seconds) / 3600,
        mean_duration=sum(seconds) / len(seconds),
        longest=max(seconds),
        distinct_texts=len({sentence_key(texts[index]) for index in indices}),
    )


def _describe(reasons: Counter[str], rejects: Path) -> str:
    """The commonest kinds of reject with one example each, read back before the folder goes."""
    examples: dict[str, str] = {}
    with rejects.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            reject = Reject(record["source"], record["position"], record["reason"])
            examples.setdefault(reject.kind, f"{reject.reason} ({reject.source}, {reject.position})")
    shown = "; ".join(f"{count} × {examples[kind]}" for kind, count in reasons.most_common(3))
    return f"Rejected: {shown}." if shown else "The source holds no items."


# ---- loading -----------------------------------------------------------------------------------------------


def load_prepared(folders: list[str], split: str, *, language: str) -> "Dataset":
    """Load one split of one or more prepared datasets; audio stays FLAC bytes, memory-mapped from disk.

    Args:
        folders: Folders written by preprocess.py.
        split: Name of a split.
        language: Fills rows that do not carry their own; `auto` leaves None there.

    Raises:
        UserError: A folder is missing, was not prepared, or has no such split. All are reported at once.
    """
    from datasets import concatenate_datasets

    problems = [problem for folder in folders if (problem := _folder_problem(Path(folder), split))]
    if problems:
        raise UserError("\n       ".join(problems))
    parts = [_load_split(Path(folder) / split) for folder in folders]
    return _fill_language(concatenate_datasets(_with_common_types(parts)), language)


def _folder_problem(folder: Path, split: str) -> str | None:
    if not folder.is_dir():
        return f"{folder}: no such folder. --dataset must name a folder written by preprocess.py."
    if not (folder / "dataset_dict.json").is_file():
        return f"{folder}: not a prepared dataset. Run preprocess.py on the data first."
    if not (folder / split / "state.json").is_file():
        there = sorted(path.parent.name for path in folder.glob("*/state.json"))
        return f"{folder}: no split {split!r}; there are {', '.join(there) or 'none'}."
    state = json.loads((folder / split / "state.json").read_text(encoding="utf-8"))
    if not state.get("_data_files"):  # what `datasets` saves for no rows, and cannot load again
        return f"{folder}: the split {split!r} has no utterance. Give it some when preparing the data."
    return None


def _load_split(folder: Path) -> "Dataset":
    from datasets import load_from_disk

    try:
        part = load_from_disk(str(folder))
    except (OSError, ValueError) as error:  # pyarrow's errors are among these
        raise UserError(f"{folder}: damaged: {error}. Prepare the dataset again.") from error
    lacking = [name for name in ("id", "audio", "text", "duration", "language") if name not in part.features]
    if lacking or part.features["audio"].dtype != "binary":
        what = f"no column {', '.join(lacking)}" if lacking else "audio is no column of FLAC bytes"
        raise UserError(f"{folder}: {what}. --dataset must name a folder written by preprocess.py.")
    return part


def _with_common_types(parts: list["Dataset"]) -> list["Dataset"]:
    """Drop further columns whose type differs between datasets, which cannot stand in one table."""
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
    # in memory: a map would write the whole table again
    return dataset.remove_columns("language").add_column("language", filled, feature=Value("string"))


def as_dict(report: DataReport) -> dict[str, object]:
    """The report as it is written to `data_report.json`."""
    return dataclasses.asdict(report)


def read_report(folder: Path) -> DataReport:
    """Read the `data_report.json` of a prepared dataset."""
    values = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
    splits = {name: SplitReport(**split) for name, split in values.pop("splits").items()}
    return DataReport(splits=splits, notes=tuple(values.pop("notes")), **values)


def draw_rows(rows: "Dataset", limit: int | None, seed: int) -> "Dataset":
    """At most `limit` rows, drawn by the seed and left in their order; all of them where `limit` is None."""
    if limit is None or limit >= len(rows):
        return rows
    import numpy as np

    return rows.select(sorted(np.random.default_rng(seed).permutation(len(rows))[:limit].tolist()))

"""Finished blocks to a prepared dataset: what only shows over all clips, the splits, the files.

Everything is read block by block and written as it comes; only a few numbers of each clip stay in memory.
"""

import dataclasses
import hashlib
import json
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
import pyarrow

from utils.errors import UserError
from utils.files import write_json, write_text
from utils.quality import count_characters, rate_limits, rate_problem
from utils.recordings import SCHEMA
from utils.splits import TEST, TRAIN, VALIDATION, Keys, SplitResult, assign_splits, count_shared, text_key
from utils.statistics import DatasetStatistics
from utils.text import normalize_text
from utils.utterances import SPLITS, Reject

if TYPE_CHECKING:
    from datasets import Features
    from datasets.arrow_writer import ArrowWriter

NUMBERS_FILE = "data_report.json"
REJECTS_FILE = "rejects.jsonl"
ARGUMENTS_FILE = "preprocess.yaml"

OWN_COLUMNS = tuple(SCHEMA.names[:-1])  # all but `extra`, which holds the columns of the source
WRITE_BATCH = 100  # rows held before they go to disk; at most 30 s of FLAC each, so some 50 MB
MOST_EXAMPLES = 5  # of each kind of reject, in the report
FILE_BYTES = 400 << 20  # of audio in one Arrow file of a split

TYPES: Mapping[str, tuple[str, type]] = {
    "str": ("string", str),
    "int": ("int64", int),
    "float": ("float64", float),
    "bool": ("bool", bool),
}


@dataclass(frozen=True)
class SplitSettings:
    """What decides the splits."""

    validation_share: float
    test_share: float
    seed: int
    as_original: bool = False
    rules: frozenset[str] = frozenset()  # of utils.quality


@dataclass(frozen=True)
class SplitReport:
    """What one split holds. Durations in seconds."""

    utterances: int
    hours: float
    mean_duration: float
    longest: float
    distinct_texts: int
    speakers: int


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
    split_by: str | None
    """What the splits that were cut off keep apart: speaker, recording or text; None: all were given."""
    shared_speakers: int
    """Speakers in more than one split."""
    shared_recordings: int
    shared_texts: int
    leaked_utterances: int
    """Utterances of validation and test whose normalised text is in train."""
    statistics: dict
    credit: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass
class Catalogue:
    """What is known of every clip in the blocks, in their order; numbers in place of names."""

    texts: array = field(default_factory=lambda: array("q"))  # text_key
    contents: array = field(default_factory=lambda: array("q"))  # hash of the samples
    durations: array = field(default_factory=lambda: array("f"))
    num_characters: array = field(default_factory=lambda: array("i"))
    languages: array = field(default_factory=lambda: array("h"))
    language_numbers: dict[str, int] = field(default_factory=dict)
    speakers: array = field(default_factory=lambda: array("q"))
    recordings: array = field(default_factory=lambda: array("q"))
    given: array = field(default_factory=lambda: array("b"))
    columns: dict[str, set[str]] = field(default_factory=dict)


def assemble(
    folder: Path,
    blocks: Sequence[Path],
    settings: SplitSettings,
    *,
    credit: str | None = None,
    notes: Sequence[str] = (),
) -> tuple[DataReport, list[dict]]:
    """Write finished blocks as a `DatasetDict` with `rejects.jsonl` and `data_report.json` beside it.

    Args:
        folder: Exists; best one that takes its name when all is done (`utils.files.folder_written_whole`).
        blocks: The index files of the blocks in their order.
        settings: What decides the splits.
        credit: Kept in the report.
        notes: Kept in the report.

    Returns:
        The report, and the rejects that kept their audio, to be listened to.

    Raises:
        UserError: Nothing was kept.
    """
    catalogue = read_catalogue(blocks, settings.seed)
    late, result = decide(catalogue, blocks, settings)
    if len(late) == len(catalogue.texts):
        raise UserError(f"no usable utterance left. {_describe(blocks, late)}")
    fates = np.asarray(result.splits).copy()
    fates[list(late)] = -1
    outcome = _write(folder, blocks, catalogue.columns, fates, late)
    report = _report(catalogue, fates, outcome, result, credit, [*notes, *result.notes])
    write_json(folder / NUMBERS_FILE, dataclasses.asdict(report))
    return report, outcome.examples


# ---- what is there -----------------------------------------------------------------------------------------


def read_index(block: Path) -> dict:
    """The index of one block."""
    return json.loads(block.read_text(encoding="utf-8"))


def read_catalogue(blocks: Sequence[Path], seed: int) -> Catalogue:
    """Read the indexes of all blocks into compact arrays."""
    catalogue = Catalogue()
    numbers: dict[str, dict[str, int]] = {"speaker": {}, "recording": {}}
    for block in blocks:
        index = read_index(block)
        for entry in index["kept"]:
            # Whisper's own normaliser would make one text of मेरा and मेरी
            key = normalize_text(entry["text"], "script-safe") or entry["text"]
            catalogue.texts.append(text_key(key, seed))
            catalogue.contents.append(int(entry["content"][:16], 16) >> 1)
            catalogue.durations.append(entry["duration"])
            catalogue.num_characters.append(count_characters(entry["text"]))
            catalogue.languages.append(_number(catalogue.language_numbers, entry["language"]))
            catalogue.speakers.append(_number(numbers["speaker"], entry["speaker"]))
            catalogue.recordings.append(_number(numbers["recording"], entry["recording"]))
            catalogue.given.append(-1 if entry["split"] is None else SPLITS.index(entry["split"]))
            for column, kind in entry["columns"].items():
                catalogue.columns.setdefault(column, set()).add(kind)
    return catalogue


def _number(known: dict[str, int], name: str | None) -> int:
    return -1 if name is None else known.setdefault(name, len(known))


# ---- what only shows over all clips ------------------------------------------------------------------------


def decide(
    catalogue: Catalogue, blocks: Sequence[Path], settings: SplitSettings
) -> tuple[dict[int, str], SplitResult]:
    """Which clips are left out after all, and why; and the split of every clip."""
    late = _screened(blocks)
    if "speech_rate" in settings.rules:
        late |= _unlikely_rates(catalogue, blocks)
    if "duplicate" in settings.rules and not settings.as_original:
        late = _duplicates(catalogue, late) | late
    keys = Keys(
        *(np.asarray(values) for values in (catalogue.speakers, catalogue.recordings, catalogue.texts))
    )
    there = np.setdiff1d(np.arange(len(catalogue.texts)), np.fromiter(late, np.int64, len(late)))
    result = assign_splits(
        Keys(keys.speaker[there], keys.recording[there], keys.text[there]),
        np.asarray(catalogue.given, dtype=np.int8)[there],
        validation_share=settings.validation_share,
        test_share=settings.test_share,
        as_original=settings.as_original,
    )
    late |= {int(there[index]): reason for index, reason in result.leaks.items()}
    splits = np.full(len(catalogue.texts), TRAIN, dtype=np.int8)
    splits[there] = result.splits
    return late, dataclasses.replace(result, splits=splits)


def _screened(blocks: Sequence[Path]) -> dict[int, str]:
    """What a model found wrong (utils.screening); its findings stand beside the blocks."""
    late: dict[int, str] = {}
    first = 0
    for block in blocks:
        found = block.with_suffix(".screened")
        if found.is_file():
            late |= {first + int(row): reason for row, reason in read_index(found)["problems"].items()}
        first += len(read_index(block)["kept"])
    return late


def _unlikely_rates(catalogue: Catalogue, blocks: Sequence[Path]) -> dict[int, str]:
    """Clips in which far more or less is written than can be said in their time, each language on its own."""
    characters, seconds = np.asarray(catalogue.num_characters), np.asarray(catalogue.durations)
    languages = np.asarray(catalogue.languages)
    limits = {
        number: rate_limits(characters[languages == number], seconds[languages == number])
        for number in np.unique(languages).tolist()
    }
    late, number = {}, 0
    for block in blocks:
        for entry in read_index(block)["kept"]:
            problem = rate_problem(entry["text"], entry["duration"], limits[catalogue.languages[number]])
            if problem:
                late[number] = problem
            number += 1
    return late


def _duplicates(catalogue: Catalogue, late: Mapping[int, str]) -> dict[int, str]:
    """Clips with the very samples of another; the one of the later split stays, or the first."""
    contents, given = np.asarray(catalogue.contents), np.asarray(catalogue.given)
    there = np.setdiff1d(np.arange(len(contents)), np.fromiter(late, np.int64, len(late)))
    rank = np.where(given[there] == TEST, 0, np.where(given[there] == VALIDATION, 1, 2))
    order = there[np.lexsort((there, rank, contents[there]))]
    same = np.flatnonzero(contents[order][1:] == contents[order][:-1]) + 1
    return {int(order[place]): "duplicate: the same samples as another clip" for place in same}


# ---- writing -----------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What is counted while the clips are copied to their splits."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict] = field(default_factory=list)
    statistics: DatasetStatistics = field(default_factory=DatasetStatistics)

    def reject(self, file: TextIO, entry: dict) -> None:
        """Write a line of `rejects.jsonl`; the first of each kind are kept as examples."""
        reject = Reject(entry["source"], entry["position"], entry["reason"])
        record = {"source": reject.source, "position": reject.position, "reason": reject.reason}
        # a name of bytes that are no UTF-8 must not end the run
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", errors="backslashreplace")
        file.write(line.decode("utf-8") + "\n")
        self.reasons[reject.kind] += 1
        if self.reasons[reject.kind] <= MOST_EXAMPLES:
            self.examples.append({"kind": reject.kind, **entry})

    def keep(self, entry: dict, row: dict, split: str) -> None:
        """Count a clip that goes to `split`."""
        known = {name: row[name] for name in ("text", "duration", "language", "speaker", "group")}
        self.statistics.add(**known, num_tokens=entry["num_tokens"], split=split)


def _write(
    folder: Path,
    blocks: Sequence[Path],
    columns: Mapping[str, set[str]],
    fates: np.ndarray,
    late: Mapping[int, str],
) -> Outcome:
    """Copy the clips into their splits and every reject, early or late, into `rejects.jsonl`."""
    features, outcome, number = dataset_features(columns), Outcome(), 0
    names = [split for split in (TRAIN, VALIDATION, TEST) if (fates == split).any()]
    fingerprint = hashlib.sha256(
        fates.tobytes() + "".join(block.stem for block in blocks).encode()
    ).hexdigest()
    writers = {split: SplitWriter(folder / SPLITS[split], features, fingerprint[:15]) for split in names}
    with (folder / REJECTS_FILE).open("w", encoding="utf-8") as rejects:
        for block in blocks:
            for entry, row in in_order(block):
                if row is None:
                    outcome.reject(rejects, entry)
                    continue
                if number in late:
                    told = {"reason": late[number], "flac": row["audio"], "text": row["text"]}
                    outcome.reject(rejects, entry | told)
                else:
                    split = int(fates[number])
                    outcome.keep(entry, row, SPLITS[split])
                    writers[split].write(row)
                number += 1
    for writer in writers.values():
        writer.close()
    write_text(folder / "dataset_dict.json", json.dumps({"splits": [SPLITS[split] for split in names]}))
    return outcome


def in_order(block: Path) -> Iterator[tuple[dict, dict | None]]:
    """What a block holds as its items came: the index entry with the clip's row, or a reject with None."""
    index = read_index(block)
    rejected = deque(index["rejected"])
    for place, row in enumerate(read_rows(block)):
        while rejected and rejected[0]["before"] <= place:
            yield rejected.popleft(), None
        yield index["kept"][place], row
    for entry in rejected:
        yield entry, None


def read_rows(block: Path) -> Iterator[dict]:
    """The clips of one block, one at a time."""
    with pyarrow.OSFile(str(block.with_suffix(".arrow")), "rb") as file:
        for batch in pyarrow.ipc.open_stream(file):
            yield from batch.to_pylist()


def dataset_features(columns: Mapping[str, set[str]]) -> "Features":
    """Columns of the prepared dataset: ours that hold a value, and the source's own by their types.

    Args:
        columns: For each column the types its values have; int and float give float, other mixtures text.
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
        types[name] = Value(TYPES[kind][0])
    return Features(types)


class SplitWriter:
    """Writes rows of one split as `Dataset.save_to_disk` would, without ever holding more than a batch."""

    def __init__(self, folder: Path, features: "Features", fingerprint: str) -> None:
        self._folder, self._features, self._fingerprint = folder, features, fingerprint
        self._rows: list[dict] = []
        self._files: list[Path] = []
        self._writer: ArrowWriter | None = None
        self._bytes = 0
        self._casts = {
            name: next(cast for dtype, cast in TYPES.values() if dtype == feature.dtype)
            for name, feature in features.items()
            if name not in OWN_COLUMNS  # else ours, which have their types already
        }
        folder.mkdir()

    def write(self, row: dict) -> None:
        """Add a row of a block."""
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
        """Write the last rows and the files that tell `datasets` what is there."""
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


def kept_rows(folder: Path, most: int) -> list[dict]:
    """Rows of train spread over the whole split, to be looked at."""
    import itertools

    from utils.delivery import read_split

    state_file = folder / SPLITS[TRAIN] / "state.json"
    if not state_file.is_file():
        return []
    numbers = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
    stride = max(1, numbers["splits"][SPLITS[TRAIN]]["utterances"] // most)
    return list(itertools.islice(read_split(folder / SPLITS[TRAIN]), 0, stride * most, stride))


# ---- the report --------------------------------------------------------------------------------------------


def _report(
    catalogue: Catalogue,
    fates: np.ndarray,
    outcome: Outcome,
    result: SplitResult,
    credit: str | None,
    notes: Sequence[str],
) -> DataReport:
    kept = np.flatnonzero(fates >= 0)
    texts, durations = np.asarray(catalogue.texts)[kept], np.asarray(catalogue.durations, dtype=float)[kept]
    speakers, splits = np.asarray(catalogue.speakers)[kept], fates[kept]
    shared = count_shared(Keys(speakers, np.asarray(catalogue.recordings)[kept], texts), splits)
    in_train = np.isin(texts, texts[splits == TRAIN])
    return DataReport(
        seen=len(kept) + outcome.reasons.total(),
        kept=len(kept),
        rejected=outcome.reasons.total(),
        hours=float(durations.sum()) / 3600,
        splits={
            SPLITS[split]: _report_split(texts, durations, speakers, splits == split)
            for split in (TRAIN, VALIDATION, TEST)
            if (splits == split).any()
        },
        reasons=dict(outcome.reasons.most_common()),
        split_by=result.split_by,
        shared_speakers=shared["speaker"],
        shared_recordings=shared["recording"],
        shared_texts=shared["text"],
        leaked_utterances=int((in_train & (splits != TRAIN)).sum()),
        statistics=outcome.statistics.as_dict(),
        credit=credit,
        notes=tuple(notes),
    )


def _report_split(
    texts: np.ndarray, durations: np.ndarray, speakers: np.ndarray, here: np.ndarray
) -> SplitReport:
    seconds = durations[here]
    return SplitReport(
        utterances=len(seconds),
        hours=float(seconds.sum()) / 3600,
        mean_duration=float(seconds.mean()),
        longest=float(seconds.max()),
        distinct_texts=len(np.unique(texts[here])),
        speakers=len(np.unique(speakers[here & (speakers >= 0)])),
    )


def _describe(blocks: Sequence[Path], late: Mapping[int, str]) -> str:
    """The commonest kinds of reject with one example each, for when nothing else is left."""
    from utils.utterances import commonest_reasons

    rejects, number = [], 0
    for block in blocks:
        index = read_index(block)
        rejects += [
            Reject(entry["source"], entry["position"], entry["reason"]) for entry in index["rejected"]
        ]
        for entry in index["kept"]:
            rejects.append(Reject(entry["source"], entry["position"], late[number]))
            number += 1
    return commonest_reasons(rejects)

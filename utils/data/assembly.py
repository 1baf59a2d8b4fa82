"""Finished blocks to a prepared dataset: what only shows over all clips, the splits, the files.

Everything is read block by block and written as it comes; only a few numbers of each clip stay in memory.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from utils.data.catalogue import (
    NUMBERS_FILE,
    REJECTS_FILE,
    Catalogue,
    SplitSettings,
    decide,
    read_catalogue,
    read_index,
)
from utils.data.clips.records import problem_of
from utils.data.dataset_statistics import DatasetStatistics
from utils.data.grouping import TEST, TRAIN, VALIDATION, Keys
from utils.data.leaks import count_shared
from utils.data.split_names import SPLITS
from utils.data.splits import SplitResult
from utils.data.utterance import Reject
from utils.data.writing import SplitWriter, dataset_features, in_order
from utils.runtime.errors import UserError
from utils.runtime.files import write_json, write_text
from utils.runtime.problems import Problem

MOST_EXAMPLES = 5  # of each kind of reject, in the report


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
        folder: Exists; best one that takes its name when all is done (`folder_written_whole`).
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


@dataclass
class Outcome:
    """What is counted while the clips are copied to their splits."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict] = field(default_factory=list)
    statistics: DatasetStatistics = field(default_factory=DatasetStatistics)

    def reject(self, file: TextIO, entry: dict) -> None:
        """Write a line of `rejects.jsonl`; the first of each kind are kept as examples."""
        kind = entry["kind"]
        record = {name: entry[name] for name in ("source", "position", "reason")}
        # a name of bytes that are no UTF-8 must not end the run
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", errors="backslashreplace")
        file.write(line.decode("utf-8") + "\n")
        self.reasons[kind] += 1
        if self.reasons[kind] <= MOST_EXAMPLES:
            self.examples.append(entry)

    def keep(self, entry: dict, row: dict, split: str) -> None:
        """Count a clip that goes to `split`."""
        known = {name: row[name] for name in ("text", "duration", "language", "speaker", "group")}
        self.statistics.add(**known, num_tokens=entry["num_tokens"], split=split)


def _write(
    folder: Path,
    blocks: Sequence[Path],
    columns: Mapping[str, set[str]],
    fates: np.ndarray,
    late: Mapping[int, Problem],
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
                    told = {"kind": late[number].kind, "reason": str(late[number])}
                    outcome.reject(rejects, entry | told | {"flac": row["audio"], "text": row["text"]})
                else:
                    split = int(fates[number])
                    outcome.keep(entry, row, SPLITS[split])
                    writers[split].write(row)
                number += 1
    for writer in writers.values():
        writer.close()
    write_text(folder / "dataset_dict.json", json.dumps({"splits": [SPLITS[split] for split in names]}))
    return outcome


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


def _describe(blocks: Sequence[Path], late: Mapping[int, Problem]) -> str:
    """The commonest kinds of reject with one example each, for when nothing else is left."""
    from utils.data.utterance import commonest_reasons

    rejects, number = [], 0
    for block in blocks:
        index = read_index(block)
        rejects += [
            Reject(entry["source"], entry["position"], problem_of(entry)) for entry in index["rejected"]
        ]
        for entry in index["kept"]:
            rejects.append(Reject(entry["source"], entry["position"], late[number]))
            number += 1
    return commonest_reasons(rejects)

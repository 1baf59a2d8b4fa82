"""Joins finished blocks to a prepared dataset with splits, rejects and the report.

Clips are copied one at a time. Only a few numbers of each clip stay in memory.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from utils.data.clips.block_files import Rejected, read_items
from utils.data.data_report import DataReport, Speakers, SplitReport, write_data_report
from utils.data.dataset_statistics import StatisticsCounter
from utils.data.grouping import TEST, TRAIN, VALIDATION, Keys, count_shared
from utils.data.selection import ClipFacts, SplitResult, SplitSettings, read_facts, select_clips
from utils.data.split_names import SPLITS
from utils.data.split_writing import SplitWriter, dataset_features
from utils.data.utterance import Reject, Source, commonest_reasons
from utils.runtime.errors import UserError
from utils.runtime.files import write_text
from utils.runtime.messages import counted
from utils.runtime.problems import Problem

REJECTS_FILE = "rejects.jsonl"

LEFT_OUT = -1  # instead of a split

MOST_EXAMPLES = 5  # of each kind of reject in the report


def build_dataset(
    folder: Path,
    blocks: Sequence[Path],
    settings: SplitSettings,
    source: Source | None = None,
) -> tuple[DataReport, list[Rejected]]:
    """Write finished blocks as a `DatasetDict`, with `rejects.jsonl` and `data_report.json` in its folder.

    Args:
        folder: A folder that exists, usually a temporary one (`folder_written_whole`).
        blocks: The index files of the blocks, in order.
        settings: The settings that decide the splits.
        source: It gives credit and notes for the report, and the rule by which speakers were found.

    Returns:
        The report, and the first rejects of each kind, for users to listen to.

    Raises:
        UserError: No utterance was kept.
    """
    facts = read_facts(blocks, settings.seed)
    late, result = select_clips(facts, settings)
    if len(late) == len(facts.texts):
        raise UserError(f"no usable utterance left. {commonest_reasons(_all_rejects(blocks, late))}")
    result.splits[list(late)] = LEFT_OUT
    outcome = _write(folder, blocks, facts.columns, result.splits, late)
    report = _report(facts, outcome, result, source or Source(()))
    write_data_report(folder, report)
    return report, outcome.examples


@dataclass
class Outcome:
    """What is counted while clips are copied to their splits."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Rejected] = field(default_factory=list)
    statistics: StatisticsCounter = field(default_factory=StatisticsCounter)

    def reject(self, file: TextIO, item: Rejected) -> None:
        """Write a line of `rejects.jsonl`. Keep the first items of each kind as examples."""
        reject = item.reject
        record = {"source": reject.source, "position": reject.position, "reason": str(reject.problem)}
        # a file name that is not UTF-8 must not end the run
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", errors="backslashreplace")
        file.write(line.decode("utf-8") + "\n")
        self.reasons[reject.problem.kind] += 1
        if self.reasons[reject.problem.kind] <= MOST_EXAMPLES:
            self.examples.append(item)


def _write(
    folder: Path,
    blocks: Sequence[Path],
    columns: Mapping[str, set[str]],
    splits: np.ndarray,
    late: Mapping[int, Problem],
) -> Outcome:
    """Copy the clips to their splits.

    Write all rejects to `rejects.jsonl`, those of the blocks and those found here.
    """
    features, outcome, numbers = dataset_features(columns), Outcome(), itertools.count()
    names = [split for split in (TRAIN, VALIDATION, TEST) if (splits == split).any()]
    fingerprint = hashlib.sha256(
        splits.tobytes() + "".join(block.stem for block in blocks).encode()
    ).hexdigest()
    writers = {split: SplitWriter(folder / SPLITS[split], features, fingerprint[:15]) for split in names}
    with (folder / REJECTS_FILE).open("w", encoding="utf-8") as rejects:
        for item in itertools.chain.from_iterable(map(read_items, blocks)):
            if isinstance(item, Rejected):
                outcome.reject(rejects, item)
                continue
            clip, row = item
            number = next(numbers)
            if number in late:
                reject = Reject(clip.source, clip.position, late[number])
                outcome.reject(rejects, Rejected(reject, row["audio"], row["text"]))
            else:
                split = int(splits[number])
                known = {name: row[name] for name in ("text", "duration", "language", "speaker", "group")}
                outcome.statistics.add(**known, num_tokens=clip.num_tokens, split=SPLITS[split])
                writers[split].write(row)
    for writer in writers.values():
        writer.close()
    write_text(folder / "dataset_dict.json", json.dumps({"splits": [SPLITS[split] for split in names]}))
    return outcome


def _report(facts: ClipFacts, outcome: Outcome, result: SplitResult, source: Source) -> DataReport:
    statistics = outcome.statistics.describe()
    rule = source.speaker_rule
    speaker_notes = [] if rule is None else [_speaker_note(rule, statistics.speakers)]
    kept = np.flatnonzero(result.splits != LEFT_OUT)
    keys, splits = facts.keys().of(kept), result.splits[kept]
    durations = np.asarray(facts.durations, dtype=float)[kept]
    in_train = np.isin(keys.text, keys.text[splits == TRAIN])
    return DataReport(
        seen=len(kept) + outcome.reasons.total(),
        kept=len(kept),
        rejected=outcome.reasons.total(),
        hours=float(durations.sum()) / 3600,
        splits={
            SPLITS[split]: _report_split(keys.of(splits == split), durations[splits == split])
            for split in (TRAIN, VALIDATION, TEST)
            if (splits == split).any()
        },
        reasons=dict(outcome.reasons.most_common()),
        split_by=result.split_by,
        **{f"shared_{level}s": count for level, count in count_shared(keys, splits).items()},
        leaked_utterances=int((in_train & (splits != TRAIN)).sum()),
        statistics=statistics,
        credit=source.credit,
        notes=(*source.notes, *result.notes, *speaker_notes),
    )


def _speaker_note(rule: str, speakers: Speakers) -> str:
    without = f"; {counted(speakers.clips_without, 'clip')} without one" if speakers.clips_without else ""
    return f"Speakers found by --speaker_from {rule}: {speakers.distinct:,}{without}."


def _report_split(keys: Keys, seconds: np.ndarray) -> SplitReport:
    return SplitReport(
        utterances=len(seconds),
        hours=float(seconds.sum()) / 3600,
        mean_duration=float(seconds.mean()),
        longest=float(seconds.max()),
        distinct_texts=len(np.unique(keys.text)),
        speakers=len(np.unique(keys.speaker[keys.speaker >= 0])),
    )


def _all_rejects(blocks: Iterable[Path], late: Mapping[int, Problem]) -> Iterable[Reject]:
    """Yield every item as a reject. Used if no item is kept."""
    numbers = itertools.count()
    for item in itertools.chain.from_iterable(map(read_items, blocks)):
        if isinstance(item, Rejected):
            yield item.reject
        else:
            yield Reject(item[0].source, item[0].position, late[next(numbers)])

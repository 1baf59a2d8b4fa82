"""Load the data to evaluate on: splits of prepared datasets, and whole recordings, with their audio."""

import bisect
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from datasets import Dataset

from utils.data.prepared_dataset import describe_own_languages, draw_rows, load_prepared
from utils.evaluation.evaluation_set import EvaluationSet
from utils.evaluation.recordings import Recording, read_recordings
from utils.runtime.errors import UserError

DURATION_EDGES = (2.0, 5.0, 10.0, 20.0)  # seconds, between the groups by duration

MAX_GROUP_VALUES = 50  # a column with more values names utterances, not groups

GROUP_COLUMNS = ("language", "speaker", "group")

# columns of every prepared dataset; all others come from its source
PREPARED_COLUMNS = frozenset(
    {"id", "audio", "text", "duration", "language", "speaker", "group"}
    | {"start", "end", "source", "previous_text", "segments"}
)


def build_evaluation_set(rows: Dataset, dataset: str, split: str, *, is_guard: bool = False) -> EvaluationSet:
    """Read everything except the audio that scoring needs from a loaded split.

    Raises:
        UserError: An utterance has no reference. An empty reference is allowed: nothing is said there.
    """
    references, durations = list(rows["text"]), list(rows["duration"])
    missing = [row_id for row_id, text in zip(rows["id"], references, strict=True) if text is None]
    if missing:
        raise UserError(
            f"{dataset} ({split}): {len(missing)} of {len(references)} utterances have no reference, first "
            f"{missing[0]!r}. Add a text (empty if nothing is said), or remove them."
        )
    return EvaluationSet(
        dataset=dataset,
        split=split,
        ids=list(rows["id"]),
        references=references,
        durations=durations,
        groups=_read_groups(rows) | _group_by_duration(durations),
        languages=list(rows["language"]),
        speakers=list(rows["speaker"]) if "speaker" in rows.column_names else None,
        recordings=_read_recordings(rows),
        is_guard=is_guard,
    )


def _read_recordings(rows: Dataset) -> list[str | None]:
    """Return the recording of each utterance.

    A file with only one utterance does not count as a recording.
    """
    nothing = [None] * len(rows)
    columns = [
        list(rows[name]) if name in rows.column_names else nothing
        for name in ("recording", "source", "start")
    ]
    return [
        str(recording) if recording is not None else (None if start is None else source)
        for recording, source, start in zip(*columns, strict=True)
    ]


def _group_by_duration(durations: list[float]) -> dict[str, list[str | None]]:
    """Return a column of ranges such as `2 to 5 s`, if there is more than one range."""
    edges = [0.0, *DURATION_EDGES]
    names = [f"{low:g} to {high:g} s" for low, high in itertools.pairwise(edges)] + [f"over {edges[-1]:g} s"]
    found: list[str | None] = [names[bisect.bisect_right(DURATION_EDGES, seconds)] for seconds in durations]
    return {"duration": found} if len(set(found)) > 1 else {}


def _read_groups(rows: Dataset) -> dict[str, list[str | None]]:
    """Read the columns whose values are scored separately: language, speaker, group, and text columns with 2
    to 50 values.
    """
    extras = [
        name
        for name, feature in rows.features.items()
        if name not in PREPARED_COLUMNS and getattr(feature, "dtype", None) in ("string", "large_string")
    ]
    columns = {name: list(rows[name]) for name in (*GROUP_COLUMNS, *extras) if name in rows.column_names}
    return {
        name: values
        for name, values in columns.items()
        if 2 <= len({value for value in values if value is not None}) <= MAX_GROUP_VALUES
    }


def members_by_value(values: list[str | None]) -> dict[str, list[int]]:
    """Return the numbers of the utterances with each known value. The values are in alphabetical order."""
    known = {value for value in values if value is not None}
    members: dict[str, list[int]] = {value: [] for value in sorted(known, key=_natural_order)}
    for number, value in enumerate(values):
        if value is not None:
            members[value].append(number)
    return members


def _natural_order(value: str) -> list[str | int]:
    """Split text and numbers, so that sorting puts `2 to 5 s` before `10 to 20 s`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", value)]


@dataclass(frozen=True)
class Material:
    """One split, or the recordings of one manifest."""

    evaluation_set: EvaluationSet
    rows: Dataset | None  # of a split
    recordings: list[Recording]  # of a manifest

    def contexts(self, wanted: Sequence[str], long_form: str) -> Sequence[str]:
        """Return those of the requested contexts that this data allows.

        Guards and sequential decoding allow only the full context.
        """
        in_one = self.evaluation_set.is_guard or (self.rows is None and long_form == "sequential")
        return ["full"] if in_one else wanted


def load_material(
    datasets: Sequence[str],
    manifests: Sequence[str],
    guards: Sequence[str],
    *,
    split: str,
    language: str,
    long_form: str,
    max_samples: int | None,
    seed: int,
) -> list[Material]:
    """Load the split of every dataset, cut to max_samples, then whole recordings, then guards.

    Raises:
        UserError: A dataset or split is missing or empty, or an utterance has no reference.
    """
    load = partial(_load_split, split=split, max_samples=max_samples, seed=seed)
    return [
        *(load(folder, language=language, is_guard=False) for folder in datasets),
        *(_load_recordings(manifest, language, long_form) for manifest in manifests),
        # a guard is in a language of its own: rows without one are not in the one given for the data
        *(load(folder, language="auto", is_guard=True) for folder in guards),
    ]


def _load_split(
    folder: str, *, split: str, language: str, is_guard: bool, max_samples: int | None, seed: int
) -> Material:
    rows = draw_rows(load_prepared([folder], split, language=language), max_samples, seed)
    return Material(build_evaluation_set(rows, folder, split, is_guard=is_guard), rows, [])


def _load_recordings(manifest: str, language: str, long_form: str) -> Material:
    """Load the recordings of a manifest. Each recording is one unit of scoring."""
    recordings = read_recordings(manifest, language)
    evaluation_set = EvaluationSet(
        dataset=manifest,
        split=f"{long_form} long form",
        ids=[recording.name for recording in recordings],
        references=[recording.text for recording in recordings],
        durations=[recording.duration for recording in recordings],
        groups={},
        languages=[recording.language for recording in recordings],
        speakers=[recording.speaker for recording in recordings],
    )
    return Material(evaluation_set, None, recordings)


def tell_own_languages(material: Sequence[Material], language: str) -> None:
    """Print how many clips have another language than `--language`.

    Guards are left out, because it never applies to them.
    """
    sets = [part.evaluation_set for part in material if not part.evaluation_set.is_guard]
    if others := describe_own_languages([code for one in sets for code in one.languages], language):
        print(others)


def find_clip(material: Sequence[Material], dataset: str, utterance: str) -> bytes | None:
    """Return the FLAC bytes of an utterance.

    None for a whole recording, because it is too long for a page.
    """
    for part in material:
        if part.evaluation_set.dataset == dataset and part.rows is not None:
            return part.rows[part.evaluation_set.ids.index(utterance)]["audio"]
    return None

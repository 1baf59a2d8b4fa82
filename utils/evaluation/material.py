"""What is evaluated: splits of prepared datasets and whole recordings, each with its audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from datasets import Dataset

from utils.data.prepared_dataset import draw_rows, load_prepared
from utils.evaluation.evaluation_set import build_evaluation_set
from utils.evaluation.recordings import Recording, read_recordings
from utils.evaluation.records import EvaluationSet


@dataclass(frozen=True)
class Material:
    """One split, or the recordings of one manifest."""

    evaluation_set: EvaluationSet
    rows: Dataset | None  # of a split
    recordings: list[Recording]  # of a manifest

    def contexts(self, wanted: Sequence[str], long_form: str) -> Sequence[str]:
        """Of the contexts that are wanted, those for this: guards and windows by timestamps have one."""
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
    """The split of every dataset, cut down to max_samples, then whole recordings, then guards.

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
    """Each recording is its own unit of scoring."""
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


def find_clip(material: Sequence[Material], dataset: str, utterance: str) -> bytes | None:
    """FLAC bytes of an utterance; None of a whole recording, which no page has room for."""
    for part in material:
        if part.evaluation_set.dataset == dataset and part.rows is not None:
            return part.rows[part.evaluation_set.ids.index(utterance)]["audio"]
    return None

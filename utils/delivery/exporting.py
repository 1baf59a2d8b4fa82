"""What export.py does before and after an export: checks, data, and the record of a finished export."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from utils.delivery.exports.export_format import ExportSource
from utils.delivery.exports.registry import DELIVERABLES, PIP_NAMES, Deliverable
from utils.delivery.heads import HeadSearch
from utils.delivery.parity.comparing import SourceComparison
from utils.delivery.parity.verdict import RuntimeScores
from utils.delivery.transcript_files import digest_value
from utils.evaluation.evaluation_folder import fingerprint
from utils.runtime.errors import UserError
from utils.runtime.files import write_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RECORD = "export.json"  # marks a finished export

# arguments that do not change an export
FREE_ARGUMENTS = (
    *("output_dir", "space"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_license", "report"),
)

REDUCED = ("int8", "q8", "q5")  # precisions that begin so have weights of fewer than 16 bits


class RefusedExport(Exception):
    """An export does not do what its source does."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(faults)
        self.faults = list(faults)


@dataclass(frozen=True)
class Job:
    """One format to write."""

    name: str
    deliverable: Deliverable
    precision: str
    folder: Path

    @property
    def is_reduced(self) -> bool:
        return self.precision.startswith(REDUCED)

    @property
    def is_the_source(self) -> bool:
        """Check whether the source is measured with the very files that this job writes."""
        return (self.name, self.precision) == ("huggingface", "float32")


@dataclass(frozen=True)
class Export:
    """A format of a model, and what was found out about it."""

    source: ExportSource
    job: Job
    command: str
    comparison: SourceComparison | None  # None: it was switched off, or there is no data
    heads: HeadSearch | None  # None: those of the model were kept
    notes: Sequence[str] = ()
    scores: Sequence[RuntimeScores] = ()
    num_bytes: int = 0

    def written(self, folder: Path) -> "Export":
        """Write the format into a folder and try it in its runtimes."""
        notes = self.job.deliverable.format.write(self.source, folder, self.job.precision)
        runtimes = {} if self.job.is_the_source else self.job.deliverable.runtimes
        scores = [] if self.comparison is None else self.comparison.try_in(runtimes, folder)
        num_bytes = sum(file.stat().st_size for file in folder.rglob("*"))
        return replace(self, notes=notes, scores=scores, num_bytes=num_bytes)

    def find_faults(self) -> list[str]:
        """Return how the export differs from the source by more than the tolerances."""
        if self.comparison is None:
            return []
        rough = self.job.deliverable.rough_times
        faults = self.comparison.find_faults(self.scores, reduced=self.job.is_reduced, rough_times=rough)
        return [f"{self.job.name}, {fault}" for fault in faults]

    @property
    def source_bytes(self) -> int:
        return 4 * self.source.loaded.total_parameters

    @property
    def known_language(self) -> str | None:
        """Return the language of the comparison, or else of the training, if one is known."""
        spoken = [sound.language for sound in self.comparison.trial.sounds] if self.comparison else []
        trained = self.source.arguments.get("language")
        return next((code for code in [*spoken, trained] if code not in (None, "", "auto")), None)

    @property
    def language(self) -> str:
        """Return a language for examples of use."""
        return self.known_language or "en"


@dataclass(frozen=True)
class ComparisonData:
    """Prepared datasets on which a model and its exports are compared."""

    datasets: list[str]
    language: str  # of rows without their own


def plan_jobs(names: Sequence[str], precision: str | None, output_dir: Path, *, parity: bool) -> list[Job]:
    """Return the jobs with their folders: the output folder for one format, a subfolder of it for each of
    several.

    Raises:
        UserError: A library is missing, a format lacks the precision, or a folder holds something else. All
            problems are reported together.
    """
    jobs = []
    problems = _missing_packages(names, parity)
    for name in names:
        deliverable = DELIVERABLES[name]
        known = deliverable.format.precisions
        if precision is not None and precision not in known:
            problems.append(f"precision {precision}: {name} has {', '.join(known)}.")
        folder = output_dir / name if len(names) > 1 else output_dir
        problems += _foreign(folder)
        jobs.append(Job(name, deliverable, precision or known[0], folder))
    if problems:
        raise UserError("\n       ".join(problems))
    return jobs


def _missing_packages(names: Sequence[str], parity: bool) -> list[str]:
    needed = {package for name in names for package in DELIVERABLES[name].format.packages}
    if parity:
        needed |= {package for name in names for package in DELIVERABLES[name].packages}
    missing = sorted(package for package in needed if importlib.util.find_spec(package) is None)
    if not missing:
        return []
    line = " ".join(PIP_NAMES.get(package, package) for package in missing)
    return [f"{line}: not installed. Run: pip install {line} (tested versions: requirements-export.txt)"]


def _foreign(folder: Path) -> list[str]:
    """Return a sentence if something other than an export would be replaced."""
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if is_free or (folder / RECORD).is_file():
        return []
    return [
        f"{folder}: holds something other than an export. Choose another --output_dir, or delete the folder."
    ]


def check_source(jobs: Sequence[Job], source: ExportSource) -> None:
    """Check that the formats can hold the model.

    Raises:
        UserError: Some cannot. All problems are reported together.
    """
    problems = [
        f"{job.name}: {problem}"
        for job in jobs
        for problem in job.deliverable.format.find_problems(source, job.precision)
    ]
    if problems:
        raise UserError("\n       ".join(problems))


def find_data(source: ExportSource, datasets: Sequence[str], language: str) -> ComparisonData | None:
    """Return the given datasets, or those of the model's training if they still exist; None if there are
    none.
    """
    known = [name for name in source.arguments.get("dataset", []) if Path(name).exists()]
    if language == "auto":
        language = source.arguments.get("language", "auto")
    return ComparisonData([*datasets] or known, language) if datasets or known else None


def describe_request(arguments: "DataclassInstance", job: Job, model: str) -> str:
    """Return a digest of everything that changes an export."""
    values = {name: value for name, value in asdict(arguments).items() if name not in FREE_ARGUMENTS}
    values |= {"format": job.name, "precision": job.precision}
    return digest_value([values, fingerprint(Path(model).expanduser(), set())])


def is_already_exported(folder: Path, request: str) -> bool:
    """Check whether a folder holds the export of this request.

    An export of another request will be replaced.
    """
    record = folder / RECORD
    if not record.is_file() or json.loads(record.read_text(encoding="utf-8")).get("request") != request:
        return False
    print(f"{folder}: already exported with these arguments. Delete the folder to start over.")
    return True


def write_record(folder: Path, request: str, export: Export) -> None:
    """Write the record that marks a finished export, with all scores."""
    runtimes = [] if export.comparison is None else [export.comparison.source, *export.scores]
    write_json(folder / RECORD, {"request": request, "scores": [asdict(runtime) for runtime in runtimes]})

"""Name the files in an evaluation's folder, and check whether it already holds the results of this run."""

import json
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from utils.runtime.errors import UserError
from utils.runtime.resolved_arguments import differing_arguments

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ARGUMENTS_FILE = "evaluate.yaml"
PREDICTIONS_FILE = "predictions.jsonl"
RESULTS_FILE = "evaluation_results.json"
COMPARISON_FILE = "comparative_analysis.json"
REPORT_FILE = "report.html"
TABLES, PLOTS = "tables", "plots"
OWN_FILES = (
    *(ARGUMENTS_FILE, PREDICTIONS_FILE, RESULTS_FILE, COMPARISON_FILE),
    *(REPORT_FILE, TABLES, PLOTS),
)


def is_already_evaluated(arguments: "DataclassInstance", inputs: dict[str, str], output_dir: Path) -> bool:
    """Check whether the folder holds this run's results, for the same models and datasets.

    A folder without evaluate.yaml may hold other files, because a report is often written into a run folder.
    If results are missing, the earlier run did not finish.

    Args:
        arguments: Arguments of this run.
        inputs: Result of `describe_inputs`.

    Raises:
        UserError: The path holds an evaluation with other arguments, or is not a folder.
    """
    results = output_dir / RESULTS_FILE
    if output_dir.is_file():
        raise UserError(
            f"{output_dir}: found a file, expected a folder or nothing. Choose another --output_dir."
        )
    if not (output_dir / ARGUMENTS_FILE).is_file() or not results.is_file():
        return False
    different = differing_arguments(arguments, output_dir / ARGUMENTS_FILE)
    if different:
        raise UserError(
            f"{output_dir}: holds an evaluation with other arguments: {'; '.join(different)}. "
            "Choose another --output_dir, or delete the folder."
        )
    return json.loads(results.read_text(encoding="utf-8"))["inputs"] == inputs


def describe_inputs(names: Sequence[str], output_dir: Path) -> dict[str, str]:
    """Return a fingerprint of every model, dataset and manifest that is a file or folder, by name."""
    own = {output_dir.resolve() / name for name in OWN_FILES}
    return {name: fingerprint(Path(name).expanduser(), own) for name in names}


def fingerprint(place: Path, ignored: Set[Path]) -> str:
    """Return a digest of the names, sizes and times of all files at a path. Return "" if nothing is there.

    Files in `ignored`, and the caches of the datasets library beside its data, do not count.
    """
    import xxhash

    top = place.resolve()
    digest = xxhash.xxh3_128()
    files = sorted(path for path in (top, *top.rglob("*")) if path.is_file())
    files = [path for path in files if ignored.isdisjoint((path, *path.parents))]
    for path in files:
        if not path.name.startswith("cache-"):
            state = path.stat()
            digest.update(f"{path.relative_to(top)} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest() if files else ""

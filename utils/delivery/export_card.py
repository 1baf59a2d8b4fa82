"""Describe an export: the README in its folder, and the table in the terminal."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from utils.delivery.exporting import Export
from utils.delivery.parity import verdict
from utils.delivery.parity.measures import Score
from utils.delivery.parity.verdict import RuntimeScores
from utils.model.resolving import looks_like_path
from utils.runtime.files import write_text
from utils.runtime.messages import counted

TEMPLATES = Path(__file__).with_name("templates")

COLUMNS = (
    "runtime",
    "sounds",
    "way",
    "WER %",
    "loops",
    "missing %",
    "words s",
    "F1 50 ms",
    "F1 200 ms",
    "RTFx",
)


def write_export_card(folder: Path, export: Export) -> None:
    """Write README.md into the folder of an export. It is a model card: see `_head`.

    The card that train.py wrote for the model becomes TRAINING.md.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"mebibytes": _mebibytes, "counted": counted}
    template = environment.get_template("export.md")
    rows = list(_rows(export))
    head = _head(export)
    training = export.source.folder / "README.md"
    is_trained = bool(export.source.arguments) and training.is_file()
    if is_trained:
        shutil.copyfile(training, folder / "TRAINING.md")
    text = template.render(
        export=export, head=head, is_trained=is_trained, columns=COLUMNS, rows=rows, tolerances=vars(verdict)
    )
    write_text(folder / "README.md", text)


def _head(export: Export) -> str:
    """Return the YAML head of the model card.

    The Hub reads it, and so do servers: Speaches knows by library and task which models it can load.
    """
    from huggingface_hub import ModelCardData

    base = export.source.arguments.get("model_name_or_path", export.source.name)
    language = export.known_language
    card = ModelCardData(
        library_name=export.job.deliverable.library,
        pipeline_tag="automatic-speech-recognition",
        base_model=None if looks_like_path(base) or Path(base).exists() else base,
        tags=["whisper"],
        language=[language] if language else None,
    )
    return str(card)


def print_scores(export: Export) -> None:
    """Print the scores of source and export."""
    if not (rows := list(_rows(export))):
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


def _rows(export: Export) -> Iterator[list[str]]:
    runtimes = [] if export.comparison is None else [export.comparison.source, *export.scores]
    for runtime in runtimes:
        for score in sorted(runtime.scores, key=lambda score: score.on_recordings):
            yield _row(runtime, score)


def _row(runtime: RuntimeScores, score: Score) -> list[str]:
    timing = ["", "", ""]
    if score.timing is not None:
        error = score.timing.median_error
        timing = ["none" if error is None else f"{error:.3f}", *(f"{f1:.2f}" for f1 in score.timing.f1)]
    return [
        runtime.runtime,
        "recordings" if score.on_recordings else "clips",
        str(score.way),
        f"{score.errors.rate:.1%}".rstrip("%"),
        str(score.loops),
        f"{score.missing:.1%}".rstrip("%"),
        *timing,
        f"{score.rtfx:.1f}",
    ]


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"

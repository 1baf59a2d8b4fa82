"""Describe an export: the README in its folder, and the table in the terminal."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from utils.data.delivery.cards import card_environment, iso_languages, without_folders
from utils.delivery.exporting import Export
from utils.delivery.lineage import lineage_fields
from utils.delivery.parity import verdict
from utils.delivery.parity.measures import Score
from utils.delivery.parity.verdict import RuntimeScores
from utils.runtime.files import write_text
from utils.runtime.messages import counted
from utils.training.card_facts import ModelFacts, read_model_facts
from utils.training.card_head import ASR, model_title
from utils.training.model_card import CARD_TEMPLATES, THE_BASE_MODEL, THIS_FOLDER, usage_values

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
    environment = card_environment(TEMPLATES, CARD_TEMPLATES)
    environment.filters |= {"mebibytes": _mebibytes, "counted": counted}
    template = environment.get_template("export.md")
    rows = list(_rows(export))
    facts = read_model_facts(export.source.folder)
    training = export.source.folder / "README.md"
    is_trained = bool(export.source.arguments) and training.is_file()
    if is_trained:
        shutil.copyfile(training, folder / "TRAINING.md")
    text = template.render(
        export=export,
        head=_head(export, facts),
        title=model_title(facts) if facts else without_folders(export.source.name),
        is_trained=is_trained,
        columns=COLUMNS,
        rows=rows,
        tolerances=vars(verdict),
        **_usage(export, facts),
    )
    write_text(folder / "README.md", text)


def _usage(export: Export, facts: ModelFacts | None) -> dict[str, object]:
    if facts is not None:
        values = usage_values(facts, None)
    else:
        options = json.dumps({"language": export.language})
        values = {"model": THIS_FOLDER, "base_model": THE_BASE_MODEL, "generate_kwargs": options}
        values |= {"added_language": None, "rank": None}
    has_config = (export.source.folder / "generation_config.json").is_file()
    return values | {"has_generation_config": has_config}


def _head(export: Export, facts: ModelFacts | None) -> str:
    """Return the YAML head of the model card.

    The Hub reads it, and so do servers: Speaches knows by library and task which models it can load.
    """
    from huggingface_hub import ModelCardData

    language = export.known_language
    base = lineage_fields(facts, export.source.name, export.job.name)
    card = ModelCardData(
        library_name=export.job.deliverable.library,
        pipeline_tag=ASR,
        license=export.source.arguments.get("hub_license"),
        tags=["whisper", "audio"],
        language=iso_languages([language]) if language else None,
        base_model=base.get("base_model"),
        base_model_relation=base.get("base_model_relation"),
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

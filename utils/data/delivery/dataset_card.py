"""Writes the README.md of a prepared dataset on the Hub: metadata for the website, and a description."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from utils.data.data_report import DataReport
from utils.data.delivery.cards import Marks, card_environment, iso_languages, join_card, split_card

DATASET_MARKS = Marks(
    "<!-- Written by preprocess.py: what stands from here to the end mark is replaced by the next push. -->",
    "<!-- End of what preprocess.py writes. -->",
)

TEMPLATE = Path(__file__).with_name("dataset_card.md.jinja")

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")


def build_dataset_card(
    *,
    dataset_id: str,
    report: DataReport,
    arguments: Mapping,
    languages: Sequence[str],
    dataset_info: Mapping,
    license: str | None = None,
    existing: str | None = None,
) -> str:
    """Build the card: a YAML head (https://huggingface.co/docs/hub/datasets-cards), then the text.

    Args:
        dataset_id: `user/name`.
        report: Report on the dataset.
        arguments: The resolved arguments that made the dataset. They are shown as they are.
        languages: Whisper's codes of the languages in it.
        dataset_info: Features, splits and sizes, in the form that `datasets` uses in a card.
        license: The Hub's name of a licence.
        existing: The card that is on the Hub, if there is one. Text outside the marks is kept. Fields that
            others added to the head, such as a licence, are kept too.

    Raises:
        ValueError: The head of the existing card is not a YAML mapping.
    """
    head, body = split_card(existing or "")
    splits = [split["name"] for split in dataset_info["splits"]]
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    head |= {
        "pretty_name": head.get("pretty_name") or _pretty_name(dataset_id),
        "task_categories": ["automatic-speech-recognition"],
        "size_categories": [size_category(report.kept)],
        "tags": [*dict.fromkeys([*(head.get("tags") or []), "audio", "speech", "whisper"])],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": dict(dataset_info),
    }
    if languages:
        head["language"] = iso_languages(languages)
    if license is not None:
        head["license"] = license
    text = _describe(dataset_id, report, arguments, head)
    return join_card(head, DATASET_MARKS.put(text, body))


def size_category(rows: int) -> str:
    """Return the Hub's size category for this number of rows."""
    return _SIZES[min(max(len(str(rows)) - 3, 0), len(_SIZES) - 1)]


def _pretty_name(dataset_id: str) -> str:
    words = re.sub(r"[-_.]+", " ", dataset_id.rpartition("/")[2]).strip()
    return words[:1].upper() + words[1:]


def _describe(dataset_id: str, report: DataReport, arguments: Mapping, head: Mapping) -> str:
    shown = yaml.safe_dump(dict(arguments), sort_keys=False)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    return (
        card_environment(TEMPLATE.parent)
        .get_template(TEMPLATE.name)
        .render(
            dataset_id=dataset_id,
            report=report,
            arguments=shown,
            fence="`" * max(3, 1 + longest),  # longer than any fence in the arguments
            columns=[feature["name"] for feature in head["dataset_info"]["features"]],
            head={"license": None, **head},
        )
    )

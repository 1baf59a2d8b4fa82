"""Writes the README.md of a prepared dataset on the Hub: metadata for the website, and a description."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from utils.data.data_report import DataReport

BEGIN = (
    "<!-- Written by preprocess.py: what stands from here to the end mark is replaced by the next push. -->"
)

TEMPLATE = Path(__file__).with_name("dataset_card.md.jinja")

END = "<!-- End of what preprocess.py writes. -->"

_NO_ISO_CODE = {"jw": "jv"}  # Whisper uses an old code for Javanese, which the Hub refuses

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")

_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


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
        head["language"] = [_NO_ISO_CODE.get(code, code) for code in languages]
    if license is not None:
        head["license"] = license
    text = _describe(dataset_id, report, arguments, head)
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{_put_in(body, text)}"


def is_ours(card: str) -> bool:
    """Check whether preprocess.py wrote the card, so that the data beside it may be replaced."""
    return BEGIN in card and END in card


def size_category(rows: int) -> str:
    """Return the Hub's size category for this number of rows."""
    return _SIZES[min(max(len(str(rows)) - 3, 0), len(_SIZES) - 1)]


def split_card(card: str) -> tuple[dict, str]:
    """Return the head of a card and the text below it.

    Raises:
        ValueError: The head is not a YAML mapping.
    """
    found = _HEAD.match(card)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise ValueError(f"its head is not YAML: {error}") from None
    if not isinstance(head, dict | None):
        raise ValueError("its head is not a YAML mapping")
    return head or {}, card[found.end() :] if found else card


def _put_in(body: str, text: str) -> str:
    """Put the text between the two marks in the body of a card.

    It replaces an earlier text there. If the body has no marks, the text is added at its end.
    """
    marked = f"{BEGIN}\n\n{text}\n{END}"
    if is_ours(body):
        return body[: body.index(BEGIN)] + marked + body[body.index(END) + len(END) :]
    return f"{body.rstrip()}\n\n{marked}\n".lstrip("\n") if body.strip() else f"\n{marked}\n"


def _pretty_name(dataset_id: str) -> str:
    words = re.sub(r"[-_.]+", " ", dataset_id.rpartition("/")[2]).strip()
    return words[:1].upper() + words[1:]


def _describe(dataset_id: str, report: DataReport, arguments: Mapping, head: Mapping) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters["one_line"] = _one_line
    shown = yaml.safe_dump(dict(arguments), sort_keys=False)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        dataset_id=dataset_id,
        report=report,
        arguments=shown,
        fence="`" * max(3, 1 + longest),  # longer than any fence in the arguments
        columns=[feature["name"] for feature in head["dataset_info"]["features"]],
        head={"license": None, **head},
    )


def _one_line(text: object) -> str:
    """Make text of others safe for one line or table cell, without line breaks and markup."""
    plain = " ".join(str(text).split()).rstrip(".")
    return plain.replace("|", "\\|").replace("<", "&lt;")

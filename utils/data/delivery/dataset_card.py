"""The README.md of a prepared dataset on the Hub: metadata for its website, and what is in it in words."""

import re
from collections.abc import Mapping, Sequence

import yaml

from utils.data.data_report import DataReport

BEGIN = (
    "<!-- Written by preprocess.py: what stands from here to the end mark is replaced by the next push. -->"
)

END = "<!-- End of what preprocess.py writes. -->"

_NO_ISO_CODE = {"jw": "jv"}  # Whisper's code of Javanese is an old one, which the Hub refuses

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))

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
    """The card: a YAML head as https://huggingface.co/docs/hub/datasets-cards describes, then the text.

    Args:
        dataset_id: `user/name`.
        report: On the dataset.
        arguments: The resolved arguments that made the dataset; shown as they are.
        languages: Whisper's codes of the languages in it.
        dataset_info: Features, splits and sizes as `datasets` writes them into a card.
        license: The Hub's name of a licence.
        existing: The card on the Hub, if any. What others wrote outside of the marks stays, and so does what
            they added to the head, such as a licence.

    Raises:
        ValueError: The head of the existing card is no YAML mapping.
    """
    head, body = split_card(existing or "")
    head |= {
        "pretty_name": head.get("pretty_name") or _pretty_name(dataset_id),
        "task_categories": ["automatic-speech-recognition"],
        "size_categories": [size_category(report.kept)],
        "tags": [*dict.fromkeys([*(head.get("tags") or []), "audio", "speech", "whisper"])],
        "configs": [{"config_name": "default", "data_files": _data_files(dataset_info)}],
        "dataset_info": dict(dataset_info),
    }
    if languages:
        head["language"] = [_NO_ISO_CODE.get(code, code) for code in languages]
    if license is not None:
        head["license"] = license
    text = _describe(dataset_id, report, arguments, head)
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{_put_in(body, text)}"


def is_ours(card: str) -> bool:
    """Whether a card was written here, so that the data beside it may be replaced."""
    return BEGIN in card and END in card


def size_category(rows: int) -> str:
    """The Hub's word for so many rows."""
    return next((name for limit, name in (*_SIZES, *_LARGER) if rows < limit), "100M<n<1B")


def split_card(card: str) -> tuple[dict, str]:
    """The head of a card and the text below it.

    Raises:
        ValueError: The head is no YAML mapping.
    """
    found = _HEAD.match(card)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise ValueError(f"its head is no YAML: {error}") from None
    if not isinstance(head, dict | None):
        raise ValueError("its head is no YAML mapping")
    return head or {}, card[found.end() :] if found else card


def _put_in(body: str, text: str) -> str:
    """The text between the marks, in the place of an earlier one or at the end."""
    marked = f"{BEGIN}\n\n{text}\n{END}"
    if is_ours(body):
        return body[: body.index(BEGIN)] + marked + body[body.index(END) + len(END) :]
    return f"{body.rstrip()}\n\n{marked}\n".lstrip("\n") if body.strip() else f"\n{marked}\n"


def _pretty_name(dataset_id: str) -> str:
    words = re.sub(r"[-_.]+", " ", dataset_id.rpartition("/")[2]).strip()
    return words[:1].upper() + words[1:]


def _data_files(dataset_info: Mapping) -> list[dict[str, str]]:
    return [{"split": split["name"], "path": f"data/{split['name']}-*"} for split in dataset_info["splits"]]


def _describe(dataset_id: str, report: DataReport, arguments: Mapping, head: Mapping) -> str:
    parts = [
        f"# {head['pretty_name']}",
        f"{report.kept:,} clips of speech with their transcripts, {report.hours:.2f} hours: FLAC, "
        "16 kHz, mono, at most 30 s each.",
        _splits_table(report),
        f'```python\nfrom datasets import load_dataset\n\ndataset = load_dataset("{dataset_id}")\n```',
        _columns(head["dataset_info"]),
        "## What was left out",
        _rejects_table(report),
        "## How it was made",
        *([f"Source: {_one_line(report.credit)}."] if report.credit else []),
        *[_one_line(note) for note in report.notes],
        _splits_note(report),
        f"The arguments of `preprocess.py`:\n\n{_fenced(yaml.safe_dump(dict(arguments), sort_keys=False))}",
        "## Licence",
        _licence(head.get("license")),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _splits_table(report: DataReport) -> str:
    rows = [
        f"| {name} | {split.utterances:,} | {split.hours:.2f} | {split.mean_duration:.1f} | "
        f"{split.distinct_texts:,} | {split.speakers or 'unknown'} |"
        for name, split in report.splits.items()
    ]
    head = (
        "| split | clips | hours | mean length in s | distinct texts | speakers |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *rows])


def _columns(dataset_info: Mapping) -> str:
    names = [feature["name"] for feature in dataset_info["features"]]
    told = {
        "start": "`start` and `end` are seconds in the recording that a clip was cut from",
        "segments": "`segments` is the text in timed pieces, in seconds from the clip's start",
        "previous_text": "`previous_text` is what was said right before",
    }
    lists = ", ".join(f"`{name}`" for name in names)
    return " ".join([f"Columns: {lists}.", *(f"{told[name]}." for name in told if name in names)])


def _rejects_table(report: DataReport) -> str:
    if not report.rejected:
        return f"Nothing: all {report.seen:,} items were kept."
    rows = [f"| {_one_line(kind)} | {count:,} |" for kind, count in report.reasons.items()]
    return "\n".join(
        [f"{report.rejected:,} of {report.seen:,} items.\n", "| reason | items |\n|---|---|", *rows]
    )


def _splits_note(report: DataReport) -> str:
    by = report.split_by
    how = f"Splits were cut so that no {by} is in two of them" if by else "Splits are those of the source"
    return (
        f"{how} (speakers in more than one split: {report.shared_speakers:,}, "
        f"texts in more than one split: {report.shared_texts:,})."
    )


def _licence(name: object) -> str:
    if name:
        return f"`{name}`, as whoever pushed the dataset stated."
    return (
        "None stated yet, so nobody may assume one. Whoever holds the rights to the recordings states it in "
        "the head of this file (`license: cc-by-4.0`) or with `preprocess.py --hub_license cc-by-4.0`."
    )


def _one_line(text: object) -> str:
    """As it may stand in a line or a cell of a table: no markup that others could bring in."""
    plain = " ".join(str(text).split()).rstrip(".")
    return plain.replace("|", "\\|").replace("<", "&lt;")


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}yaml\n{text}{fence}"

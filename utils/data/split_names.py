"""Finds out which of the three splits of a prepared dataset a source means by the name of a split."""

import re
from collections.abc import Callable, Iterable, Mapping

from utils.data.fields import printable
from utils.runtime.problems import BadItem

SPLITS = ("train", "validation", "test")

_SPLIT_ALIASES = {
    "training": "train",
    **dict.fromkeys(("dev", "devel", "valid", "val", "eval", "evaluation"), "validation"),
    "testing": "test",
}

_EVALUATION = re.compile(r"(?<![a-z])eval(uation)?(?![a-z])", re.IGNORECASE)


def split_name(name: str) -> str | None:
    """Return `train`, `validation` or `test` for a split's name (`dev93`, `test.clean`), or None.

    `train_dev` is the validation split that Kaldi and ESPnet recipes take from the training data.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[._\-\[]", name.strip().lower())]
    words = [_SPLIT_ALIASES.get(word, word) for word in words]
    head = "validation" if words[:2] == ["train", "validation"] else words[0]
    return head if head in SPLITS else None


def splits_of_names(
    names: Iterable[str], read: Callable[[str], str | None] = split_name
) -> dict[str, str | None]:
    """Return the split of each name in one source. `eval` is test if another name is validation.

    Args:
        names: All names of folders, tables or column values in the source.
        read: Function that returns the split of one name.
    """
    names = list(names)
    as_test = {name: read(_EVALUATION.sub("test", name)) for name in names}
    return as_test if "validation" in as_test.values() else {name: read(name) for name in names}


def given_splits(rows: Iterable[Mapping[str, object]]) -> set[str]:
    """Return the different values of the rows' `split`."""
    values = (row.get("split") for row in rows)
    return {value.strip() for value in values if isinstance(value, str) and value.strip()}


def known_split(given: str, splits: Mapping[str, str | None]) -> str:
    """Return the split that a value of `split` means in its source.

    Raises:
        BadItem: The value is unknown.
    """
    split = splits.get(given)
    if split is None:
        raise BadItem("unknown split", f"{given!r}, expected {', '.join(SPLITS)}")
    return split


def unsplit_notes(splits: Mapping[str, str | None], most: int = 10) -> tuple[str, ...]:
    """Return a note on names that do not mean a split, if other names do. Their items go to train."""
    without = [printable(name) for name, split in splits.items() if split is None]
    if not without or len(without) == len(splits):
        return ()
    names = ", ".join(without[:most]) + (f" and {len(without) - most} more" if len(without) > most else "")
    return (f"{names}: not the name of a split, so counted as train.",)

"""Names of splits: those a source gives, and the three that a prepared dataset has."""

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
    """`train`, `validation` or `test` for a split's name in the wild (`dev93`, `test.clean`), or None.

    `train_dev` is the validation split that recipes of Kaldi and ESPnet cut from the training data.
    """
    words = [word.rstrip("0123456789") for word in re.split(r"[._\-\[]", name.strip().lower())]
    words = [_SPLIT_ALIASES.get(word, word) for word in words]
    head = "validation" if words[:2] == ["train", "validation"] else words[0]
    return head if head in SPLITS else None


def splits_of_names(
    names: Iterable[str], read: Callable[[str], str | None] = split_name
) -> dict[str, str | None]:
    """The split that each name in one source tells; `eval` is test where another one is for validation.

    Args:
        names: All that the source has, of folders or tables or in a column.
        read: Gives the split of one name.
    """
    names = list(names)
    as_test = {name: read(_EVALUATION.sub("test", name)) for name in names}
    return as_test if "validation" in as_test.values() else {name: read(name) for name in names}


def given_splits(rows: Iterable[Mapping[str, object]]) -> set[str]:
    """The values that rows have under `split`."""
    values = (row.get("split") for row in rows)
    return {value.strip() for value in values if isinstance(value, str) and value.strip()}


def known_split(given: str, splits: Mapping[str, str | None]) -> str:
    """What a value of `split` means in its source.

    Raises:
        BadItem: Nothing that is known.
    """
    split = splits.get(given)
    if split is None:
        raise BadItem("unknown split", f"{given!r}, expected {', '.join(SPLITS)}")
    return split


def unsplit_notes(splits: Mapping[str, str | None], most: int = 10) -> tuple[str, ...]:
    """Tells of names without a split beside others that have one; what they hold is trained on."""
    without = [printable(name) for name, split in splits.items() if split is None]
    if not without or len(without) == len(splits):
        return ()
    names = ", ".join(without[:most]) + (f" and {len(without) - most} more" if len(without) > most else "")
    return (f"{names}: no split in its name, counted as train.",)

"""Recognises names of datasets on the Hub where a path was expected, and says how to get the dataset."""

import re
from pathlib import Path

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

FLEURS_ON_HUB = "google/fleurs"  # its reader downloads it

_WITH_SCRIPT = ("intronhealth/afrispeech-200",)  # `datasets` cannot read them


def hub_advice(name: str) -> str:
    """Return how to get the dataset, for the end of an error message. Empty if it is no name of one.

    Args:
        name: A path that does not exist.
    """
    if not _HUB_ID.fullmatch(name) or Path(name).parent.exists():
        return ""
    if name == FLEURS_ON_HUB:
        return " To download a language of it, add --source fleurs --dataset_config_name it_it."
    folder = name.partition("/")[2]
    download = f"hf download {name} --repo-type dataset --local-dir {folder}"
    direct = "" if name in _WITH_SCRIPT else "add --source hub, or "
    return (
        f" If you mean the dataset {name} of the Hub, {direct}download it and give --input {folder}:\n"
        f"         {download}"
    )

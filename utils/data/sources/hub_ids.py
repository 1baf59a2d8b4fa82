"""Recognises names of datasets on the Hub where a path was expected, and says how to get the dataset."""

import re
from pathlib import Path

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_FILES = {"google/fleurs": " --include 'data/it_it/*'", "intronhealth/afrispeech-200": ""}
"""Datasets that `datasets` cannot read, because they have a script: what `hf download` needs for them."""


def hub_advice(name: str) -> str:
    """Return how to get the dataset, for the end of an error message. Empty if it is no name of one.

    Args:
        name: A path that does not exist.
    """
    if not _HUB_ID.fullmatch(name) or Path(name).parent.exists():
        return ""
    folder = name.partition("/")[2]
    download = f"hf download {name} --repo-type dataset{_FILES.get(name, '')} --local-dir {folder}"
    direct = "" if name in _FILES else "add --source hub, or "
    return (
        f" If you mean the dataset {name} of the Hub, {direct}download it and give --input {folder}:\n"
        f"         {download}"
    )

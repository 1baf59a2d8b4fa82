"""metrics.jsonl and the trackers: one record per log event, in both."""

import json
from pathlib import Path

from accelerate import Accelerator

from utils.files import write_text


class RunLog:
    """Appends records to metrics.jsonl on the main process and passes numbers on to Accelerate's trackers."""

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self._path, self._accelerator = path, accelerator

    def drop_after(self, step: int) -> None:
        """Forget records of steps after `step`: a resumed run writes them again."""
        if self._accelerator.is_main_process and self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_text(self._path, "".join(kept))

    def write(self, step: int, **values: float | int | str) -> None:
        """Append one record; only numbers reach the trackers."""
        if not self._accelerator.is_main_process:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}, ensure_ascii=False) + "\n")
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        self._accelerator.log(numbers, step=step)

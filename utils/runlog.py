"""metrics.jsonl and the trackers: one record per log event, in both."""

import json
import math
import os
from pathlib import Path

from accelerate import Accelerator

from utils.files import write_text


class RunLog:
    """Appends records to metrics.jsonl on the main process and passes numbers on to Accelerate's trackers.

    A full disk does not end the run: what could not be written is kept and tried again with the next record.
    """

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self._path, self._accelerator = path, accelerator
        self._unwritten = b""

    def drop_after(self, step: int, evaluated_step: int) -> None:
        """Forget records of steps after `step`, which a resumed run writes again.

        Those of an evaluation of `step` itself go as well if the checkpoint is older than it.
        """
        if self._accelerator.is_main_process and self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _is_before(line, step, evaluated_step)]
            write_text(self._path, "".join(kept))

    def write(self, step: int, **values: float | int | str) -> None:
        """Append one record; what is not finite stands as null. Only numbers reach the trackers."""
        if not self._accelerator.is_main_process:
            return
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._unwritten += (json.dumps({"step": step, **finite}, ensure_ascii=False) + "\n").encode()
        numbers = {name: value for name, value in finite.items() if isinstance(value, int | float)}
        try:
            self._append()
            self._accelerator.log(numbers, step=step)
        except OSError as error:
            print(f"step {step}: {self._path.name} or a tracker could not be written: {error.strerror}.")

    def _append(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                written = file.write(self._unwritten)
                if written < len(self._unwritten):  # as much as the disk took; a second write tells why
                    file.write(self._unwritten[written:])
            except OSError:
                file.truncate(end)  # no half a line
                raise
        self._unwritten = b""


def _is_before(line: str, step: int, evaluated_step: int) -> bool:
    record = json.loads(line)
    if record["step"] == step and evaluated_step < step:
        return not any(name.startswith("eval_") for name in record)
    return record["step"] <= step

"""notebooks/finetune_whisper.ipynb: its cells run from top to bottom, and again after a lost session."""

import json
import os
import shlex
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
from transformers import WhisperForConditionalGeneration

from tests.support.tones import encode
from tests.support.warm_processes import start_warm

ROOT = Path(__file__).resolve().parent.parent
CELLS = json.loads((ROOT / "notebooks/finetune_whisper.ipynb").read_text(encoding="utf-8"))["cells"]
NEEDED = [
    "accelerate_configs",
    "recipes",
    "requirements.txt",
    "utils",
    *(path.name for path in ROOT.glob("*.py")),
]
LAUNCHER = ["-m", "accelerate.commands.accelerate_cli"]


class Session:
    """A notebook's Python. It fetches nothing, and its scripts are forks of a process with torch."""

    def __init__(self, values: dict[str, object], folder: Path) -> None:
        self.shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        self.shell.system = self.run_command
        self.values, self.log, self.commands = values, folder / "log.txt", list[str]()

    def run_cells(self, *, until: str) -> dict[str, object]:
        """Run the cells to the named one, with values as papermill gives them. Return what they show."""
        shown = {}
        for cell in (cell for cell in CELLS if cell["cell_type"] == "code"):
            result = self.shell.run_cell("".join(cell["source"]))
            result.raise_error()
            shown[cell["id"]] = result.result
            if "parameters" in cell["metadata"].get("tags", ()):
                assert self.values.keys() <= self.shell.user_ns.keys()
                self.shell.user_ns |= self.values
            if cell["id"] == until:
                break
        return shown

    def run_command(self, line: str) -> None:
        """Do what `!` does with a line of the shell, but let one that fails be an error."""
        line = self.shell.var_expand(line.replace("\\\n", " "))
        self.commands.append(line)
        words = shlex.split(line)
        if words[:2] == ["git", "clone"]:
            link_checkout(Path(words[-1]))
        elif words[0] in ("python", "accelerate"):
            words = words[1:] if words[0] == "python" else [*LAUNCHER, *words[1:]]
            child = start_warm(words, self.log, cwd=Path.cwd(), env=os.environ)
            child.join(300)
            assert child.exitcode == 0, f"{line}\n{self.log.read_text()[-3000:]}"
        elif words[0] != "pip":
            subprocess.run(line, shell=True, check=True)


def link_checkout(folder: Path) -> None:
    """Put a checkout there whose files are those of this one, and whose folder can be written to."""
    folder.mkdir()
    for name in NEEDED:
        (folder / name).symlink_to(ROOT / name)


def write_zip(path: Path) -> None:
    """Twenty tones with numbered sentences, each in a text file beside it."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            samples = 0.2 * np.sin(np.arange(8_000 + 200 * number) * (0.02 + number / 500))
            archive.writestr(f"{number}.wav", encode(samples, "wav"))
            archive.writestr(f"{number}.txt", f"frase numero {number}")


def test_the_notebook_is_stored_without_results_and_says_what_each_cell_does():
    kinds = [cell["cell_type"] for cell in CELLS]
    assert kinds == ["markdown", *["markdown", "code"] * (len(kinds) // 2)] and len(
        {c["id"] for c in CELLS}
    ) == len(CELLS)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


@pytest.mark.slow
def test_its_cells_run_from_top_to_bottom_and_again(tmp_path, brief_whisper, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as in each notebook
    work = tmp_path / "my drive"
    work.mkdir()
    write_zip(work / "corpus.zip")
    values = {"MODEL": str(brief_whisper), "WORK": str(work), "CONFIG": "cpu", "EPOCHS": 1}
    first = Session(values, tmp_path)
    first.run_cells(until="train")
    first_weights = (work / "run/final/model.safetensors").stat()
    assert first.commands[0].startswith("git clone --depth 1 https://")
    kept = Path("requirements-notebook.txt").read_text()
    left_out = set((ROOT / "requirements.txt").read_text().splitlines()) - set(kept.splitlines())
    assert {line.split("==")[0] for line in left_out} == {"torch", "deepspeed"}
    assert "pip install -q -r requirements-notebook.txt" in first.commands

    monkeypatch.chdir(tmp_path)  # a new session
    second = Session(values, tmp_path)
    page = second.run_cells(until="export")["report"]
    assert page.data.startswith("<div><iframe srcdoc=") and "&lt;table" in page.data
    assert not any("git clone" in line for line in second.commands)
    assert (work / "run/final/model.safetensors").stat().st_mtime_ns == first_weights.st_mtime_ns
    with zipfile.ZipFile(work / "model.zip") as archive:
        archive.extractall(tmp_path / "taken")
    WhisperForConditionalGeneration.from_pretrained(tmp_path / "taken")

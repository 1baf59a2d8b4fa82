"""`script.py --help` answers at once, because nothing heavy is imported for it."""

import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("*.py"))
HEAVY = (
    "torch",
    "datasets",
    "jiwer",
    "accelerate",
    "peft",
    "matplotlib",
    "av",
    "soundfile",
    "pandas",
    "gradio",
)
SHOW_MODULES = """
import atexit, runpy, sys
atexit.register(lambda: print("MODULES", *sys.modules))
script = sys.argv.pop(0)
sys.argv[0] = script = sys.argv[0]
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_quick_shows_every_argument_and_imports_nothing_heavy(path: Path):
    command = [sys.executable, "-c", SHOW_MODULES, str(path), "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    # Of the processor, not of the clock: other processes may keep the machine busy.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert ("--output_dir" in result.stdout) == (path.stem != "app")  # a page writes no result
    assert "--config RECIPE.yaml" in result.stdout
    assert f"python {path.name}" in result.stdout or f" {path.name} " in result.stdout, "no command to copy"
    modules = result.stdout.splitlines()[-1].split()
    assert modules[0] == "MODULES"
    assert not set(modules) & set(HEAVY)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_unknown_option_ends_without_a_traceback(path: Path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--output_dirr", "x"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "Traceback" not in told

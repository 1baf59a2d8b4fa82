"""README.md and the guides keep their word: commands exist, options are known, examples run as printed."""

import dataclasses
import importlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.recipe_commands import shell_commands
from utils.arguments.app import AppArguments
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.export import ExportArguments
from utils.arguments.parsing import parse_arguments
from utils.arguments.preprocess import PreprocessArguments
from utils.arguments.sweep import SweepArguments
from utils.arguments.train import TrainArguments
from utils.arguments.transcribe import TranscribeArguments

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "preprocess.py": PreprocessArguments,
    "train.py": TrainArguments,
    "evaluate.py": EvaluateArguments,
    "transcribe.py": TranscribeArguments,
    "export.py": ExportArguments,
    "app.py": AppArguments,
    "sweep.py": SweepArguments,
}
GUIDES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "AGENTS.md", "CONTRIBUTING.md", "recipes/README.md", *GUIDES]
OLD_COMMANDS = "docs/lab_log.md"  # as they were on their day
THIRD_PARTIES = {  # programs that the suite does not need, of docs/deployment.md
    *("whisper-ctranslate2", "whisperx", "hf", "cd", "printf", "curl", "npm", "mv", "vllm"),
    *("whisper-cli", "whisper-server", "stable-ts", "whisper_timestamped", "models/generate-coreml-model.sh"),
}


def all_commands() -> list[str]:
    commands = [command for page in PAGES if page != OLD_COMMANDS for command in shell_commands(page)]
    scripts = [*ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    for script in scripts:  # the commands in the modules' docstrings, which --help shows
        text = script.read_text().split('"""')[1].replace("\\\\\n", " ")
        found = re.findall(r"^ +((?:python|accelerate launch) .*)$", text, re.MULTILINE)
        commands += [shlex.join(shlex.split(command, comments=True)) for command in found]
    return sorted(set(commands))


def own_data_commands() -> list[str]:
    """The README's for own data, then the guides' for an adapter and for what is guarded.

    Not the page, which is served without end; it has tests of its own.
    """
    first = [
        command
        for command in shell_commands("README.md")
        if ("data/it" in command or "runs/it" in command) and "app.py" not in command
    ]
    adapter = [command for command in shell_commands("docs/training.md") if "--use_peft" in command]
    guarded = [command for command in shell_commands("docs/evaluation.md") if "data/it" in command]
    return [*first, *adapter, *guarded]


def check_script_call(words: list[str]) -> None:
    """The script exists and knows every option with such a value."""
    script, *options = words
    assert (ROOT / script).is_file(), script
    if script in KINDS:
        parse_arguments(KINDS[script], options)
    elif script.startswith("benchmarks/"):
        module = vars(importlib.import_module(script.removesuffix(".py").replace("/", ".")))
        (kind,) = [
            module[name] for name in module if name.endswith("Arguments") and name != "ScriptArguments"
        ]
        parse_arguments(kind, options)


@pytest.mark.parametrize("command", all_commands())
def test_the_command_is_known(command: str, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables for this command alone
        words.pop(0)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE)
        assert next(word for word in words[1:] if "=" not in word) in targets
    elif words[0] == "python":
        check_script_call(words[1:])
    elif words[:2] == ["accelerate", "launch"]:
        script = next(index for index, word in enumerate(words) if word.endswith(".py"))
        if "--config_file" in words[:script]:
            assert Path(words[words.index("--config_file") + 1]).is_file()
        check_script_call(words[script:])
    elif words[0] == "sbatch":
        job = next(index for index, word in enumerate(words) if word.endswith(".sbatch"))
        assert Path(words[job]).is_file()
        check_script_call([f"{Path(words[job]).stem}.py", *words[job + 1 :]])
    elif words[:2] == ["pip", "install"]:  # the versions that the tests run with
        pinned = "".join(Path(f"requirements-{kind}.txt").read_text() for kind in ("dev", "export", "app"))
        assert set(words[2:]) <= set(pinned.split())
    elif words[0] in ("whisper", "ffmpeg"):
        check_installed_program(words)
    else:
        own = {"source", "export", ".venv/bin/pre-commit", "ct2-transformers-converter"}
        assert words[0] in own | THIRD_PARTIES


def check_installed_program(words: list[str]) -> None:
    """The program's own help or code knows the options; FFmpeg's may end in streams, as `-c:s` does."""
    given = {re.sub(r":.*", "", word) for word in words if re.match(r"--?[a-z]", word)}
    if words[0] == "whisper":
        from whisper import transcribe  # the function; its module has the command line

        known = set(re.findall(r'"(--\w+)"', inspect.getsource(inspect.getmodule(transcribe))))
    elif shutil.which("ffmpeg"):
        told = subprocess.run(["ffmpeg", "-h", "full"], capture_output=True, text=True, check=True).stdout
        known = {"-i", *re.findall(r"^(-\w+)", told, re.MULTILINE)}
    else:
        pytest.skip("no ffmpeg")
    assert given <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_and_names_of_files_lead_somewhere(page: str):
    text = (ROOT / page).read_text()
    for path in re.findall(r"(?:utils|tests|benchmarks)/[\w/]*(?:\.py|\.txt)?", text):
        assert (ROOT / path).exists(), path
    for target, heading in re.findall(r"\]\((?!https://)([^)#]*)(?:#([^)]+))?\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not heading or heading in anchors(path), f"{target}#{heading}"


def anchors(page: Path) -> list[str]:
    """The headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", ["docs/troubleshooting.md", "docs/choosing.md", "docs/peers.md"])
def test_flags_in_sentences_exist(page: str):
    known = {field.name for kind in KINDS.values() for field in dataclasses.fields(kind)}
    named = set(re.findall(r"--([a-z]\w+)", (ROOT / page).read_text()))
    assert named <= known


def test_the_hardware_table_lists_every_configuration():
    listed = re.findall(r"^\| `(\w+\.yaml)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "accelerate_configs").iterdir())
    picked = ["cpu", "cpu_bf16", "mps", "single_gpu", "single_gpu_fp16"]  # what `make` picks stands first
    assert listed[:5] == [f"{name}.yaml" for name in picked]


def write_corpus(folder: Path) -> None:
    """Twenty tones with numbered sentences and their manifest; they are enough for a random model."""
    lines = []
    for number in range(20):
        samples = 0.2 * np.sin(np.arange(8_000 + 200 * number) * (0.02 + number / 500))
        soundfile.write(folder / f"{number}.wav", samples, 16_000)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": f"frase numero {number}"}))
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")


def launched(words: list[str], folder: Path) -> None:
    """Run `accelerate launch` in a folder, as a process of its own."""
    words = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *words[1:]]
    result = subprocess.run(
        [str(ROOT / word) if word in KINDS else word for word in words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{words}\n{result.stdout[-2000:]}{result.stderr[-3000:]}"


@pytest.mark.usefixtures("fresh_accelerator")
def test_the_way_for_own_data_runs_as_printed(tmp_path: Path, brief_whisper: Path, monkeypatch):
    """The commands for own data, in an empty folder, with a tiny model in place of Whisper base.

    The launcher runs as a process once; its same call again, and what needs none, run in this process.
    """
    write_corpus(tmp_path)
    soundfile.write(tmp_path / "talk.mp3", np.zeros((44_100, 2)), 44_100)
    for name in ("recipes", "accelerate_configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    mains = {script: importlib.import_module(script.removesuffix(".py")).main for script in KINDS}
    commands, launchers = own_data_commands(), []
    assert len(commands) == 7
    for command in commands:
        words = shlex.split(command.replace("openai/whisper-base", str(brief_whisper)))
        words += ["--no_parity"] if "export.py" in words else []  # it is compared in tests of its own
        script = next(index for index, word in enumerate(words) if word in KINDS)
        if words[0] == "accelerate" and words[:script] not in launchers:
            launchers.append(words[:script])
            launched(words, tmp_path)
        else:
            mains[words[script]](words[script + 1 :])
        if words[script] == "preprocess.py":  # what the last command guards, which comes from the network
            shutil.copytree(tmp_path / "data" / "it", tmp_path / "data" / "en")
    assert len(launchers) == 1
    report = tmp_path / "runs" / "it" / "report"
    models = [row["model"] for row in json.loads((report / "evaluation_results.json").read_text())["results"]]
    assert models == [str(brief_whisper), "runs/it/best", "runs/it/best"]  # the tuned one in both contexts
    assert json.loads((report / "comparative_analysis.json").read_text())["verdict"]
    assert (report / "report.html").is_file() and list(report.glob("plots/*.png"))
    guarded = json.loads((tmp_path / "runs/it/guarded/comparative_analysis.json").read_text())
    assert guarded["gates"][0]["candidate"] == "runs/it/best"
    assert (tmp_path / "runs/it-lora/best/adapter_model.safetensors").is_file()
    assert (tmp_path / "subtitles/talk.srt").is_file()
    assert (tmp_path / "export/model.bin").is_file()


@pytest.mark.slow
def test_the_demo_keeps_its_promises(demo):
    """`make demo` ends well, at least halves the error, and a second one reuses what is there.

    Measured were 23.7 % before and 8.9 % (full context) and 8.1 % (dynamic) after.
    """
    report = demo / "report"
    results = json.loads((report / "evaluation_results.json").read_text())["results"]
    baseline, full, dynamic = (row["normalized"]["wer"] for row in results)
    assert [row["audio_context"] for row in results] == ["full", "full", "dynamic"]
    assert 0.22 <= baseline <= 0.38
    assert full <= baseline / 2 and dynamic <= baseline / 2
    comparisons = json.loads((report / "comparative_analysis.json").read_text())["comparisons"]
    assert all(comparison["ci95"][0] > 0 for comparison in comparisons)

    written = (report / "evaluation_results.json").stat().st_mtime_ns
    again = subprocess.run(["make", "demo"], cwd=ROOT, check=True, timeout=5 * 60, stdout=subprocess.PIPE)
    assert b"Next" not in again.stdout  # it runs by itself
    assert (report / "evaluation_results.json").stat().st_mtime_ns == written

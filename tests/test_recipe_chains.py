"""Every command of recipes/README.md on a small corpus in the layout of its own, with a tiny random Whisper.

The scripts run in this process, one after the other, with the words that recipes/plan.py gives them. Three
things are other than printed: a folder `openai/` holds a tiny model for each name, SMALL=1 and STEPS shorten
the run, and one process prepares the data.
"""

import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState

from recipes.plan import PlanArguments, plan
from tests.support.hub_server import File, become_client, running_hub
from tests.support.recipe_commands import ROOT, plan_words, shell_commands
from tests.support.recipe_corpora import (
    fleurs_files,
    read_lines,
    write_afrispeech,
    write_children,
    write_common_voice,
)
from utils.arguments.parsing import parse_arguments

COMMANDS = [command for command in shell_commands("recipes/README.md") if command.startswith("make recipe")]
FLEURS = {"blog-hi-small": "hi_in", "cv11-fa-small": "fa_ir", "cv11-gl-small": "gl_es"}
FLEURS |= {"cv11-gl-medium": "gl_es", "kth-bn-small": "bn_in"}
SCRIPT = re.compile(r".*?\b(preprocess|train|evaluate)\.py")
SHORTER = {
    "preprocess": ["--num_proc", "1"],
    "train": ["--report_to", "none", "--max_train_samples", "16"],
    "evaluate": ["--no_probe_hallucination", "--bootstrap_samples", "20"],
}


@pytest.fixture(scope="module")
def place(brief_whisper, tmp_path_factory) -> Path:
    """A folder as a checkout is, with a tiny model wherever a recipe names one."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("recipes", "accelerate_configs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "openai").mkdir()
    for size in ("tiny", "base", "small", "medium"):
        (folder / f"openai/whisper-{size}").symlink_to(brief_whisper)
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, Path]:
    """Each corpus by the value of INPUT in recipes/README.md."""
    folder = tmp_path_factory.mktemp("corpora")
    sizes = {"hi": (12, 4, 4), "gl": (12, 4, 4), "fa": (20, 8, 4), "bn": (60, 30, 12)}
    found = [write_common_voice(folder / code, code, each) for code, each in sizes.items()]
    return {path.name: path for path in [*found, write_afrispeech(folder), write_children(folder)]}


@pytest.fixture
def run_recipe(place, corpora, monkeypatch) -> Iterator[Callable[..., Path]]:
    """A function that runs a command of make, and gives the folder of the run."""
    monkeypatch.chdir(place)

    def run(command: str, between: Callable[[], None] = lambda: None) -> Path:
        words = plan_words(*shlex.split(command)[2:], "SMALL=1", "STEPS=2")
        words = [str(corpora.get(word, word)) for word in words]
        output_dir = Path()
        for line in plan(parse_arguments(PlanArguments, words)):
            script, options = SCRIPT.match(line)[1], shlex.split(SCRIPT.sub("", line, count=1))
            if script == "train":
                between()
                output_dir = Path(options[options.index("--output_dir") + 1])
                AcceleratorState._reset_state(reset_partial_state=True)
            importlib.import_module(script).main([*options, *SHORTER[script]])
        return output_dir

    yield run
    AcceleratorState._reset_state(reset_partial_state=True)


def command_of(name: str, *more: str) -> str:
    """The command of the README with this recipe and no variables but these, and INPUT and LANGUAGE."""
    (found,) = [
        command
        for command in COMMANDS
        if f"NAME={name}" in shlex.split(command)
        and all(word in command for word in more)
        and len(more) == len(re.findall("DATA=|STEPS=", command))
    ]
    return found


def check_results(run: Path) -> list[dict]:
    """Both models were scored and compared, and the best one is there with its card. Returns the results."""
    results = json.loads((run / "report/evaluation_results.json").read_text())["results"]
    assert [row["model"] for row in results] == ["openai/whisper-tiny", f"{run}/best", f"{run}/best"]
    assert json.loads((run / "report/comparative_analysis.json").read_text())["verdict"]
    assert (run / "report/report.html").is_file()
    assert "Warning" not in (run / "best/README.md").read_text()
    return results


def kept(folder: str) -> dict[str, int]:
    """Clips by split."""
    report = json.loads(Path(folder, "data_report.json").read_text())
    return {split: each["utterances"] for split, each in report["splits"].items()}


def test_hindi(run_recipe):
    check_results(run_recipe(command_of("blog-hi-small")))
    assert kept("data/blog-hi-small") == {"train": 12, "validation": 4, "test": 4}


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
def test_isizulu(run_recipe, size):
    run = run_recipe(command_of(f"afrispeech-isizulu-{size}-lora-int8"))
    check_results(run)
    adapter = json.loads((run / "best/adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (32 if size == "tiny" else 16, 32)
    assert kept("data/afrispeech-isizulu") == {"train": 12, "validation": 4, "test": 4}


def test_persian_is_trained_from_the_zip(run_recipe):
    """The folder beside it is gone when training begins."""
    counts: dict[str, int] = {}

    def take_away() -> None:
        counts.update(kept("data/cv11-fa-small"))
        shutil.rmtree("data/cv11-fa-small")

    run = run_recipe(command_of("cv11-fa-small"), take_away)
    check_results(run)
    assert yaml.safe_load((run / "train.yaml").read_text())["dataset"] == ["data/cv11-fa-small.zip"]
    assert 8 <= counts["train"] <= 16 and counts["test"] == 4


@pytest.mark.parametrize("size", ["small", "medium"])
def test_galician(run_recipe, size):
    run = run_recipe(command_of(f"cv11-gl-{size}"))
    check_results(run)
    card = (run / "best/README.md").read_text()
    for line in ("config: gl", "- mozilla-foundation/common_voice_11_0", "- hf-asr-leaderboard", "- gl"):
        assert line in card


def test_children(run_recipe):
    """Lines with faults are left out, clips have the names of their recordings, both files are written."""
    run = run_recipe(command_of("children-base-lora"))
    check_results(run)
    test = Path("data/children-base-lora-audiofolder/test")
    lines = read_lines(test / "metadata.jsonl")
    assert [line["file_name"] for line in lines] == [f"dino_segment_{number:03d}.wav" for number in range(9)]
    assert all((test / line["file_name"]).is_file() for line in lines)
    clips = {path.name for path in test.parent.rglob("*.wav")} - {line["file_name"] for line in lines}
    names = ("anna", "bruno", "carla")
    assert clips == {f"{name}_segment_{number:03d}.wav" for name in names for number in range(9)}
    assert lines[1]["transcription"].endswith(" ancora") and lines[0]["start"] == 0.0
    rejects = read_lines(Path("data/children-base-lora/rejects.jsonl"))
    # of each recording a piece that is too short, ends before it starts, has no text, or has no times
    assert len(rejects) == 4 * 4 and len({line["reason"].split(":")[0] for line in rejects}) == 4
    trained = yaml.safe_load((run / "train.yaml").read_text())
    assert (trained["language"], trained["lora_r"], trained["use_peft"]) == ("it", 16, True)


def test_bengali(run_recipe):
    check_results(run_recipe(command_of("kth-bn-small")))
    counts = kept("data/kth-bn-small")
    assert 4 <= counts["train"] <= 16 and 1 <= counts["test"] <= 7


@pytest.mark.parametrize(("name", "config"), FLEURS.items())
def test_fleurs_in_place_of_common_voice(run_recipe, monkeypatch, tmp_path, name, config):
    """From a Hub of this machine. One of the twins is also trained and evaluated."""
    with running_hub() as hub:
        become_client(monkeypatch, hub, tmp_path, token=None)
        repo, language = hub.create("dataset", "google/fleurs", private=False), config.partition("_")[0]
        repo.commit({path: File(data, False) for path, data in fleurs_files(config, language).items()})
        command = command_of(name, "DATA=fleurs")
        if name != "cv11-fa-small":
            monkeypatch.setattr("train.main", lambda words: None)
            monkeypatch.setattr("evaluate.main", lambda words: None)
        run = run_recipe(command)
    data = yaml.safe_load(Path("recipes", f"{name}-fleurs.preprocess.yaml").read_text())["output_dir"]
    assert kept(data) == {"train": 12, "validation": 4, "test": 4}
    if name == "cv11-fa-small":
        check_results(run)
        assert "google/fleurs" in (run / "best/README.md").read_text()


def test_as_the_original_trains_on_validation_chooses_on_test_and_says_so(run_recipe, capsys):
    command = f"{command_of('blog-hi-small')} AS_ORIGINAL=1"
    run = run_recipe(command)
    told = capsys.readouterr().out
    assert "16 clips (" in told and "4 for test" in told and "step 2, epoch" in told and "test loss" in told
    sentences = ("Trained on the validation split too", "The best step was chosen on the test split")
    for sentence in sentences:
        assert told.count(f"WARNING: {sentence}") == 2  # at the start and at the end of training
        assert f"WARNING: {run}/best: {sentence}" in told  # after the evaluation
        assert sentence in (run / "best/README.md").read_text()
        assert sentence in (run / "report/report.html").read_text()
    results = json.loads((run / "report/evaluation_results.json").read_text())["results"]
    assert [len(row["warnings"]) for row in results] == [0, 2, 2]
    (gate,) = json.loads((run / "report/comparative_analysis.json").read_text())["gates"]
    assert not gate["promote"] and set(results[1]["warnings"]) <= set(gate["reasons"])
    run_recipe(command)
    again = capsys.readouterr().out
    assert all(f"already {done} with these" in again for done in ("prepared", "trained", "evaluated"))

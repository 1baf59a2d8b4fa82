"""What newcomers stumbled over: each is understood, or is one clear error before any work."""

import importlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk

from preprocess import main
from tests.support.small_corpora import write_manifest
from utils.runtime.errors import UserError


def write_noise(path: Path, seconds: float) -> None:
    """Noise that differs from file to file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(list(str(path).encode()))
    soundfile.write(path, draws.normal(scale=0.1, size=round(seconds * 16_000)), 16_000)


def prepare(*words: str, output_dir: Path) -> dict:
    """Run preprocess.py and return its report."""
    main([*words, "--output_dir", str(output_dir)])
    return json.loads((output_dir / "data_report.json").read_text(encoding="utf-8"))


def error_of(capsys, *words: str) -> str:
    """The one error that preprocess.py ends with; it leaves nothing behind."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--output_dir", "out"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.startswith("error: ") and "Traceback" not in told
    assert not Path("out").exists() and not list(Path().glob(".*"))
    return told


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest_in(folder: Path, *languages: str | None) -> str:
    """A manifest of one clip for each language, or for None without one."""
    lines = []
    for number, language in enumerate(languages):
        write_noise(folder / f"{number}.wav", 1 + number / 10)
        line = {"audio": f"{number}.wav", "text": f"parola {'abcdef'[number]}"}
        lines.append(line if language is None else line | {"language": language})
    return str(write_manifest(folder, lines))


def language_of_next(told: str) -> str:
    words = shlex.split(told.split("Next:")[1])
    return words[words.index("--language") + 1]


# ---- the language ------------------------------------------------------------------------------------------


def test_the_language_is_asked_for_at_once(here, capsys):
    told = error_of(capsys, "--input", manifest_in(here, None, None))
    assert "do not say their language" in told and "--language it, or --language auto" in told
    assert "needs --language: it, en or ru" in error_of(capsys, "--source", "asterisk")


@pytest.mark.parametrize(
    ("languages", "given", "following"),
    [
        (("it", "it"), (), "it"),
        (("it", "en"), (), "auto"),
        (("it", None), ("--language", "en"), "en"),
        (("it", None), ("--language", "auto"), "CODE"),
    ],
)
def test_the_next_command_names_the_language(here, capsys, languages, given, following):
    words = ("--source", "manifest", "--input", manifest_in(here, *languages), *given)
    assert prepare(*words, output_dir=here / "out")["kept"] == 2
    assert language_of_next(capsys.readouterr().out) == following


def test_utterances_without_a_language_among_others_are_rejected(here, capsys):
    report = prepare("--input", manifest_in(here, "it", None, "it"), output_dir=here / "out")
    assert report["kept"] == 2 and report["reasons"] == {"no language": 1}
    assert "such as --language it" in json.loads((here / "out/rejects.jsonl").read_text())["reason"]
    assert language_of_next(capsys.readouterr().out) == "it"


@pytest.mark.parametrize("script", ["preprocess", "train", "evaluate", "transcribe", "export", "app"])
def test_a_language_by_another_name(script, capsys):
    needed = {
        "preprocess": "--input x",
        "train": "--model_name_or_path x --dataset x",
        "evaluate": "--models x --dataset x",
        "transcribe": "x.wav --model x",
        "export": "--model x --format ctranslate2",
        "app": "--model x",
    }
    words = [*needed[script].split(), *(() if script == "app" else ("--output_dir", "out"))]
    with pytest.raises((SystemExit, UserError)) as ended:  # train.py turns one into the other outside of main
        importlib.import_module(script).main([*words, "--language", "farsi"])
    assert "language 'farsi': expected the code 'fa'." in f"{ended.value} {capsys.readouterr().err}"


# ---- the kind of input -------------------------------------------------------------------------------------


def test_a_class_of_children_in_a_zip(here, capsys):
    """Not said: what it is, who speaks, that times have decimal commas, that README.txt is no transcript."""
    children = [f"child{letter}" for letter in "abcdefghij"]
    for child in children:
        write_noise(here / f"class/{child}/1.wav", 4)
        lines = [f"{n},0\t{n + 1},5\tparola {child} {n}\n" for n in (0, 2)]
        (here / f"class/{child}/1.txt").write_text("".join(lines))
    (here / "class/README.txt").write_text("About these recordings.")
    archive = shutil.make_archive(str(here / "class"), "zip", here / "class")
    words = ("--input", archive, "--language", "it", "--speaker_from", "folder")
    report = prepare(*words, output_dir=here / "out")
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("Read as recordings with transcripts, because childa/1.wav has 1.txt beside it; ")
    assert "Speakers found by --speaker_from folder: 10." in told
    assert (report["kept"], report["rejected"], report["split_by"]) == (20, 0, "speaker")
    rows = [row for split in load_from_disk(str(here / "out")).values() for row in split]
    assert {(row["id"][:-12], row["speaker"]) for row in rows} == {
        (f"{child}/1", child) for child in children
    }
    assert {(row["start"], row["end"]) for row in rows} == {(0.0, 1.5), (2.0, 3.5)}
    assert "source: folder" in (here / "out/preprocess.yaml").read_text()
    main([*words, "--output_dir", str(here / "out")])
    assert "already prepared" in capsys.readouterr().out


def test_an_input_of_an_unknown_kind_is_one_error(here, capsys):
    (here / "corpus").mkdir()
    (here / "corpus/notes.txt").write_text("ciao")
    told = error_of(capsys, "--input", "corpus", "--language", "it")
    assert "no known kind of corpus" in told and "common_voice: train.tsv" in told
    assert "give --input" in error_of(capsys, "--language", "it")


@pytest.mark.parametrize("more", [[], ["--source", "fleurs"], ["--source", "manifest"]])
def test_a_name_of_the_hub_is_no_path(here, capsys, more):
    told = error_of(capsys, "--input", "user/speech", "--language", "it", *more)
    assert "hf download user/speech --repo-type dataset" in told and told.count("error:") == 1


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("(child", "expected folder or a regular expression"),
        ("child", "expected a group in parentheses"),
        (r"(child\d+)_", "names no speaker in 2 paths, such as 0.wav"),
        ("folder", "expected a folder for each speaker"),
    ],
)
def test_speakers_that_are_not_found_are_one_error(here, capsys, rule, expected):
    words = ("--input", manifest_in(here, "it", "it"), "--speaker_from", rule)
    assert expected in error_of(capsys, *words)

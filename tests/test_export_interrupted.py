"""export.py killed, interrupted, without disk, with bad input: a folder is whole or not there."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import export
from tests.support.dying import DYING
from tests.support.warm_processes import start_warm
from utils.delivery.exports import registry
from utils.delivery.exports.registry import DELIVERABLES
from utils.model.loading import load_model
from utils.runtime.locking import sole_writer_of

FORMATS = ("huggingface", "ctranslate2", "onnx")
KILLED_SCRIPT = f"{DYING}\nimport export\nif __name__ == '__main__':\n    export.main(sys.argv[1:])\n"


def words(model: Path, out: Path, *more: str, formats=FORMATS) -> list[str]:
    return ["--model", str(model), "--output_dir", str(out), "--no_parity", "--format", *formats, *more]


def exit_of(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        export.main(argv)
    return ended.value.code


def error_in(capsys) -> str:
    """The one error that was told, and nothing worse."""
    told = capsys.readouterr().err
    (error,) = re.findall(r"^error: .*", told, flags=re.MULTILINE | re.DOTALL)
    assert error.count("\nerror:") == 0 and "Traceback" not in told
    return error


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def finished(out: Path) -> dict[str, int]:
    """When the folders that are there were written. Each must be whole."""
    folders = [folder for folder in out.glob("*") if not folder.name.startswith(".")]
    for folder in folders:
        assert json.loads((folder / "export.json").read_text()) and (folder / "README.md").is_file()
        if folder.name == "huggingface":
            load_model(str(folder))
    return {folder.name: (folder / "export.json").stat().st_mtime_ns for folder in folders}


@pytest.mark.slow
def test_killed_at_any_write_the_next_run_does_the_rest_alone(spelling_whisper, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED_SCRIPT)
    work = tmp_path / "work"
    out, before, numbers = work / "out", dict[str, int](), []
    for flushes in (4, 20, 16, 10**6):
        log = tmp_path / f"log{flushes}"
        command = [str(tmp_path / "killed.py"), *words(spelling_whisper, out)]
        process = start_warm(command, log, cwd=tmp_path, env=os.environ | {"FLUSHES": str(flushes)})
        process.join(300)
        assert process.exitcode == (0 if flushes == 10**6 else -signal.SIGKILL), log.read_text()
        now = finished(out)
        assert before.items() <= now.items()
        numbers.append(len(now))
        before = now
    assert numbers == [0, 1, 2, 3]
    assert log.read_text().count("already exported") == 2
    assert [path.name for path in work.iterdir()] == ["out"] and sorted(before) == sorted(FORMATS)
    assert sorted(path.name for path in out.iterdir()) == sorted(FORMATS)


def test_what_a_killed_comparison_has_left_is_cleared_away(spelling_whisper, tmp_path):
    (tmp_path / ".out.scratch/source").mkdir(parents=True)
    (tmp_path / ".out.scratch/source/model.safetensors").write_bytes(b"half")
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.lock").touch()
    export.main(words(spelling_whisper, tmp_path / "out", formats=["huggingface"]))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(
    spelling_whisper, tmp_path, monkeypatch, capsys, request
):
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests without it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, usual))
    usual_format = DELIVERABLES["ctranslate2"].format

    def write_and_interrupt(source, folder, precision):
        (folder / "model.bin").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = replace(
        DELIVERABLES["ctranslate2"], format=replace(usual_format, write=write_and_interrupt)
    )
    monkeypatch.setitem(registry.DELIVERABLES, "ctranslate2", interrupted)
    argv = words(spelling_whisper, tmp_path / "out", formats=["huggingface", "ctranslate2"])
    assert exit_of(argv) == 130
    assert "interrupted" in error_in(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    before = finished(tmp_path / "out")
    assert list(before) == ["huggingface"] and list((tmp_path / "out").glob(".*")) == []
    monkeypatch.undo()
    export.main(argv)
    assert before.items() <= finished(tmp_path / "out").items() and len(finished(tmp_path / "out")) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_told_and_leaves_nothing(spelling_whisper, small_disk, capsys, name):
    disk = small_disk(256 * 1024)
    assert exit_of(words(spelling_whisper, disk / "deep" / "out", formats=[name])) == 2
    assert "could not be written" in error_in(capsys)
    assert everything(disk) == []


def test_a_second_run_is_refused(spelling_whisper, tmp_path, capsys):
    argv = words(spelling_whisper, tmp_path / "out", formats=["huggingface"])
    with sole_writer_of(tmp_path / "out", "not reached"):
        before = everything(tmp_path)
        assert exit_of(argv) == 2
        assert "another run is writing this export" in error_in(capsys)
        assert everything(tmp_path) == before  # also the other run's lock
    export.main(argv)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- bad input ---------------------------------------------------------------------------------------------


def no_model(model: Path) -> Path:
    return model / "nowhere"


def a_file(model: Path) -> Path:
    return model / "config.json"


def an_empty_folder(model: Path) -> Path:
    (model / "empty").mkdir()
    return model / "empty"


def cut_weights(model: Path) -> Path:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return model


def cut_json(model: Path) -> Path:
    (model / "config.json").write_text('{"architectures": [')
    return model


def another_architecture(model: Path) -> Path:
    (model / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    return model


def an_adapter_without_base(model: Path) -> Path:
    config = {"peft_type": "LORA", "base_model_name_or_path": "/nowhere/base", "r": 2}
    (model / "adapter_config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_model, "no such folder"),
        (a_file, "found a file, expected a model folder"),
        (an_empty_folder, "expected a Hugging Face model folder"),
        (cut_weights, "not loadable as a Whisper model"),
        (cut_json, "not loadable as a Whisper model"),
        (another_architecture, "not loadable as a Whisper model"),
        (an_adapter_without_base, "/nowhere/base: no such folder"),
    ],
)
def test_a_bad_model_is_one_error_and_nothing_is_written(
    spelling_whisper, tmp_path, capsys, spoil: Callable[[Path], Path], told: str
):
    model = spoil(Path(shutil.copytree(spelling_whisper, tmp_path / "model")))
    before = everything(tmp_path)
    for out in (tmp_path / "out", tmp_path / "deep" / "er" / "out"):
        assert exit_of(words(model, out)) == 2
        assert told in error_in(capsys)
        assert everything(tmp_path) == before


def test_bad_data_and_a_bad_place_are_one_error_and_nothing_is_written(spelling_whisper, tmp_path, capsys):
    (tmp_path / "file").touch()
    argv = words(spelling_whisper, tmp_path / "o" / "out", "--dataset", str(tmp_path / "nowhere"))
    argv.remove("--no_parity")
    assert exit_of(argv) == 2 and "no such folder" in error_in(capsys)
    assert exit_of(words(spelling_whisper, tmp_path / "file" / "out")) == 2
    assert "file: File exists" in error_in(capsys)
    assert everything(tmp_path) == ["file"]

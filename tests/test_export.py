"""export.py: folders that are whole, reused, and never something else's."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import export


def words(model: Path, output_dir: Path, *more: str) -> list[str]:
    return ["--model", str(model), "--output_dir", str(output_dir), "--no_parity", *more]


def status_of(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        export.main(argv)
    return ended.value.code


def test_several_formats_get_a_folder_each_with_what_their_users_need(spelling_whisper, tmp_path, capsys):
    out = tmp_path / "out"
    export.main(words(spelling_whisper, out, "--format", "huggingface", "ctranslate2"))
    assert sorted(folder.name for folder in out.iterdir()) == ["ctranslate2", "huggingface"]
    files = {folder.name: {file.name for file in folder.iterdir()} for folder in out.iterdir()}
    assert files["huggingface"] >= {"model.safetensors", "generation_config.json", "preprocessor_config.json"}
    assert files["ctranslate2"] >= {"model.bin", "config.json", "tokenizer.json", "preprocessor_config.json"}
    readme = (out / "ctranslate2/README.md").read_text()
    assert "TRAINING.md" not in readme
    assert f"python export.py --model {spelling_whisper}" in readme and "float16" in readme
    assert "WhisperModel" in readme and "not compared" in readme
    assert "pipeline" in (out / "huggingface/README.md").read_text()
    told = capsys.readouterr()
    assert f"{out / 'ctranslate2'}: written." in told.out and told.err == ""  # libraries are silent


def test_a_finished_export_is_reused_and_one_of_other_arguments_replaced(spelling_whisper, tmp_path, capsys):
    argv = words(spelling_whisper, tmp_path / "out", "--format", "huggingface")
    export.main(argv)
    before = (tmp_path / "out/model.safetensors").stat()
    export.main(argv)
    assert "already exported" in capsys.readouterr().out
    assert (tmp_path / "out/model.safetensors").stat().st_mtime_ns == before.st_mtime_ns
    export.main([*argv, "--precision", "float16"])
    assert (tmp_path / "out/model.safetensors").stat().st_size < 0.6 * before.st_size
    assert json.loads((tmp_path / "out/export.json").read_text())["scores"] == []


def test_what_cannot_be_done_is_told_before_any_work(spelling_whisper, tmp_path, capsys):
    foreign = tmp_path / "out"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    argv = words(spelling_whisper, foreign, "--format", "huggingface", "--precision", "q5_0")
    assert status_of(argv) == 2
    told = capsys.readouterr().err
    assert "precision q5_0: huggingface has float32, float16, bfloat16." in told
    assert "holds something other than an export" in told
    assert [file.name for file in foreign.iterdir()] == ["thesis.txt"]
    assert status_of(words(tmp_path / "nowhere", tmp_path / "o", "--format", "huggingface")) == 2
    assert status_of(words(spelling_whisper, tmp_path / "o", "--format", "adapter")) == 2
    assert "expected an adapter" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    doubled = words(spelling_whisper, tmp_path / "o", "--format", "ggml", "ggml")
    assert status_of(doubled) == 2 and "given more than once" in capsys.readouterr().err


def test_a_missing_library_is_named_with_the_line_for_pip(spelling_whisper, tmp_path, monkeypatch, capsys):
    find = export.__spec__ and __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: None if name in ("onnx_ir", "whisper", "faster_whisper") else find(name),
    )
    argv = words(spelling_whisper, tmp_path / "o", "--format", "onnx", "openai", "ctranslate2")
    assert status_of(argv) == 2
    assert "pip install onnx-ir (tested versions" in capsys.readouterr().err  # no parity: no runtime
    argv.remove("--no_parity")
    assert status_of(argv) == 2
    assert "pip install faster-whisper onnx-ir openai-whisper" in capsys.readouterr().err


def test_the_readme_is_a_card_by_which_servers_find_the_model(spelling_whisper, tmp_path):
    """Speaches lists models of this library and task: speaches/executors/whisper.py and hf_utils.py there."""
    model = tmp_path / "best"
    shutil.copytree(spelling_whisper, model)
    (model / "train.yaml").write_text("model_name_or_path: openai/whisper-base\nlanguage: it\n")
    (model / "README.md").write_text("Trained for an hour.")
    export.main(words(model, tmp_path / "out", "--format", "huggingface", "ctranslate2"))
    card = ModelCard.load(tmp_path / "out/ctranslate2/README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("ctranslate2", "automatic-speech-recognition")
    assert (card.data.base_model, card.data.language) == ("openai/whisper-base", ["it"])
    assert 'language="it"' in card.text  # in the example of use
    assert "(TRAINING.md)" in card.text
    assert (tmp_path / "out/ctranslate2/TRAINING.md").read_text() == "Trained for an hour."
    assert ModelCard.load(tmp_path / "out/huggingface/README.md").data.library_name == "transformers"

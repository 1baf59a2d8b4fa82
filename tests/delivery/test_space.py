"""export.py --space: a folder that Hugging Face can run, and a page that says what the model says."""

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import gradio as gr
import numpy as np
import pysubs2
import pytest
import soundfile
import torch
from huggingface_hub import RepoCard
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration, WhisperProcessor

import export

TONE = 0.3 * np.sin(np.arange(48_000) * 0.05).astype(np.float32)  # 3 s without a pause


@pytest.fixture(scope="module")
def half_whisper(spelling_whisper, tmp_path_factory) -> Path:
    """A model of short texts whose weights float16 can hold: its copy in a Space computes the same."""
    folder = tmp_path_factory.mktemp("half") / "best"
    shutil.copytree(spelling_whisper, folder)
    weights = load_file(folder / "model.safetensors")
    weights = {name: weight.half().float() for name, weight in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change_generation(folder, max_length=40)
    (folder / "train.yaml").write_text("model_name_or_path: openai/whisper-base\nlanguage: it\n")
    return folder


def change_generation(folder: Path, **values: object) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(scope="module")
def space(half_whisper, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("space") / "it"
    export.main(["--model", str(half_whisper), "--space", str(folder)])
    return folder


@pytest.fixture(scope="module")
def app(space) -> types.ModuleType:
    return run_app(space)


def run_app(space: Path) -> types.ModuleType:
    """What `python app.py` runs, but for the start of the server; the state of this process is kept."""
    spec = importlib.util.spec_from_file_location("space_app", space / "app.py")
    module, threads = importlib.util.module_from_spec(spec), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os.environ | {"CPU_CORES": "3"})
        spec.loader.exec_module(module)
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and os.environ["HF_HUB_OFFLINE"] == "1"
        assert os.environ["HF_HUB_DISABLE_TELEMETRY"] in ("1", "True")
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)
    return module


def said_by(folder: Path, samples: np.ndarray) -> str:
    """The text of transformers itself for a clip."""
    processor = WhisperProcessor.from_pretrained(folder)
    inputs = processor.feature_extractor(samples, sampling_rate=16_000, return_tensors="pt")
    tokens = WhisperForConditionalGeneration.from_pretrained(folder).generate(
        inputs.input_features, language="it", task="transcribe"
    )
    return processor.decode(tokens[0], skip_special_tokens=True).strip()


def test_the_folder_is_what_hugging_face_runs(space):
    assert {file.name for file in space.iterdir()} == {
        *("README.md", "app.py", "requirements.txt", "model", "export.json")
    }
    head = RepoCard.load(space / "README.md").data.to_dict()
    assert head["sdk"] == "gradio" and head["sdk_version"] == version("gradio")
    assert head["python_version"] == "3.12" and head["app_file"] == "app.py"
    assert head["models"] == ["openai/whisper-base"] and "Italian" in head["title"]
    lines = (space / "requirements.txt").read_text().splitlines()
    needed = {line.name: line.specifier for line in map(Requirement, filter(lambda x: x[0] != "#", lines))}
    assert needed.keys() == {"torch", "transformers", "av", "numpy", "spaces"}  # Gradio is the SDK
    assert {release for release in ("2.7.1", "2.8.0", "2.11.0", "2.13.0") if release in needed["torch"]} == {
        *("2.8.0", "2.11.0", "2.13.0")
    }
    for name in needed.keys() - {"spaces"}:
        assert version(name).split("+")[0] in needed[name]
    model = {file.name for file in (space / "model").iterdir()}
    assert model >= {"model.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"}
    assert "train.yaml" not in model  # it may name folders of this machine
    assert {weight.dtype for weight in load_file(space / "model/model.safetensors").values()} == {
        torch.float16
    }


def test_its_code_is_short_and_without_complaints(space):
    assert len((space / "app.py").read_text().splitlines()) <= 130
    found = [sys.executable, "-m", "ruff", "check", "--isolated", str(space)]
    assert subprocess.run(found, capture_output=True, check=False).returncode == 0


def test_it_says_what_the_model_says_with_times_and_subtitles(app, half_whisper, tmp_path):
    pause = np.zeros(16_000 * 3, np.float32)
    soundfile.write(tmp_path / "talk.wav", np.concatenate([TONE, pause, TONE]), 16_000, subtype="FLOAT")
    text, rows, path = app.transcribe(str(tmp_path / "talk.wav"))
    expected = said_by(half_whisper, TONE)
    assert {*app.sound.sources} == {"microphone", "upload"} and app.sound.buttons == []  # none shares
    assert len(expected) > 10 and text == f"{expected}\n{text.splitlines()[1]}"
    assert (rows[0][0], rows[-1][1]) == ("00:00:00,000", "00:00:09,200")
    subtitles = pysubs2.load(path)
    assert path == str(tmp_path / "talk.srt")
    assert [line.plaintext for line in subtitles] == [line for *_, line in rows]
    second = next(line for line in subtitles if line.start > 4000)
    assert second.start == 5800 and all(line.start < line.end <= 9200 for line in subtitles)
    assert "".join(line for *_, line in rows).replace(" ", "") == "".join(text.split())


def test_a_gpu_is_lent_for_the_length_of_the_audio(space, monkeypatch, tmp_path):
    """With a stand-in for the package `spaces`, whose decorator does nothing outside ZeroGPU."""
    lent = []

    def lend(duration):
        def wrap(function):
            return lambda pieces: lent.append((len(pieces), duration(pieces))) or function(pieces)

        return wrap

    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lend))
    app = run_app(space)
    monkeypatch.setattr(app, "BATCH_SIZE", 1)
    monkeypatch.setattr(app.model, "generate", lambda **inputs: torch.zeros(len(inputs["input_features"]), 1))
    app.processor.batch_decode = lambda tokens, **options: ["a"] * len(tokens)
    soundfile.write(tmp_path / "talk.wav", np.tile(TONE, 8), 16_000)
    app.transcribe(str(tmp_path / "talk.wav"))
    assert [pieces for pieces, _ in lent] == [1, 1] and all(11 <= seconds <= 13 for _, seconds in lent)


def test_what_cannot_be_transcribed_is_told(app, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "tone.wav", TONE, 16_000)
    soundfile.write(tmp_path / "silence.wav", 0 * TONE, 16_000)
    (tmp_path / "empty.mp3").write_bytes(b"")
    soundfile.write(tmp_path / "tone.mp3", TONE, 16_000)  # FFmpeg plays it by this list, if it may
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{tmp_path / 'tone.mp3'}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    for name in ("empty.mp3", "list.m3u8"):
        with pytest.raises(gr.Error, match="No sound can be read"):
            app.transcribe(str(tmp_path / name))
    with pytest.raises(gr.Error, match="No speech was found"):
        app.transcribe(str(tmp_path / "silence.wav"))
    with pytest.raises(gr.Error, match="choose a file"):
        app.transcribe(None)
    monkeypatch.setattr(app, "MOST_MINUTES", 2.9 / 60)
    with pytest.raises(gr.Error, match="over"):
        app.transcribe(str(tmp_path / "tone.wav"))


@given(
    st.lists(st.tuples(st.integers(1, 260), st.sampled_from([0.0, 1e-4, 0.01, 0.3])), min_size=1, max_size=6)
)
@settings(deadline=None, max_examples=40)
def test_pieces_are_short_and_hold_all_that_is_loud(app, blocks):
    """Blocks of so many frames of 0.2 s, each as loud as said."""
    volumes = np.concatenate([np.full(frames, volume, np.float32) for frames, volume in blocks] + [[0.0]])
    audio = np.repeat(volumes.astype(np.float32), 3_200)
    pieces = [(first / 3_200, last / 3_200) for first, last in app.cut_at_pauses(audio)]
    assert all(0 < last - first <= 100 for first, last in pieces)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(pieces))
    held = np.zeros(len(volumes) + 1, bool)
    for first, last in pieces:
        held[int(first) : int(last)] = True
    assert held[: len(volumes)][volumes >= 0.1].all()
    assert not held[: len(volumes)][volumes == 0].sum() > 12 * (len(pieces) + 1)


def status_of(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        export.main(argv)
    return ended.value.code


def test_a_space_is_reused_replaced_or_names_a_model_of_the_hub(half_whisper, tmp_path, capsys):
    folder = tmp_path / "space"
    argv = ["--model", str(half_whisper), "--space", str(folder), "--hub_model_id", "me/whisper-it"]
    export.main(argv)
    assert "written" in capsys.readouterr().out and not (folder / "model").exists()
    assert 'MODEL = "me/whisper-it"' in (folder / "app.py").read_text()
    assert "HF_HUB_OFFLINE" not in (folder / "app.py").read_text()
    head = RepoCard.load(folder / "README.md").data.to_dict()
    assert head["models"] == head["preload_from_hub"] == ["me/whisper-it"]
    export.main(argv)
    assert "already exported" in capsys.readouterr().out
    export.main([*argv, "--language", "fa"])
    assert '"<|fa|>"' in (folder / "app.py").read_text()
    (folder / "thesis.txt").write_text("precious")
    assert status_of(argv) == 2 and "thesis.txt" in {file.name for file in folder.iterdir()}
    assert "something other than a Space" in capsys.readouterr().err


def test_formats_and_a_space_come_from_one_command(half_whisper, tmp_path, capsys):
    argv = ["--model", str(half_whisper), "--format", "huggingface", "--no_parity"]
    argv += ["--output_dir", str(tmp_path / "out")]
    export.main(argv)
    export.main([*argv, "--space", str(tmp_path / "space")])
    told = capsys.readouterr().out
    assert f"{tmp_path / 'space'}: written" in told and f"{tmp_path / 'out'}: already exported" in told


def test_what_is_missing_or_wrong_is_told(half_whisper, tmp_path, capsys):
    model = ["--model", str(half_whisper)]
    assert status_of(model) == 2 and "add --format and --output_dir, or --space" in capsys.readouterr().err
    assert (
        status_of([*model, "--format", "ggml"]) == 2
        and "format needs --output_dir" in capsys.readouterr().err
    )
    to_space = [*model, "--space", str(tmp_path / "space")]
    assert status_of([*to_space, "--hub_model_id", "me"]) == 2 and "user/name" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_language_that_the_model_lacks_is_told(half_whisper, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(half_whisper, model)
    argv = ["--model", str(model), "--space", str(tmp_path / "space"), "--language", "fa"]
    known = json.loads((model / "generation_config.json").read_text())["lang_to_id"]
    change_generation(model, lang_to_id={"<|it|>": known["<|it|>"]})
    assert status_of(argv) == 2 and "does not know the language fa" in capsys.readouterr().err
    change_generation(model, is_multilingual=False)
    assert status_of(argv) == 2 and "knows only English, but language is fa" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["model"]  # no half of a Space
    export.main([*argv[:-1], "en"])
    assert "SPEECH = {}" in (tmp_path / "space/app.py").read_text()

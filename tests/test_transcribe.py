"""transcribe.py as a user runs it, with a random Whisper that writes letters."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pysubs2
import pytest
import soundfile
from transformers.models.whisper.tokenization_whisper import LANGUAGES

import transcribe
from utils.arguments.parsing import parse_arguments
from utils.arguments.transcribe import TranscribeArguments
from utils.delivery.cues import Layout
from utils.model.loading import load_model

FORMATS = ("txt", "srt", "vtt", "tsv", "json")


@pytest.fixture(scope="module")
def speech(italian_prompts) -> list[np.ndarray]:
    """Four prompts of 1 to 4 s."""
    return [samples for samples, _ in italian_prompts if len(samples) < 64_000][:4]


@pytest.fixture
def folder(speech, tmp_path) -> Path:
    """A folder of three recordings, one of them below another folder."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, samples in zip(("a.wav", "b.flac", "deep/c.wav"), speech, strict=False):
        soundfile.write(tmp_path / "in" / name, samples, 16_000)
    return tmp_path / "in"


@pytest.fixture
def run(spelling_whisper, tmp_path) -> Callable[..., Path]:
    """A function that runs the script on words; it gives the folder of the results."""

    def start(*words: object, out: str = "out", model: object = spelling_whisper) -> Path:
        fixed = ["--model", str(model), "--output_dir", str(tmp_path / out), "--dtype", "float32"]
        transcribe.main([*fixed, "--generation_max_length", "24", *map(str, words)])
        return tmp_path / out

    return start


def status_of(run: Callable[..., Path], *words: object, **options: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(*words, **options)
    return ended.value.code


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def times_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.txt")}


def record_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "transcribed.jsonl").read_text().splitlines()]


def segments_of(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["segments"]


# ---- what reaches the decoder ------------------------------------------------------------------------------


def opened(spelling_whisper, *words: str, files=()):
    arguments = parse_arguments(
        TranscribeArguments, ["--model", str(spelling_whisper), "--output_dir", "o", "x.wav", *words]
    )
    with transcribe.open_reader(arguments, files) as reader:
        return reader.request, reader._transcriber


def test_every_flag_of_decoding_reaches_the_decoder(spelling_whisper):
    words = ["--batch_size", "3", "--max_line_width", "30", "--max_line_count", "1", "--seed", "7"]
    words += ["--max_reading_speed", "12", "--task", "translate", "--audio_context", "dynamic"]
    words += ["--prompt_terms", "Anna", "--generation_max_length", "99", "--dtype", "bfloat16"]
    request, transcriber = opened(spelling_whisper, *words)
    tokenizer = load_model(str(spelling_whisper)).processor.tokenizer
    assert (request.batch_size, request.layout, request.seed) == (3, Layout(30, 1, 12.0), 7)
    assert (request.task, request.audio_context) == ("translate", "dynamic")
    assert request.previous == tokenizer(" Anna", add_special_tokens=False).input_ids
    options = transcriber.options
    assert (options.task, options.max_length, options.dtype) == ("translate", 99, "bfloat16")


def test_the_usual_request(spelling_whisper):
    request, _ = opened(spelling_whisper)
    assert (request.task, request.audio_context, request.batch_size) == ("transcribe", "full", 8)
    assert (request.layout, request.previous, request.seed) == (Layout(), [], 42)


def test_a_tuned_model_keeps_its_task_and_its_context(spelling_whisper, tmp_path):
    tuned = shutil.copytree(spelling_whisper, tmp_path / "tuned")
    (tuned / "train.yaml").write_text("audio_context: dynamic\ntask: translate\n")
    request, transcriber = opened(tuned)
    assert (request.audio_context, request.task, transcriber.options.task) == ("dynamic", *["translate"] * 2)
    assert opened(tuned, "--audio_context", "full")[0].audio_context == "full"


def test_beams_reach_ctranslate2(spelling_whisper):
    _, transcriber = opened(
        spelling_whisper, "--backend", "ctranslate2", "--num_beams", "3", "--dtype", "float32"
    )
    assert transcriber.options.num_beams == 3 and type(transcriber).__name__ == "CTranslate2Transcriber"


@pytest.mark.parametrize("backend", ["transformers", "ctranslate2"])
def test_backends_write_words_with_times_and_hear_the_terms(backend, folder, run):
    words = [folder / "a.wav", "--language", "it", "--backend", backend, "--format", "json"]
    plain = segments_of(run(*words, out="plain") / "a.json")
    told = segments_of(run(*words, "--prompt_terms", "Anna Rossi", out="told") / "a.json")
    for segments in (plain, told):
        check_times(segments, soundfile.info(folder / "a.wav").duration)
    assert [segment["text"] for segment in plain] != [segment["text"] for segment in told]


def check_times(segments: list[dict], duration: float) -> None:
    times = [time for s in segments for word in s["words"] for time in (word["start"], word["end"])]
    assert times and times == sorted(times) and times[0] >= 0 and times[-1] <= duration + 0.001


# ---- files in, files out -----------------------------------------------------------------------------------


def test_all_formats_of_all_files_of_a_folder(folder, run, capsys):
    out = run(folder, "--format", *FORMATS)
    stems = ("a", "b", "deep/c")
    assert names_in(out) == sorted(
        [".lock", "transcribed.jsonl", *(f"{s}.{f}" for s in stems for f in FORMATS)]
    )
    output = capsys.readouterr().out
    assert "3 files" in output and "RTFx" in output and "failed" not in output
    durations = {Path(line["source"]).name: line["duration"] for line in record_of(out)}
    for name in ("a.wav", "b.flac", "deep/c.wav"):
        assert durations[Path(name).name] == pytest.approx(soundfile.info(folder / name).duration)


def test_layout_reaches_the_subtitles(folder, run):
    narrow = ("--max_line_width", "8", "--max_line_count", "1", "--max_reading_speed", "1000")
    wide = pysubs2.load(str(run(folder / "a.wav", "--format", "srt", out="wide") / "a.srt"))
    events = pysubs2.load(str(run(folder / "a.wav", "--format", "srt", *narrow, out="narrow") / "a.srt"))
    assert len(events) > len(wide) or events[-1].end < wide[-1].end
    assert not any("\n" in event.plaintext for event in events)


def test_languages_are_those_of_the_manifest_or_the_flag_or_detected(folder, run):
    lines = [{"audio": "a.wav", "language": "fa"}, {"audio": "b.flac"}]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = record_of(run(folder / "list.jsonl", "--language", "it", out="told"))
    assert [line["language"] for line in told] == ["fa", "it"]
    (found,) = record_of(run(folder / "b.flac", out="found"))
    assert found["language"] in LANGUAGES


def test_standard_input_is_transcribed_each_time(folder, run, monkeypatch, capsys):
    for name in ("a.wav", "deep/c.wav"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((folder / name).read_bytes())))
        out = run("-")
    assert [line["source"] for line in record_of(out)] == ["-", "-"]
    durations = [line["duration"] for line in record_of(out)]
    expected = [soundfile.info(folder / name).duration for name in ("a.wav", "deep/c.wav")]
    assert durations == pytest.approx(expected)
    assert names_in(out) == [".lock", "stdin.txt", "transcribed.jsonl"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert status_of(run, "-") == 1
    assert "-: failed: empty file" in capsys.readouterr().out


def test_silence_has_no_text(run, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    out = run(tmp_path / "silence.wav", "--format", *FORMATS)
    assert (out / "silence.srt").read_text() == "" and segments_of(out / "silence.json") == []


# ---- going on ----------------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(folder, run, monkeypatch, capsys):
    out = run(folder)
    before = times_in(out)
    monkeypatch.setattr(transcribe, "open_reader", lambda *_: pytest.fail("opened"))
    run(folder, "--batch_size", "2")
    assert times_in(out) == before and "3 done before" in capsys.readouterr().out
    run(folder / "a.wav", folder / "b.flac")
    assert times_in(out) == before


def test_a_changed_file_alone_is_done_again(folder, run, speech, capsys):
    out = run(folder)
    before = times_in(out)
    soundfile.write(folder / "a.wav", speech[3], 16_000)
    (out / "b.txt").unlink()
    run(folder)
    after = times_in(out)
    assert after["c.txt"] == before["c.txt"]
    assert after["a.txt"] > before["a.txt"] and after["b.txt"] > before["b.txt"]
    told = capsys.readouterr().out
    assert "2 files, " in told and "1 done before" in told


def test_another_model_of_the_name_or_other_arguments_do_all_again(folder, run, spelling_whisper, tmp_path):
    model = shutil.copytree(spelling_whisper, tmp_path / "model")
    out = run(folder, model=model)
    for change in ("model", "argument"):
        before = times_in(out)
        if change == "model":
            (model / "config.json").touch()
        run(folder, *(["--language", "it"] if change == "argument" else []), model=model)
        assert all(after > before[name] for name, after in times_in(out).items())


# ---- what is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("./no/model", "no such folder"),
        ("EMPTY", "config.json"),
        ("FILE", "found a file, expected a model folder"),
        ("ADAPTER", "gone"),
    ],
)
def test_models_that_are_none(model, expected, folder, run, spelling_whisper, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    without = shutil.ignore_patterns("config.json", "model.safetensors")
    shutil.copytree(spelling_whisper, tmp_path / "adapter", ignore=without)
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "gone"), "r": 2}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    given = {"EMPTY": tmp_path / "empty", "FILE": folder / "a.wav", "ADAPTER": tmp_path / "adapter"}
    assert status_of(run, folder, model=given.get(model, model)) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1 and expected in told and "Traceback" not in told
    assert names_in(tmp_path / "out") == [".lock"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["no.wav"], "no.wav: no such file or folder"),
        ([""], "empty name"),
        (["a" * 300], "File name too long"),
        (["IN", "--language", "xx"], "Whisper has no such language"),
        (["MANIFEST"], "xx"),
    ],
)
def test_words_that_are_wrong(words, expected, folder, run, capsys):
    (folder / "list.jsonl").write_text('{"audio": "a.wav", "language": "xx"}')
    given = {"IN": folder, "MANIFEST": folder / "list.jsonl"}
    assert status_of(run, *(given.get(word, word) for word in words)) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1 and expected in told and "Traceback" not in told


@pytest.mark.parametrize("out", ["in/a.wav", "in/a.wav/below"])
def test_results_in_a_file(out, folder, run, capsys):
    assert status_of(run, folder, out=out) == 2
    assert capsys.readouterr().err.count("error:") == 1


def test_a_launcher_is_refused(folder, run, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert status_of(run, folder) == 2
    assert "Start it with python" in capsys.readouterr().err


def test_doubtful_and_uncovered_seconds_are_told(run, folder, monkeypatch, capsys):
    from utils.delivery import transcript_files

    summary = transcript_files.Summary(9.0, "it", 2.5, 4.25)
    monkeypatch.setattr(transcript_files, "summarise", lambda transcript: summary)
    run(folder)
    lines = capsys.readouterr().out.splitlines()
    assert f"{folder}/a.wav: 2.5 s of text may be wrong, marked [?]" in lines
    assert f"{folder}/deep/c.wav: 4.2 s of speech have no text" in lines

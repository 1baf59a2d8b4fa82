"""evaluate.py as a user runs it: a tiny random Whisper on a prepared dataset of tones."""

import io
import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import yaml
from datasets import Dataset, DatasetDict, Features, Value, load_from_disk

import evaluate
from tests.support.warm_processes import start_warm
from utils.arguments.evaluate import EvaluateArguments
from utils.arguments.parsing import parse_arguments
from utils.evaluation.evaluation_folder import describe_inputs, is_already_evaluated
from utils.evaluation.models import find_task

ROOT = Path(__file__).parent.parent
TEXTS = ["uno due", "tre", "quattro cinque sei", "sette otto", "nove dieci", "zero"]
DURATIONS = [0.6, 1.4, 0.9, 2.2, 1.1, 0.7]


def tone(seconds: float) -> bytes:
    buffer = io.BytesIO()
    samples = 0.1 * np.sin(np.arange(int(16_000 * seconds)) * 0.1)
    soundfile.write(buffer, samples, 16_000, format="FLAC")
    return buffer.getvalue()


def write_dataset(folder: Path) -> Path:
    """Six clips of two speakers as a test split, and an empty validation split."""
    columns = {"id": "string", "audio": "binary", "text": "string", "duration": "float64"}
    columns |= {"language": "string", "speaker": "string"}
    rows = {
        "id": [f"clip{n}" for n in range(6)],
        "audio": [tone(seconds) for seconds in DURATIONS],
        "text": TEXTS,
        "duration": DURATIONS,
        "language": [None, "it", "it", "it", "it", "it"],
        "speaker": ["A", "B"] * 3,
    }
    features = Features({name: Value(kind) for name, kind in columns.items()})
    splits = {
        "test": Dataset.from_dict(rows, features=features),
        "validation": Dataset.from_dict({name: [] for name in rows}, features=features),
    }
    DatasetDict(splits).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "it")


@pytest.fixture(scope="module")
def tuned(tiny_whisper, tmp_path_factory) -> Path:
    """The tiny model as a run on dynamic context would have left it."""
    folder = tmp_path_factory.mktemp("run") / "best"
    shutil.copytree(tiny_whisper, folder)
    (folder / "train.yaml").write_text("audio_context: dynamic\n")
    (folder / "train_results.json").write_text('{"trainable_parameters": 1234}\n')
    return folder


def command(models, dataset, output_dir, *further: str, probe: bool = False) -> list[str]:
    """Words of the command line; without the sounds in which nobody speaks unless they are asked for."""
    words = ["--models", *map(str, models), "--dataset", str(dataset), "--output_dir", str(output_dir)]
    words += ["--language", "it", "--generation_max_length", "12", "--bootstrap_samples", "50"]
    words += [] if probe else ["--no_probe_hallucination"]
    return [*words, "--per_device_eval_batch_size", "4", "--dtype", "float32", *further]


@pytest.fixture(scope="module")
def finished(tiny_whisper, tuned, dataset, tmp_path_factory) -> Path:
    """An evaluation folder of both models."""
    output_dir = tmp_path_factory.mktemp("report") / "both"
    evaluate.main(command([tiny_whisper, tuned], dataset, output_dir, probe=True))
    return output_dir


@pytest.fixture
def scratch(finished, tmp_path) -> Path:
    """A copy of the evaluation folder that a test may change, times kept."""
    return Path(shutil.copytree(finished, tmp_path / "both"))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def error_of(words: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        evaluate.main(words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_every_file_is_written(finished):
    assert {path.name for path in finished.iterdir()} == {
        "evaluate.yaml",
        "predictions.jsonl",
        "evaluation_results.json",
        "comparative_analysis.json",
        "report.html",
        "tables",
        "plots",
    }
    assert (finished / "plots" / "before_after.png").is_file()
    assert (finished / "tables" / "scores.csv").is_file()


def test_contexts_follow_the_models_and_their_order(finished, tiny_whisper, tuned, dataset):
    rows = read_json(finished / "evaluation_results.json")["results"]
    assert [(row["model"], row["audio_context"]) for row in rows] == [
        (str(tiny_whisper), "full"),
        (str(tuned), "full"),
        (str(tuned), "dynamic"),
    ]
    assert all((row["dataset"], row["split"]) == (str(dataset), "test") for row in rows)
    assert [row["trainable_parameters"] for row in rows] == [None, 1234, 1234]
    assert all(row["audio_seconds"] == pytest.approx(sum(DURATIONS)) for row in rows)
    assert all(row["rtfx"] > 0 for row in rows)


def test_scores_agree_with_jiwer_on_the_predictions(finished):
    lines = read_lines(finished / "predictions.jsonl")
    for row in read_json(finished / "evaluation_results.json")["results"]:
        key = (row["model"], row["audio_context"])
        own = [line for line in lines if (line["model"], line["audio_context"]) == key]
        assert [line["reference"] for line in own] == TEXTS
        assert [line["id"] for line in own] == [f"clip{n}" for n in range(6)]
        references, hypotheses = ([line[side] for line in own] for side in ("reference", "hypothesis"))
        assert row["raw"]["wer"] == pytest.approx(jiwer.wer(references, hypotheses))
        assert row["raw"]["cer"] == pytest.approx(jiwer.cer(references, hypotheses))
        for speaker, members in row["groups"]["speaker"].items():
            start = "AB".index(speaker)
            assert members["raw"]["wer"] == pytest.approx(
                jiwer.wer(references[start::2], hypotheses[start::2])
            )


def test_equal_weights_give_equal_scores_and_no_difference(finished):
    analysis = read_json(finished / "comparative_analysis.json")
    full = [c for c in analysis["comparisons"] if c["audio_context"] == "full"]
    assert [(c["text"], c["wer_reduction"], c["ties"]) for c in full] == [
        ("raw", 0, 6),
        ("normalized", 0, 6),
    ]
    assert {c["audio_context"] for c in analysis["comparisons"]} == {"full", "dynamic"}
    assert "is not shown to differ" in analysis["verdict"]


def test_rerun_prints_the_same_tables_and_decodes_nothing(finished, tiny_whisper, tuned, dataset, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    evaluate.main(command([tiny_whisper, tuned], dataset, finished, probe=True))
    output = capsys.readouterr().out
    assert "already evaluated" in output
    assert output.count("raw_wer_score") == 3
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_other_arguments_are_refused_and_named(finished, tiny_whisper, tuned, dataset, capsys):
    message = error_of(
        command([tiny_whisper, tuned], dataset, finished, "--split", "train", probe=True), capsys
    )
    assert "split: test there, train now" in message
    assert "Choose another --output_dir" in message


def test_another_model_or_dataset_of_the_name_is_evaluated_again(scratch, tiny_whisper, tuned, dataset):
    arguments = parse_arguments(
        EvaluateArguments, command([tiny_whisper, tuned], dataset, scratch, probe=True)
    )

    def is_reused(arguments=arguments) -> bool:
        names = [*arguments.models, *arguments.dataset]
        return is_already_evaluated(arguments, describe_inputs(names, scratch), scratch)

    assert is_reused()
    for file in (tuned / "model.safetensors", dataset / "test" / "state.json"):
        written = file.stat().st_mtime_ns
        for other in (written + 10**10, written - 10**10):  # a model that was moved here may well be older
            os.utime(file, ns=(other, other))
            assert not is_reused()
        os.utime(file, ns=(written, written))
    assert is_reused()
    (scratch / "evaluation_results.json").unlink()  # a run that was killed
    assert not is_reused()
    others = replace(arguments, split="validation")  # nothing is lost by other arguments
    assert not is_reused(others)


def test_every_model_dataset_recording_and_guard_is_looked_at_before_a_report_is_reused(
    tmp_path, monkeypatch
):
    inputs = []
    monkeypatch.setattr(evaluate, "evaluate", lambda *call: inputs.append(call[2]))
    names = [str(tmp_path / name) for name in ("model", "data", "talks.jsonl", "guard")]
    for name in names:
        Path(name).mkdir()
    words = "--models {} --dataset {} --recordings {} --guard_datasets {}".format(*names).split()
    evaluate.main([*words, "--output_dir", str(tmp_path / "report")])
    assert list(inputs[0]) == names


def test_one_model_in_a_folder_that_holds_other_things(tuned, dataset, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    words = command([tuned], dataset, tmp_path, "--audio_context", "dynamic", "--max_samples", "3")
    evaluate.main(words)
    output = capsys.readouterr().out
    rows = read_json(tmp_path / "evaluation_results.json")["results"]
    assert [(row["audio_context"], row["num_utterances"]) for row in rows] == [("dynamic", 3)]
    assert not (tmp_path / "comparative_analysis.json").exists()
    assert not (tmp_path / "plots" / "before_after.png").exists()
    assert (tmp_path / "metrics.jsonl").read_text() == "{}\n"
    assert output.count("raw_wer_score") == 1
    assert yaml.safe_load((tmp_path / "evaluate.yaml").read_text())["max_samples"] == 3


def test_two_datasets_give_a_row_each(tiny_whisper, dataset, tmp_path):
    second = write_dataset(tmp_path / "second")
    words = command([tiny_whisper], dataset, tmp_path / "out")
    words.insert(words.index(str(dataset)) + 1, str(second))
    evaluate.main(words)
    rows = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert [row["dataset"] for row in rows] == [str(dataset), str(second)]
    assert len(read_lines(tmp_path / "out" / "predictions.jsonl")) == 12


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        (["--split", "dev"], "no split 'dev'. Its splits are: test, validation"),
        (["--split", "validation"], "the split 'validation' is empty"),
        (["--max_samples", "0"], "max_samples 0: expected at least 1"),
        (["--dataset", "a", "a"], "dataset: a given more than once"),
        (["--dataset", "no/such/folder"], "no/such/folder: no such folder"),
        (["--models", "./no/model", "./no/other"], "./no/other: no such folder"),
        (["--normalizer", "klingon"], "klingon"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    further, expected, tiny_whisper, dataset, tmp_path, capsys
):
    message = error_of(command([tiny_whisper], dataset, tmp_path / "out", *further), capsys)
    assert expected in message
    assert not (tmp_path / "out").exists()


def test_output_dir_that_is_a_file(tiny_whisper, dataset, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert "found a file" in error_of(command([tiny_whisper], dataset, tmp_path / "out"), capsys)


def test_processes_that_do_not_know_of_each_other_are_refused(
    tiny_whisper, dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = error_of(command([tiny_whisper], dataset, tmp_path / "out"), capsys)
    assert "2 processes were started, but each one sees 1" in message


def test_two_processes_score_what_one_scores(finished, tiny_whisper, tuned, dataset, tmp_path):
    """Six clips in batches of four: one process has two batches less than the other would like."""
    words = ["evaluate.py", *command([tiny_whisper, tuned], dataset, tmp_path / "both", probe=True)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # as `accelerate launch` leaves them, which test_accelerate_configs.py starts
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logs = [tmp_path / f"process-{rank}.log" for rank in range(2)]
    children = [
        start_warm(
            words, log, cwd=ROOT, env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank, log in enumerate(logs)
    ]
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0], "\n".join(log.read_text() for log in logs)
    assert [log.read_text().count("raw_wer_score") for log in logs] == [3, 0]  # one process speaks

    def results(folder: Path) -> list[dict]:
        rows = read_json(folder / "evaluation_results.json")["results"]
        return [{key: value for key, value in row.items() if key != "rtfx"} for row in rows]

    assert results(tmp_path / "both") == results(finished)
    assert read_lines(tmp_path / "both" / "predictions.jsonl") == read_lines(finished / "predictions.jsonl")
    analysis = read_json(finished / "comparative_analysis.json")
    assert read_json(tmp_path / "both" / "comparative_analysis.json") == analysis


def change_column(folder: Path, target: Path, column: str, change) -> Path:
    """A copy of a dataset whose test split has another column."""
    rows = load_from_disk(str(folder / "test"))
    values = change(list(rows[column]))
    changed = rows.remove_columns(column).add_column(column, values, feature=rows.features[column])
    DatasetDict({"test": changed}).save_to_disk(str(target))
    return target


def test_a_clip_that_cannot_be_decoded_is_counted_and_listed(tiny_whisper, dataset, tmp_path, capsys):
    broken = change_column(
        dataset, tmp_path / "data", "audio", lambda clips: [clips[0], b"no flac", *clips[2:]]
    )
    evaluate.main(command([tiny_whisper], broken, tmp_path / "out"))
    (row,) = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert row["num_utterances"] == 6 and row["failures"]["decoder error"] == 1
    assert row["raw"]["num_words"] == sum(len(text.split()) for text in TEXTS)
    line = read_lines(tmp_path / "out" / "predictions.jsonl")[1]
    assert line["failures"] == ["decoder error"] and "AudioError" in line["error"]
    assert line["hypothesis"] == "" and line["raw_word_errors"] == 1
    assert "decoder" in capsys.readouterr().out


def test_missing_references_are_refused(tiny_whisper, dataset, tmp_path, capsys):
    without = change_column(dataset, tmp_path / "data", "text", lambda texts: [texts[0], None, *texts[2:]])
    message = error_of(command([tiny_whisper], without, tmp_path / "out"), capsys)
    assert "1 of 6 utterances have no reference, first 'clip1'" in message


def test_a_guard_is_scored_once_and_judged(tiny_whisper, tuned, dataset, tmp_path, capsys):
    guard = write_dataset(tmp_path / "guard")
    words = command([tiny_whisper, tuned], dataset, tmp_path / "out", "--guard_datasets", str(guard))
    evaluate.main(words)
    rows = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert [(row["is_guard"], row["audio_context"]) for row in rows] == [
        (False, "full"),
        (True, "full"),
        (False, "full"),
        (False, "dynamic"),
        (True, "full"),
    ]
    (gate,) = read_json(tmp_path / "out" / "comparative_analysis.json")["gates"]
    assert not gate["promote"] and "not shown to make fewer" in gate["reasons"][0]
    assert any("a guard: kept" in sentence for sentence in gate["passed"])
    assert "Do not promote" in " ".join(capsys.readouterr().out.split())


def test_in_the_dynamic_context_alone_guards_have_the_full_one_and_nothing_is_promoted(
    tuned, dataset, tmp_path
):
    other = Path(shutil.copytree(tuned, tmp_path / "other"))
    guard = str(write_dataset(tmp_path / "guard"))
    further = ["--audio_context", "dynamic", "--guard_datasets", guard]
    evaluate.main(command([tuned, other], dataset, tmp_path / "out", *further))
    rows = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert [(row["is_guard"], row["audio_context"]) for row in rows] == 2 * [
        (False, "dynamic"),
        (True, "full"),
    ]
    (gate,) = read_json(tmp_path / "out" / "comparative_analysis.json")["gates"]
    assert not gate["promote"] and any("not decoded in the full context" in r for r in gate["reasons"])


def test_a_guard_is_not_taken_for_the_language_of_the_data(tiny_whisper, dataset, tmp_path):
    guard = str(write_dataset(tmp_path / "guard"))
    words = command([tiny_whisper], dataset, tmp_path / "out", "--guard_datasets", guard)
    own, its_guard = evaluate.load_evaluated(parse_arguments(EvaluateArguments, words, None))
    assert (own.evaluation_set.languages[0], its_guard.evaluation_set.languages[0]) == ("it", None)


def test_all_models_do_what_the_tuned_one_was_trained_for(tiny_whisper, tuned, dataset, tmp_path, capsys):
    def task_of(models: list, task: str = "auto") -> str:
        return find_task([str(model) for model in models], task)

    translating = Path(shutil.copytree(tuned, tmp_path / "translating"))
    (translating / "train.yaml").write_text("task: translate\n")
    transcribing = Path(shutil.copytree(tuned, tmp_path / "transcribing"))
    (transcribing / "train.yaml").write_text("task: transcribe\n")
    assert task_of([tiny_whisper]) == "transcribe"
    assert task_of([tiny_whisper, translating]) == "translate"
    assert task_of([translating], "transcribe") == "transcribe"
    message = error_of(command([translating, transcribing], dataset, tmp_path / "out"), capsys)
    assert "trained for different tasks" in message and "Give --task" in message


def test_a_language_that_a_model_lacks_is_detected_and_said(tiny_whisper, dataset, tmp_path):
    """As the base of a model with an added language, in a comparison of the two."""
    lacking = Path(shutil.copytree(tiny_whisper, tmp_path / "lacking"))
    config = read_json(lacking / "generation_config.json")
    config["lang_to_id"].pop("<|it|>")
    (lacking / "generation_config.json").write_text(json.dumps(config))
    evaluate.main(command([tiny_whisper, lacking], dataset, tmp_path / "out"))
    rows = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert [row["detected_languages"] for row in rows] == [[], ["it"]]
    assert "has no token for" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def write_recordings(folder: Path, seconds: float) -> Path:
    """A manifest of a recording in two timed lines, and of one in a line without times."""
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.flac").write_bytes(tone(seconds))
    lines = [
        {"audio": "a.flac", "text": "tre", "start": seconds / 2, "end": seconds},
        {"audio": "b.flac", "text": "quattro", "language": "en"},
        {"audio": "a.flac", "text": "uno due", "start": 0, "end": seconds / 2},
    ]
    manifest = folder / "corpus.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


@pytest.mark.parametrize(("long_form", "contexts"), [("sequential", 1), ("chunked", 2)])
def test_recordings_are_scored_as_a_whole(long_form, contexts, tuned, tmp_path):
    manifest = write_recordings(tmp_path / "data", seconds=32.0)
    words = ["--models", str(tuned), "--recordings", str(manifest), "--long_form", long_form]
    words += ["--language", "it", "--output_dir", str(tmp_path / "out"), "--dtype", "float32"]
    evaluate.main([*words, "--generation_max_length", "12", "--no_probe_hallucination"])
    rows = read_json(tmp_path / "out" / "evaluation_results.json")["results"]
    assert [row["split"] for row in rows] == [f"{long_form} long form"] * contexts
    assert all(row["audio_seconds"] == 64 and row["raw"]["num_words"] == 4 for row in rows)
    lines = read_lines(tmp_path / "out" / "predictions.jsonl")
    assert {line["reference"] for line in lines} == {"uno due tre", "quattro"}
    assert {Path(line["id"]).name for line in lines} == {"a.flac", "b.flac"}


def test_recordings_that_cannot_be_read_are_told_and_none_is_left_out(tuned, tmp_path, capsys):
    manifest = write_recordings(tmp_path / "data", seconds=1.0)
    (tmp_path / "data" / "b.flac").write_bytes(b"no flac")
    words = ["--models", str(tuned), "--recordings", str(manifest), "--output_dir", str(tmp_path / "out")]
    message = error_of(words, capsys)
    assert "1 recordings or lines cannot be scored" in message and "b.flac" in message


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        (["--num_beams", "5"], "backend transformers has only greedy"),
        (
            ["--dtype", "int8"],
            "dtype int8: backend transformers does not support it; add --backend ctranslate2",
        ),
        (
            ["--backend", "faster-whisper", "--audio_context", "dynamic"],
            "backend faster-whisper does not support it",
        ),
        (["--backend", "ctranslate2", "--recordings", "x"], "Add --long_form chunked"),
        (["--guard_tolerance", "-1"], "guard_tolerance -1"),
    ],
)
def test_backends_refuse_what_they_cannot(further, expected, tiny_whisper, dataset, tmp_path, capsys):
    assert expected in error_of(command([tiny_whisper], dataset, tmp_path / "out", *further), capsys)

"""benchmarks/: the arithmetic by hand, and each run through with a tiny model."""

import ast
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    decode_speed,
    preprocess_speed,
    sweep,
    timestamps,
    train_speed,
    transcribe_speed,
)
from benchmarks.recordings import join_clips, write_longer_clips
from benchmarks.side_by_side import PEER, Measurement, run_alone, summarize, turns
from benchmarks.sweep_results import Result, compare_with_baseline, print_table, seconds_by_config
from tests.support.warm_processes import keep_benchmarks_warm
from utils.audio.flac import decode_flac
from utils.data.prepared_dataset import load_prepared
from utils.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
WITH_ARGUMENTS = [
    path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "ScriptArguments)" in path.read_text()
]


@pytest.fixture
def warm(monkeypatch) -> None:
    keep_benchmarks_warm(monkeypatch)


# ---- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WITH_ARGUMENTS, ids=lambda path: path.stem)
def test_every_argument_is_read_and_explains_itself(path: Path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    [record] = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name.endswith("Arguments")]
    fields = {item.target.id: item.value for item in record.body if isinstance(item, ast.AnnAssign)}
    read = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args"
    }
    assert fields.keys() | {"output_dir", "seed"} <= read
    assert all(value.args[0].value.endswith(".") for value in fields.values())


def test_both_sides_see_whole_batches(tmp_path):
    with pytest.raises(UserError, match="a multiple of batch_size 8"):
        train_speed.main(["--max_samples", "12", "--output_dir", str(tmp_path)])


def test_a_precision_that_is_not_measured_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--dtypes: invalid choice: .int8."):
        train_speed.main(["--dtypes", "float32", "int8", "--output_dir", str(tmp_path)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--ways full vera", r"--ways: invalid choice: .vera. .choose from .?untuned.?, .?full"),
        ("--lines gsm alaw+g729", r"lines alaw\+g729: expected a chain such as alaw\+gsm of telephone, alaw"),
        ("--ways mixed", r"ways mixed: give the --guard_language"),
    ],
)
def test_what_a_sweep_does_not_know_is_refused(words: str, message: str, tmp_path):
    with pytest.raises(UserError, match=message):
        sweep.main([*words.split(), "--output_dir", str(tmp_path)])


# ---- sides in turns ----------------------------------------------------------------------------------------


def test_rounds_turn_the_order_around():
    assert turns(["a", "b"], 3) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_medians_and_the_worst_round_against_the_peer():
    rates = {"ours": [10.0, 10.0, 12.0], PEER: [1.0, 2.0, 1.5]}
    measurements = [
        Measurement(side, dtype, number, rate, peak_memory_bytes=number, normalized_wer=number / 8)
        for dtype in ("bfloat16", "float32")
        for side, values in rates.items()
        for number, rate in enumerate(values)
    ]
    found = summarize(measurements)
    assert [(item["dtype"], item["side"]) for item in found] == [
        *(("float32", PEER), ("float32", "ours"), ("bfloat16", PEER), ("bfloat16", "ours"))
    ]
    assert found[0]["ratio"] == 1.0
    assert found[1]["ratio"] == pytest.approx(10 / 1.5)
    assert found[1]["lowest_ratio"] == pytest.approx(5.0)
    assert (found[1]["peak_memory_bytes"], found[1]["normalized_wer"], found[1]["disk_bytes"]) == (
        2,
        1 / 8,
        None,
    )


def test_a_failing_side_shows_the_end_of_its_output(tmp_path):
    with pytest.raises(UserError, match=r"(?s)ended with 3: .*what went wrong"):
        run_alone(["sh", "-c", "echo what went wrong; exit 3"], tmp_path / "side")


@pytest.mark.slow
def test_training_and_decoding_are_measured(warm, brief_whisper, prepared, tmp_path, capsys):
    common = ["--model_name_or_path", str(brief_whisper), "--dataset", str(prepared), "--rounds", "1"]
    train = [*common, "--max_samples", "8", "--output_dir", str(tmp_path / "train")]
    train_speed.main([*train, "--dtypes", "bfloat16", "--train_options", "memory=low"])
    decode = [*common, "--max_samples", "4", "--output_dir", str(tmp_path / "decode")]
    decode_speed.main([*decode, "--dtypes", "bfloat16"])
    decode_speed.main([*decode, "--clip_seconds", "6", "--dtypes", "float32"])
    for name, sides in (
        ("train/it-b8-memory=low", 2),
        ("decode/it-transformers-beam1", 2),
        ("decode/clips-6s-4-transformers-beam1", 2),
    ):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(found["measurements"]) == len(found["summaries"]) == sides
        assert all(item["audio_seconds_per_second"] > 0 for item in found["summaries"])
    assert "peak memory" in capsys.readouterr().out


@pytest.mark.slow
def test_both_ways_into_ctranslate2_are_measured(warm, prepared, tmp_path):
    """With real weights, since a random model writes nothing that could be told apart."""
    words = ["--model_name_or_path", "openai/whisper-base", "--dataset", str(prepared), "--rounds", "1"]
    words += ["--max_samples", "2", "--dtypes", "float32", "--output_dir", str(tmp_path)]
    decode_speed.main([*words, "--backend", "ctranslate2", "--clip_seconds", "6", "--num_beams", "2"])
    found = json.loads((tmp_path / "clips-6s-2-ctranslate2-beam2.json").read_text())
    peer, ours = found["summaries"]
    assert peer["audio_seconds_per_second"] > 0 and ours["audio_seconds_per_second"] > 0
    assert ours["normalized_wer"] == pytest.approx(peer["normalized_wer"], abs=0.35)


@pytest.mark.slow
def test_a_recording_is_transcribed_by_both(warm, prepared, tmp_path):
    """With real weights, since a random model writes nothing that could be told apart."""
    words = ["--dataset", str(prepared), "--minutes", "0.1", "--rounds", "1", "--dtypes", "float32"]
    transcribe_speed.main([*words, "--peer", "pipeline", "--output_dir", str(tmp_path)])
    peer, ours = json.loads((tmp_path / "ctranslate2-pipeline.json").read_text())["summaries"]
    assert peer["audio_seconds_per_second"] > 0 and ours["audio_seconds_per_second"] > 0
    assert ours["normalized_wer"] == pytest.approx(peer["normalized_wer"], abs=0.35)


@pytest.mark.slow
def test_preparing_is_measured(warm, prepared, tmp_path):
    words = ["--dataset", str(prepared), "--copies", "1", "--num_proc", "1", "--rounds", "1"]
    preprocess_speed.main([*words, "--output_dir", str(tmp_path)])
    peer, ours = json.loads((tmp_path / "preprocess_speed.json").read_text())["summaries"]
    assert peer["disk_bytes"] > 5 * ours["disk_bytes"] > 0  # features of 30 s beside clips of 3 s


# ---- recordings --------------------------------------------------------------------------------------------


def test_recordings_hold_every_clip_once_with_pauses_between():
    lengths = [9, 12, 3, 15, 2]
    clips = [(np.full(16_000 * s, number + 1.0), f"clip {number}") for number, s in enumerate(lengths)]
    recordings = list(join_clips(clips, 28.0, (0.3, 1.0), seed=0))
    assert sorted(clip.text for item in recordings for clip in item.clips) == [text for _, text in clips]
    for recording in recordings:
        assert recording.text == " ".join(clip.text for clip in recording.clips)
        assert recording.clips[0].start == 0 and len(recording.samples) <= 28 * 16_000
        assert len(recording.samples) / 16_000 == pytest.approx(recording.clips[-1].end, abs=1e-3)
        for clip in recording.clips:
            inside = recording.samples[round(clip.start * 16_000) : round(clip.end * 16_000)]
            number = int(clip.text.split()[1])
            assert len(inside) == 16_000 * lengths[number] and (inside == number + 1).all()
        for clip, following in itertools.pairwise(recording.clips):
            assert 0.29 <= following.start - clip.end <= 1.01
            between = recording.samples[round(clip.end * 16_000) : round(following.start * 16_000)]
            assert not between.any()
    for recording, following in itertools.pairwise(recordings):  # the next clip had no room
        first = following.clips[0]
        assert recording.clips[-1].end + 1.0 + first.end > 28.0
    orders = [[item.text for item in join_clips(clips, 28.0, (0.3, 1.0), seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_clips_come_again_in_another_order_and_words_end_a_recording():
    clips = [(np.ones(1600), f"uno due {number}") for number in range(6)]
    endless = join_clips(clips, 30.0, (0.0, 0.0), seed=0, again=True, most_words=18)
    first, second, third = itertools.islice(endless, 3)
    assert [sorted(clip.text for clip in item.clips) for item in (first, second)] == [
        [text for _, text in clips]
    ] * 2
    assert len({item.text for item in (first, second, third)}) > 1


def test_clips_are_joined_up_to_a_length(prepared, tmp_path):
    folder = write_longer_clips(str(prepared), "it", 8.0, 12, tmp_path)
    rows = load_prepared([folder], "train", language="auto")
    assert len(rows) == 12 and max(rows["duration"]) <= 8.0 and set(rows["language"]) == {"it"}
    assert sum(rows["duration"]) / 12 > 5.0  # clips of 0.5 to 6 s: another one would have been too long
    for row in rows:
        assert len(decode_flac(row["audio"])) == pytest.approx(16_000 * row["duration"])
    lone = write_longer_clips(str(prepared), "it", 1.0, 3, tmp_path)
    assert max(load_prepared([lone], "train", language="auto")["duration"]) <= 1.0
    with pytest.raises(UserError, match=r"no clip is shorter than 0\.1 s"):
        write_longer_clips(str(prepared), "it", 0.1, 3, tmp_path)


# ---- ways of training --------------------------------------------------------------------------------------


def result_of(way: str, seed: int, errors: list[int]) -> Result:
    """One reference of four words for each number of errors."""
    utterances = {str(number): [0, 0, missing, 4] for number, missing in enumerate(errors)}
    wer = {"full": 0.25}
    return Result(way, "it", seed, "cpu", 1, 1.0, 1.0, 1, 1, wer, wer, utterances)


def test_a_way_is_compared_over_the_seeds_that_both_have(capsys):
    """By hand: over seeds 1 and 2 the baseline makes 1 error in 16 words, LoRA 3; seed 3 it has alone."""
    results = [
        result_of("full-context", 1, [0, 1]),
        result_of("full-context", 2, [0, 0]),
        result_of("lora", 1, [0, 2]),
        result_of("lora", 2, [1, 0]),
        result_of("lora", 3, [4, 4]),
    ]
    # either utterance alone, over both seeds: one error more in its 8 words
    assert compare_with_baseline(results, "lora", "it") == pytest.approx((2 / 16, 1 / 8, 1 / 8))
    assert compare_with_baseline(results, "full-context", "it") is None
    assert compare_with_baseline(results, "dora", "it") is None
    alone = replace(result_of("untuned", 9, [1, 1]), ci95={"full": (0.2, 0.31)}, made_up={"full": 12.0})
    print_table([*results, alone], ["untuned", "lora", "full-context"])
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "│" in line]
    found = [
        [cell.strip() for cell in row]
        for row in rows
        if row[0].strip() in ("untuned", "lora", "full-context")
    ]
    assert [row[0] for row in found] == ["untuned", "lora", "full-context"]
    assert found[0][6:] == ["25.0 [20.0, 31.0]", "12.0", ""]
    assert found[1][6:] == ["25.0", "", "+12.5 [+12.5, +12.5]"]


def test_seconds_of_two_precisions_are_told_apart():
    first, second, third = (result_of("full", seed, [0]) for seed in (1, 2, 3))
    group = [replace(first, train_seconds=600.0), replace(second, train_seconds=1600.0)]
    group.append(replace(third, config="cpu_bf16", train_seconds=150.0))
    assert seconds_by_config(group) == "1,100 (cpu), 150 (cpu_bf16)"


def test_word_errors_of_the_full_context_are_kept(tmp_path):
    rows = [
        {"id": "b", "audio_context": "full", "reference": "Uno, due tre.", "hypothesis": "uno due quattro"},
        {"id": "a", "audio_context": "full", "reference": "Uno due", "hypothesis": "uno e due e"},
        {"id": "a", "audio_context": "dynamic", "reference": "Uno due", "hypothesis": ""},
    ]
    (tmp_path / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert sweep.count_full_context(tmp_path) == {"a": [0, 2, 0, 2], "b": [1, 0, 0, 3]}


def test_made_up_words_a_minute_by_hand():
    sorts = {
        "silence": {"words": 6, "audio_seconds": 20.0},
        "noise": {"words": 0, "audio_seconds": 10.0},
    }
    assert sweep.words_per_minute(sorts) == 12.0  # 6 words in half a minute


def test_the_results_kept_here_are_shown(tmp_path, capsys):
    sweep.main(
        [
            "--results_dir",
            str(ROOT / "benchmarks/results/sweep"),
            "--max_runs",
            "0",
            "--output_dir",
            str(tmp_path),
        ]
    )
    out = capsys.readouterr().out
    assert "nf4-lora" in out and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_sweep_goes_on_and_scores_what_else_it_is_told(warm, brief_whisper, tmp_path, capsys):
    words = ["--model_name_or_path", str(brief_whisper), "--num_train_epochs", "0.04", "--max_samples", "6"]
    words += ["--seeds", "1", "--guard_language", "en", "--lines", "alaw+gsm", "--probe"]
    words += ["--output_dir", str(tmp_path), "--ways", "untuned", "lora", "mixed"]
    sweep.main([*words, "--max_runs", "2"])
    results = tmp_path / "results"
    assert sorted(path.name for path in results.iterdir()) == ["lora-it-1.json", "untuned-it-1.json"]
    shutil.rmtree(tmp_path / "lora-it-1")  # what counts is the result
    sweep.main(words)
    assert not (tmp_path / "lora-it-1").exists()
    untuned, lora, mixed = (
        json.loads((results / f"{way}-it-1.json").read_text()) for way in ("untuned", "lora", "mixed")
    )
    assert mixed["trainable_parameters"] > lora["trainable_parameters"] > 0 == untuned["steps"]
    assert set(untuned["normalized_wer"]) == {"full", "alaw+gsm", "en"} and set(untuned["made_up"]) == {
        "full"
    }
    assert set(mixed["normalized_wer"]) == {"full", "dynamic", "alaw+gsm", "en"}
    assert len(mixed["utterances"]) == 6 and set(mixed["made_up"]) == {"full", "dynamic"}
    shares = json.loads((tmp_path / "mixed-it-1/interpolation.json").read_text())
    assert "en" in json.dumps(shares)  # guarded
    clean, line = (
        load_prepared([str(tmp_path / "data" / name)], "test", language="it")
        for name in ("it", "it-alaw+gsm")
    )
    assert clean["text"] == line["text"] and clean[0]["audio"] != line[0]["audio"]
    assert "made up, full" in capsys.readouterr().out


# ---- timestamps --------------------------------------------------------------------------------------------


def test_segments_are_read_from_tokens():
    # timestamps from 1000 on, 0.02 s each: <0.00> a b <1.50> <2.00> c <3.00>, and one that nothing closes
    tokens = [7, 8, 1000, 1, 2, 1075, 1100, 3, 1150, 1200, 4]
    assert timestamps.read_segments(tokens, 1000) == [(0.0, 1.5), (2.0, 3.0)]
    assert timestamps.read_segments([1, 2, 3], 1000) == []


def test_errors_are_to_the_nearest_boundary_of_the_same_kind():
    spans = [(0.0, 1.0), (2.0, 3.0)]
    errors = timestamps.boundary_errors(spans, [(0.1, 1.4), (2.15, 2.9)])
    assert errors == pytest.approx([0.1, 0.4, 0.15, 0.1])
    assert timestamps.boundary_errors(spans, []) == []


@pytest.mark.slow
def test_models_are_asked_for_times(brief_whisper, prepared, tmp_path, capsys):
    words = ["--models", str(brief_whisper), "--dataset", str(prepared), "--max_windows", "2"]
    timestamps.main([*words, "--output_dir", str(tmp_path)])
    [timing] = json.loads((tmp_path / "timestamps.json").read_text())["timings"]
    assert timing["model"] == str(brief_whisper) and 0 < timing["unforced"] < 1
    assert timing["share_close"] <= 1 and "within 0.2 s" in capsys.readouterr().out

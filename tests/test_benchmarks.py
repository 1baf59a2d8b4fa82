"""benchmarks/: the arithmetic by hand, and both comparisons run through with a tiny model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    augmentation_cost,
    augmentation_pictures,
    ctranslate2_speed,
    decode_speed,
    forgetting,
    long_form,
    same_as_generate,
    speed_cases,
    step_profile,
    sweep,
    telephone,
    train_speed,
)
from benchmarks.side_by_side import PEER, Measurement, run_alone, summarize, turns
from tests.support.warm_processes import keep_benchmarks_warm
from utils.audio.flac import decode_flac
from utils.audio.reading import decode_audio
from utils.data.prepared_dataset import load_prepared
from utils.model.loading import load_model
from utils.runtime.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def warm(monkeypatch) -> None:
    keep_benchmarks_warm(monkeypatch)


def test_rounds_turn_the_order_around():
    assert turns(["a", "b"], 3) == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_medians_and_the_worst_round_against_the_peer():
    rates = {PEER: [1.0, 2.0, 1.5], "ours": [10.0, 10.0, 12.0]}
    measurements = [
        Measurement(side, "float32", number, rate, peak_memory_bytes=number)
        for side, values in rates.items()
        for number, rate in enumerate(values)
    ]
    peer, ours = summarize(measurements, {("ours", "float32"): 8.0})
    assert (peer.side, peer.ratio) == (PEER, 1.0)
    assert ours.ratio == pytest.approx(10 / 1.5)
    assert ours.lowest_ratio == pytest.approx(5.0)
    assert (ours.target, ours.peak_memory_bytes) == (8.0, 2)


def test_a_failing_side_shows_the_end_of_its_output(tmp_path):
    with pytest.raises(UserError, match=r"(?s)ended with 3: .*what went wrong"):
        run_alone(["sh", "-c", "echo what went wrong; exit 3"], tmp_path / "side")


def test_a_line_of_unknown_codecs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"alaw\+g729: expected chains such as alaw\+gsm of telephone, alaw"):
        telephone.main(["--lines", "gsm", "alaw+g729", "--output_dir", str(tmp_path)])


def test_a_way_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"ways vera: expected some of full, full-context"):
        sweep.main(["--ways", "full", "vera", "--output_dir", str(tmp_path)])


def result_of(way: str, seed: int, errors: list[int]) -> sweep.Result:
    """One reference of four words for each number of errors."""
    utterances = {str(number): [0, 0, missing, 4] for number, missing in enumerate(errors)}
    wer = {"full": 0.0}
    return sweep.Result(way, "it", seed, "cpu", 1, 1.0, 1.0, 1, 1, wer, wer, utterances)


def test_a_way_is_compared_over_the_seeds_that_both_have():
    """By hand: over seeds 1 and 2 the baseline makes 1 error in 16 words, LoRA 3; seed 3 it has alone."""
    results = [
        result_of("full-context", 1, [0, 1]),
        result_of("full-context", 2, [0, 0]),
        result_of("lora", 1, [0, 2]),
        result_of("lora", 2, [1, 0]),
        result_of("lora", 3, [4, 4]),
    ]
    [difference] = sweep.compare_ways(results)
    assert (difference.way, difference.seeds) == ("lora", [1, 2])
    assert difference.wer_increase == pytest.approx(2 / 16)
    # either utterance alone, over both seeds: one error more in its 8 words
    assert difference.ci95 == pytest.approx((1 / 8, 1 / 8))


def test_seconds_of_two_precisions_are_told_apart():
    first, second, third = (result_of("full", seed, [0]) for seed in (1, 2, 3))
    group = [replace(first, train_seconds=600.0), replace(second, train_seconds=1600.0)]
    group.append(replace(third, config="cpu_bf16", train_seconds=150.0))
    assert sweep.seconds_by_config(group) == "1,100 (cpu), 150 (cpu_bf16)"


def test_word_errors_of_the_full_context_are_kept(tmp_path):
    rows = [
        {"id": "b", "audio_context": "full", "reference": "Uno, due tre.", "hypothesis": "uno due quattro"},
        {"id": "a", "audio_context": "full", "reference": "Uno due", "hypothesis": "uno e due e"},
        {"id": "a", "audio_context": "dynamic", "reference": "Uno due", "hypothesis": ""},
    ]
    (tmp_path / "predictions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert sweep.count_full_context(tmp_path) == {"a": [0, 2, 0, 2], "b": [1, 0, 0, 3]}


@pytest.mark.slow
def test_a_sweep_goes_on_and_forgetting_is_measured(warm, brief_whisper, tmp_path, capsys):
    words = ["--model_name_or_path", str(brief_whisper), "--num_train_epochs", "0.04", "--max_samples", "6"]
    ways = ["--ways", "full-context", "lora", "--seeds", "1", "--output_dir", str(tmp_path / "sweep")]
    sweep.main([*words, *ways, "--max_runs", "1"])
    results = tmp_path / "sweep/results"
    assert [path.name for path in results.iterdir()] == ["full-context-it-1.json"]
    shutil.rmtree(tmp_path / "sweep/full-context-it-1")  # what counts is the result
    sweep.main([*words, *ways])
    full, lora = (json.loads((results / f"{way}-it-1.json").read_text()) for way in ("full-context", "lora"))
    assert full["trainable_parameters"] > lora["trainable_parameters"] > 0
    assert "lora" in capsys.readouterr().out and not (tmp_path / "sweep/full-context-it-1").exists()
    # the same folder: the Italian prompts are prepared already
    forgetting.main([*words, "--alphas", "0.5", "1", "--output_dir", str(tmp_path / "sweep")])
    scores = json.loads((tmp_path / "sweep/forgetting.json").read_text())["scores"]
    assert {item["num_utterances"] for item in scores} == {6}
    assert {(item["model"], item["language"]) for item in scores} >= {("untuned", "it"), ("tuned", "en")}


@pytest.mark.slow
def test_augmentation_is_measured_and_drawn(warm, brief_whisper, tmp_path):
    words = ["--untuned_only", "--model_name_or_path", str(brief_whisper), "--max_samples", "4"]
    telephone.main([*words, "--lines", "alaw+gsm", "--output_dir", str(tmp_path)])
    scores = json.loads((tmp_path / "telephone.json").read_text())["scores"]
    assert [(item["line"], item["num_utterances"]) for item in scores] == [("clean", 4), ("alaw+gsm", 4)]
    augmentation_cost.main(["--seconds", "1", "--rounds", "1", "--output_dir", str(tmp_path)])
    costs = json.loads((tmp_path / "augmentation_cost.json").read_text())
    assert len(costs) == 14 and all(by_length["1.0"] > 0 for by_length in costs.values())
    augmentation_pictures.main(["--output_dir", str(tmp_path)])
    assert (tmp_path / "augmentation.png").read_bytes()[:4] == b"\x89PNG"


def test_clips_are_joined_up_to_a_length(prepared, tmp_path):
    folder = speed_cases.join_clips(str(prepared), "it", 8.0, 12, tmp_path / "joined")
    rows = load_prepared([folder], "train", language="auto")
    assert len(rows) == 12 and max(rows["duration"]) <= 8.0
    assert sum(rows["duration"]) / 12 > 5.0  # clips of 0.5 to 6 s: another one would have been too long
    for row in rows:
        assert len(decode_flac(row["audio"])) == pytest.approx(16_000 * row["duration"])
    lone = speed_cases.join_clips(str(prepared), "it", 1.0, 3, tmp_path / "lone")
    assert max(load_prepared([lone], "train", language="auto")["duration"]) <= 1.0


def test_prompts_become_one_recording_with_their_times(tmp_path):
    """A prompt of 1 s, a pause of 0.7 s, one of 0.5 s; a third would begin after the length asked for."""
    prompts = [(np.full(16_000, 0.5), "Uno."), (np.full(8_000, 0.25), "Due."), (np.ones(8_000), "Tre.")]
    lines = long_form.join_prompts(prompts, 2.5 / 60, tmp_path)
    assert [(line["text"], line["start"], line["end"]) for line in lines] == [
        ("Uno.", 0.0, 1.0),
        ("Due.", pytest.approx(1.7), pytest.approx(2.2)),
    ]
    samples = decode_audio(tmp_path / lines[0]["audio"])
    assert len(samples) == pytest.approx(2.9 * 16_000, abs=1)
    for start, end, level in ((0, 1, 0.5), (1, 1.7, 0), (1.7, 2.2, 0.25), (2.2, 2.9, 0)):
        assert samples[round(16_000 * start) + 1 : round(16_000 * end) - 1] == pytest.approx(level, abs=1e-3)


def test_random_models_have_the_published_number_of_weights(tiny_whisper, tmp_path):
    folder = speed_cases.build_random_model("tiny", str(tiny_whisper), tmp_path / "random")
    assert load_model(folder).total_parameters == pytest.approx(39e6, rel=0.05)  # openai/whisper-tiny's card


@pytest.mark.slow
def test_a_step_is_taken_apart(tiny_whisper, prepared, tmp_path, capsys):
    words = ["--model_name_or_path", str(tiny_whisper), "--dataset", str(prepared), "--batch_sizes", "8"]
    words += ["--num_steps", "2", "--rounds", "1", "--output_dir", str(tmp_path)]
    step_profile.main(words)
    cases = json.loads((tmp_path / "step_profile.json").read_text())["cases"]
    assert [case["dtype"] for case in cases] == ["float32", "bfloat16"]
    assert all(seconds > 0 for case in cases for seconds in case["seconds"].values())
    assert "encoder backward" in capsys.readouterr().out


@pytest.mark.slow
def test_both_comparisons_run(warm, brief_whisper, prepared, tmp_path, capsys):
    common = ["--model_name_or_path", str(brief_whisper), "--dataset", str(prepared), "--rounds", "1"]
    train = [*common, "--max_samples", "8", "--output_dir", str(tmp_path / "train")]
    train_speed.main([*train, "--dtypes", "bfloat16"])
    decode = [*common, "--max_samples", "4", "--output_dir", str(tmp_path / "decode")]
    decode_speed.main([*decode, "--dtypes", "bfloat16"])
    decode_speed.main([*decode, "--clip_seconds", "6", "--dtypes", "float32"])
    trained = json.loads((tmp_path / "train" / "train_speed-b8.json").read_text())
    decoded = json.loads((tmp_path / "decode" / "decode_speed.json").read_text())
    assert len(trained["measurements"]) == 3
    assert len(decoded["measurements"]) == 2
    joined = json.loads((tmp_path / "decode" / "decode_speed-6s.json").read_text())
    assert [item["target"] for item in joined["summaries"]] == [None, None]
    assert all(item["audio_seconds_per_second"] > 0 for item in trained["summaries"] + decoded["summaries"])
    assert all(item["limit_share"] > 0 for item in trained["summaries"] if item["side"] != PEER)
    assert "≥ 8 ×" in capsys.readouterr().out


@pytest.mark.slow
def test_two_clips_have_the_text_of_generate(prepared, tmp_path, capsys):
    words = ["--dataset", str(prepared), "--max_samples", "2", "--output_dir", str(tmp_path)]
    same_as_generate.main([*words, "--max_length", "40"])
    result = json.loads((tmp_path / "same_as_generate.json").read_text())
    assert result["clips"] == 2 and len(result["different"]) <= 1
    for line in result["different"]:  # Whisper hums to some tones without end, which is cut short
        assert line["generate"].startswith(line["ours"])
    assert "of 2 clips have the same text" in capsys.readouterr().out


@pytest.mark.slow
def test_both_ways_into_ctranslate2_run(warm, prepared, tmp_path):
    """With real weights, since a random model writes nothing that could be told apart."""
    words = ["--model_name_or_path", "openai/whisper-base", "--dataset", str(prepared), "--rounds", "1"]
    words += ["--max_samples", "2", "--dtypes", "float32", "--output_dir", str(tmp_path)]
    ctranslate2_speed.main([*words, "--clip_seconds", "6"])
    (file,) = tmp_path.glob("*.json")
    peer, ours = json.loads(file.read_text())["summaries"]
    assert peer["audio_seconds_per_second"] > 0 and ours["audio_seconds_per_second"] > 0
    assert ours["normalized_wer"] == pytest.approx(peer["normalized_wer"], abs=0.35)

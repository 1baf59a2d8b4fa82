"""Counts against numpy and arithmetic by hand, parts that add up to the whole, estimates against a trial."""

import itertools
import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.arguments.train import TrainArguments
from utils.data.data_report import Statistics
from utils.data.dataset_statistics import (
    DURATION_EDGES,
    MOST_LISTED_NAMES,
    RATE_EDGES,
    TOKEN_EDGES,
    StatisticsCounter,
    describe_values,
    quantiles,
)
from utils.data.speed_up import BATCH_SIZE, estimate_speed_up, multiply_adds
from utils.model.silence import SILENCE_RUN
from utils.runtime.records import record_from

UTTERANCES = st.fixed_dictionaries(
    {
        "text": st.text(min_size=1, max_size=30),
        "duration": st.floats(0.1, 30.0),
        "split": st.sampled_from(["train", "validation", "test"]),
        "num_tokens": st.none() | st.integers(5, 448),
        "language": st.sampled_from([None, "it", "fa"]),
        "speaker": st.none() | st.text(max_size=200),
        "group": st.none() | st.sampled_from(["phone", "studio"]),
    }
)


def counted(utterances) -> dict:
    """The statistics of some utterances as data_report.json holds them."""
    counter = StatisticsCounter()
    for utterance in utterances:
        counter.add(**utterance)
    return asdict(counter.describe())


@settings(max_examples=50, deadline=None)
@given(st.lists(UTTERANCES, min_size=1, max_size=20), st.randoms())
def test_the_order_makes_no_difference(utterances, random):
    mixed = random.sample(utterances, len(utterances))
    assert json.dumps(counted(mixed)) == json.dumps(counted(utterances))


@settings(max_examples=50, deadline=None)
@given(st.lists(UTTERANCES, min_size=1, max_size=12))
def test_every_utterance_is_in_every_count(utterances):
    report = counted(utterances)
    assert report["clips"] == len(utterances) == sum(split["clips"] for split in report["splits"].values())
    assert report["hours"] == pytest.approx(sum(u["duration"] for u in utterances) / 3600, abs=1e-6)
    with_tokens = [u for u in utterances if u["num_tokens"] is not None]
    for key, expected in (
        ("duration", utterances),
        ("speech_rate", utterances),
        ("label_tokens", with_tokens),
    ):
        assert sum(report[key]["counts"]) + report[key]["above"] == len(expected)
        assert len(report[key]["edges"]) == len(report[key]["counts"]) + 1
    used = Counter(character for u in utterances for character in u["text"])
    assert {entry["character"]: entry["count"] for entry in report["characters"]["counts"]} == used
    speakers = {u["speaker"] for u in utterances} - {None}
    assert report["speakers"]["distinct"] == len(speakers)
    assert report["speakers"]["clips_without"] == sum(u["speaker"] is None for u in utterances)


def test_numbers_by_hand():
    rows = [
        ("ciao", 2.0, "train", "anna"),
        ("ciao a tutti", 4.0, "train", "bruno"),
        ("addio", 3.0, "test", "anna"),
    ]
    names = ("text", "duration", "split", "speaker")
    common = {"language": "it", "num_tokens": 8}
    report = counted({**dict(zip(names, row, strict=True)), **common} for row in rows)
    assert report["splits"] == {
        "train": {"clips": 2, "hours": round(6 / 3600, 6), "speakers": 2, "groups": 0},
        "test": {"clips": 1, "hours": round(3 / 3600, 6), "speakers": 1, "groups": 0},
    }
    assert report["speakers"]["largest"] == [
        {"name": "anna", "hours": round(5 / 3600, 6)},
        {"name": "bruno", "hours": round(4 / 3600, 6)},
    ]
    assert report["silence"] == {"share_of_window": 0.9}  # a mean of 3 s in 30 s
    rates = report["speech_rate"]
    filled = [int(rates["edges"][place]) for place, count in enumerate(rates["counts"]) if count]
    assert filled == [1, 2, 3]  # 4 / 2, 12 / 4 and 5 / 3 characters a second
    assert report["label_tokens"]["counts"][2] == 3
    assert report["characters"]["counts"][0] == {"character": "a", "count": 4}
    assert (report["duration"]["median"], report["duration"]["p95"]) == pytest.approx((3.05, 4.1), abs=0.06)


def test_labels_that_were_not_counted_have_no_quantiles():
    labels = counted([{"text": "a", "duration": 1.0, "split": "train"}])["label_tokens"]
    assert (labels["p5"], labels["median"], labels["p95"]) == (None, None, None)


def test_what_is_written_is_read_again_as_it_was():
    rows = [{"text": "così", "duration": 1.23456789, "split": "train", "speaker": "z"}]
    text = json.dumps(counted(rows), allow_nan=False)
    assert asdict(record_from(Statistics, json.loads(text))) == counted(rows)


# ---- histograms --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([DURATION_EDGES, TOKEN_EDGES, RATE_EDGES]),
    st.lists(st.floats(0, 500) | st.integers(0, 300).map(lambda n: n / 10), max_size=40),
)
def test_every_value_is_in_its_bin_or_above_all(edges, values):
    found = describe_values(values, edges, "seconds", shown_bins=4)
    assert found.edges == list(edges[::4]) and found.above == sum(value > edges[-1] for value in values)
    for place, (low, high) in enumerate(itertools.pairwise(found.edges)):
        is_last = high == found.edges[-1]
        assert found.counts[place] == sum(low <= v < high or (is_last and v == high) for v in values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=40), st.floats(0.01, 1))
def test_quantiles_are_right_to_a_bin(values, share):
    exact = np.quantile(values, share, method="inverted_cdf")
    assert quantiles(values, DURATION_EDGES, [share])[0] == pytest.approx(exact, abs=0.1 + 1e-9)


# ---- names -------------------------------------------------------------------------------------------------


def test_long_names_are_shortened_but_stay_apart():
    names = ["x" * 1_000_000 + end for end in "ab"]
    report = counted({"text": "a", "duration": 1.0, "split": "train", "speaker": n} for n in names)
    assert report["speakers"]["distinct"] == 2
    assert all(len(entry["name"]) <= 120 for entry in report["speakers"]["largest"])


def test_the_report_stays_small():
    rows = [
        {"text": chr(0x4E00 + n), "duration": 1.0, "split": "train", "speaker": f"speaker {n}"}
        for n in range(2000)
    ]
    report = counted(rows)
    assert len(report["speakers"]["largest"]) == MOST_LISTED_NAMES
    assert report["speakers"]["hours_of_others"] == pytest.approx((2000 - MOST_LISTED_NAMES) / 3600, abs=1e-5)
    assert report["characters"]["distinct"] == 2000
    assert len(json.dumps(report)) < 40_000


# ---- dynamic context ---------------------------------------------------------------------------------------


def test_defaults_are_those_of_training():
    train = TrainArguments(output_dir="x", model_name_or_path="x", dataset=["x"])
    assert (train.silence_run, train.context_jitter) == (SILENCE_RUN, [0.0])
    assert train.per_device_train_batch_size == BATCH_SIZE


def test_contexts_of_equal_clips_by_hand():
    # 2.9 s and a tail of 0.1 s: 150 positions, 45 of silence as they are, and 1,305 in 21 runs of at most 64
    found = estimate_speed_up([2.9] * 64, 10, silence_run=64)
    assert found.mean_context == pytest.approx(3.0)
    assert found.mean_seconds_of_work == pytest.approx((150 + 45 + 21) / 50)


def test_clips_that_fill_the_window_gain_nothing():
    assert estimate_speed_up([30.0] * 9, 100, silence_run=64).speed_up == pytest.approx(1.0)


def test_shorter_clips_gain_more():
    gains = [estimate_speed_up([seconds] * 16, 10, silence_run=64).speed_up for seconds in (2, 5, 10, 20)]
    assert gains == sorted(gains, reverse=True) and gains[0] > 2 * gains[-1]


def test_arithmetic_is_that_which_torch_counts():
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    # the defaults of WhisperConfig are the tiny model; these are base's
    config = WhisperConfig(
        d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8, decoder_attention_heads=8,
        encoder_ffn_dim=2048, decoder_ffn_dim=2048,
    )  # fmt: skip
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config).eval()
        inputs = {"input_features": torch.zeros(1, 80, 3000), "decoder_input_ids": torch.zeros(1, 20).long()}
    with FlopCounterMode(display=False) as counter:
        model(**inputs)
    assert 2 * float(multiply_adds(np.array(30.0), 20)) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_estimate_is_near_what_a_trial_took():
    """Training on Italian prompts took 1,105 s in the full context, 166 s without any silence."""
    from utils.data.sources.asterisk_download import fetch_prompts

    prompts = fetch_prompts("it")
    sizes = [path.stat().st_size for path in prompts.folder.rglob("*.g722") if "silence" not in path.parts]
    durations = [min(size / 8000, 30.0) for size in sizes]  # g722 has 8,000 bytes a second
    assert estimate_speed_up(durations, 15, silence_run=0).speed_up == pytest.approx(1105 / 166, rel=0.2)

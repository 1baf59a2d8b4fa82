"""The card of a model: fields that the Hub knows, figures of the run, and nothing that data could break."""

from dataclasses import asdict, replace

import pytest
from huggingface_hub import ModelCard

from tests.support.hub_server import become_client, running_hub
from utils.training.card_facts import DatasetFacts, ModelFacts, SplitFacts, hub_base_of
from utils.training.held_out import HeldOutReport, HeldOutScores
from utils.training.model_card import build_model_card

GALICIAN = DatasetFacts(
    "cv11-gl",
    "mozilla-foundation/common_voice_11_0",
    "gl",
    ["gl"],
    "Common Voice (CC0)",
    {"train": SplitFacts(4_000, 5.25, 310), "test": SplitFacts(2_000, 2.5, 0)},
)
ARGUMENTS = {
    "model_name_or_path": "openai/whisper-small",
    "task": "transcribe",
    "language": "gl",
    "dataset": ["/home/anna/data/cv11-gl"],
    "learning_rate": 1e-5,
    "lr_scheduler_type": "linear",
    "warmup_steps": 125,
    "audio_context": "dynamic",
    "silence_run": 128,
    "noise_probability": 0.5,
    "noise_dir": "/home/anna/noise",
    "freeze_encoder": True,
}
RESULTS = {
    "step": 750,
    "step_size": "16 clips",
    "metric_for_best_model": "normalized_wer",
    "best_metric": 0.125,
    "best_step": 750,
    "metric_before_training": 0.5,
    "trainable_parameters": 241_734_912,
    "audio_hours_trained_on": 12.5,
    "base_model": "openai/whisper-small",
    "datasets": [asdict(GALICIAN)],
    "evaluations": [
        {"step": 0, "normalized_wer": 0.5, "raw_wer": 0.6, "normalized_cer": 0.2, "raw_cer": 0.25},
        {"step": 750, "normalized_wer": 0.125, "raw_wer": 0.2, "normalized_cer": 0.04, "raw_cer": 0.05},
    ],
}
FACTS = ModelFacts(ARGUMENTS, RESULTS, None)


def scores(**changes) -> HeldOutScores:
    values = {
        "model": "this model",
        "is_this_model": True,
        "data": GALICIAN,
        "split": "test",
        "audio_context": "full",
        "normalizer": "basic",
        "measure": "wer",
        "clips": 2_000,
        "hours": 2.5,
        "raw": {"wer": 0.3, "cer": 0.09},
        "normalized": {"wer": 0.2, "cer": 0.07},
        "raw_ci95": (0.28, 0.33),
        "normalized_ci95": (0.18, 0.23),
        "failures": {"loop": 3},
        "words_in_noise": 1.25,
    }
    return HeldOutScores(**(values | changes))


REPORT = HeldOutReport(
    [
        scores(),
        scores(audio_context="dynamic", normalized={"wer": 0.21, "cer": 0.07}),
        scores(model="openai/whisper-small", is_this_model=False, normalized={"wer": 0.4, "cer": 0.2}),
    ],
    is_promoted=False,
    findings=["cv11-gl (test), full context: loop in 3 of 2000"],
)


def test_the_head_has_the_fields_of_the_hub():
    """Those of the Galician model: tags and args of the dataset, language, name, base, task, leaderboard."""
    data = ModelCard(build_model_card(FACTS, license="apache-2.0")).data
    assert (data.base_model, data.base_model_relation) == ("openai/whisper-small", "finetune")
    assert data.datasets == ["mozilla-foundation/common_voice_11_0"]
    assert (data.language, data.license, data.metrics) == (["gl"], "apache-2.0", ["wer", "cer"])
    assert {"whisper", "hf-asr-leaderboard"} <= set(data.tags)
    assert data.model_name == "Whisper small Galician"
    first = data.eval_results[0]
    assert (first.task_type, first.dataset_type) == ("automatic-speech-recognition", data.datasets[0])
    assert (first.dataset_config, first.dataset_split) == ("gl", "validation")
    assert first.dataset_args == {"config": "gl", "split": "validation"}
    assert (first.metric_type, first.metric_value) == ("wer", 12.5)


def test_test_results_come_back_from_the_head_as_they_were(tmp_path, monkeypatch):
    card = ModelCard(build_model_card(FACTS, report=REPORT))
    found = {each.metric_name: each for each in card.data.eval_results}
    assert len(found) == 8 and {each.dataset_split for each in found.values()} == {"test"}
    normalised = found["WER, normalised, full context"]
    assert normalised.metric_value == 20.0 and normalised.metric_args["ci95"] == "18.00 to 23.00"
    assert found["WER, normalised, dynamic context"].metric_value == 21.0
    assert found["CER, raw, full context"].metric_value == 9.0
    assert ModelCard(str(card)).data.eval_results == card.data.eval_results
    with running_hub() as hub:
        become_client(monkeypatch, hub, tmp_path)
        card.validate()
        card.data.license = "do what you want"
        with pytest.raises(ValueError, match="license"):
            card.validate()


def test_the_text_tells_data_settings_scores_and_verdict():
    text = build_model_card(FACTS, report=REPORT)
    for line in (
        "# Whisper small Galician",
        "This model writes Galician speech as text.",
        "fine-tuned on 5.25 h of speech: cv11-gl.",
        "its normalised WER is **20.0 %** (95 % interval 18.0 to 23.0). openai/whisper-small: 40.0 %.",
        "| **this one** | cv11-gl (test) | 2,000 | 2.50 | full | 20.0 [18.0, 23.0] | 7.0 | 30.0 [28.0, 33.0]",
        "* Failures on cv11-gl: loop in 3 of 2,000 clips. Words invented in silence, noise and music: 1",
        "**not shown to be better**. cv11-gl (test), full context: loop in 3 of 2000.",
        "| cv11-gl | train | 4,000 | 5.25 | 310 |",
        "| cv11-gl | test | 2,000 | 2.50 | unknown |",
        "| steps | 750 of 16 clips |",
        "| learning rate | 1e-05, linear, warm-up 125 |",
        "| freeze\\_encoder | True |",
        "| noise\\_probability | 0.5 |",
        "| 0, before training | – | – | – | 50.0 | 60.0 | 20.0 | 25.0 |",  # the log of an earlier version
        "by WER normalised: 12.5 % at step 750, 50.0 % before training.",
        "No licence is stated yet",
        "cv11-gl: Common Voice (CC0).",
    ):
        assert line in text, line
    assert "/home" not in text and "anna" not in text and "| weight" not in text
    untested = build_model_card(FACTS)
    assert "was not tested yet" in untested and "**this one**" not in untested


def test_other_kinds_of_models_say_what_they_are():
    adapter = replace(FACTS, arguments=ARGUMENTS | {"use_peft": True, "peft_type": "lora"}, adapter="lora")
    card = ModelCard(build_model_card(adapter, model_id="anna/gl-lora"))
    assert (card.data.base_model_relation, card.data.library_name) == ("adapter", "peft")
    assert "lora" in card.data.tags and "ctranslate2" not in card.text
    assert 'PeftModel.from_pretrained(base, "anna/gl-lora")' in card.text
    mixed = replace(FACTS, results=RESULTS | {"interpolation_alpha": 0.5, "validation_raw_wer": 0.25})
    card = ModelCard(build_model_card(mixed))
    assert card.data.base_model_relation == "merge" and "0.5 of the tuned model" in card.text
    assert [each.metric_value for each in card.data.eval_results] == [25.0]
    averaged = replace(FACTS, results=RESULTS | {"averaged_steps": [500, 750], "best_step": None})
    assert "average of the weights of steps 500, 750" in build_model_card(averaged)
    local = replace(FACTS, results=RESULTS | {"base_model": None})
    card = ModelCard(build_model_card(local))
    assert card.data.base_model is None and "base_model_relation" not in card.data.to_dict()
    english = replace(FACTS, arguments=ARGUMENTS | {"model_name_or_path": "openai/whisper-small.en"})
    assert "generate_kwargs" not in build_model_card(english)
    friulian = replace(
        FACTS,
        arguments=ARGUMENTS | {"language": "fur", "add_language": "fur", "task": "translate"},
        results=RESULTS | {"datasets": []},
    )
    text = build_model_card(friulian)
    assert 'generate_kwargs={"language": "<|fur|>", "task": "translate"}' in text
    assert "an English translation of fur speech" in text and "faster_whisper" not in text
    assert ModelCard(text).data.language == ["fur"]


HOSTILE = 'x: [\n---\n# <b>|`**--> "{{ 7 * 7 }}" {% endif %} \\ ](http://evil)'


def test_text_of_data_cannot_break_head_or_page():
    data = replace(
        GALICIAN, name=HOSTILE, hub_id=None, config=HOSTILE, credit=HOSTILE, languages=["gl", HOSTILE]
    )
    facts = replace(FACTS, results=RESULTS | {"datasets": [asdict(data)]})
    report = HeldOutReport([scores(data=data, split=HOSTILE, normalizer=HOSTILE)], False, [HOSTILE])
    card = ModelCard(build_model_card(facts, report=report))
    assert card.data.eval_results[0].dataset_config == HOSTILE and card.data.language == ["gl"]
    assert card.text.count("\n# ") == 1 and "<b>" not in card.text and "49" not in card.text
    assert "](http://evil)" not in card.text.replace("\\](", "")
    tables = [line.replace("\\|", "") for line in card.text.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in tables} == {10, 9, 6, 3}  # every row has the columns of its table


def test_text_and_fields_of_others_are_kept():
    first = build_model_card(FACTS, license="mit")
    edited = first.replace("license: mit", "license: mit\nthumbnail: a.png\n", 1)
    edited = edited.replace("---\n\n<!--", "---\n\nRead this first.\n\n<!--") + "\nAnd this.\n"
    again = build_model_card(FACTS, edited, report=REPORT)
    assert "Read this first." in again and again.endswith("And this.\n")
    assert again.count("# Whisper small Galician") == 1
    assert ModelCard(again).data.license == "mit" and ModelCard(again).data.thumbnail == "a.png"
    assert build_model_card(FACTS, again, report=REPORT) == again


def test_a_card_warns_of_scores_that_are_too_good():
    """Of a model that was chosen on test, after a training on validation too."""
    leaky = replace(FACTS, arguments=ARGUMENTS | {"merge_validation": True, "eval_split": "test"})
    text, clean = build_model_card(leaky, report=REPORT), build_model_card(FACTS, report=REPORT)
    assert text.count("**Warning: ") == 2 and "Warning" not in clean
    assert "never heard" in clean and "never heard" not in text
    assert "in percent on the test split" in text and "in percent on the validation split" in clean
    names = [each.metric_name for each in ModelCard(text).data.eval_results]
    assert all(name.endswith(", on the split that chose the model") for name in names)
    assert {each.dataset_split for each in ModelCard(build_model_card(leaky)).data.eval_results} == {"test"}


def test_epochs_and_losses_stand_beside_the_rates_and_words_say_where_they_part():
    """After step 500 the loss rises by a fifth, and the rate falls."""
    rates = {"raw_wer": 0.2, "normalized_cer": 0.04, "raw_cer": 0.05}
    evaluations = [
        {"step": 500, "normalized_wer": 0.25, "epoch": 2.0, "training_loss": 0.75, "validation_loss": 1.0},
        {"step": 750, "normalized_wer": 0.125, "epoch": 3.0, "training_loss": 0.1234, "validation_loss": 1.2},
    ]
    text = build_model_card(
        replace(FACTS, results=RESULTS | {"evaluations": [each | rates for each in evaluations]})
    )
    assert "| 750 | 3.00 | 0.123 | 1.200 | 12.5 | 20.0 | 4.0 | 5.0 |\n" in text
    assert "The validation loss rises after step 500, but the normalised WER does not." in text


def test_the_base_is_found_through_folders(tmp_path):
    assert hub_base_of("openai/whisper-base", adapter=True) == "openai/whisper-base"
    (tmp_path / "train.yaml").write_text("model_name_or_path: openai/whisper-tiny\n")
    assert hub_base_of(str(tmp_path), adapter=False) == "openai/whisper-tiny"
    assert hub_base_of(str(tmp_path), adapter=True) is None
    (tmp_path / "train.yaml").unlink()
    assert hub_base_of(str(tmp_path), adapter=False) is None

"""train.py with what it trains chosen: parts, adapters, quantised bases, a new language, optimisers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from tests.support.training_runs import read_metrics
from tests.support.warm_processes import train_warm
from utils.arguments.parsing import parse_arguments
from utils.arguments.train import TrainArguments
from utils.model.languages import language_ids
from utils.model.loading import load_model, read_training_arguments
from utils.runtime.devices import pick_dtype
from utils.runtime.errors import UserError
from utils.training.setup import start_accelerator
from utils.training.trainable_model import load_trainable_model

VARIANTS = {
    "lora": "--use_peft --lora_dropout 0.1",
    "dora": "--use_peft --use_dora --lora_dropout 0.1",
    # from singular values of 0, through which no gradient reaches its other matrices at first
    "adalora": "--use_peft --peft_type adalora --lora_r 2 --init_r 5 --learning_rate 1e-1",
    "int8": "--use_peft --load_in_8bit --lora_dropout 0.1",
    "nf4": "--use_peft --load_in_4bit --lora_dropout 0.1",
    "nf4 dora": "--use_peft --load_in_4bit --use_dora",
    "nf4 adalora": "--use_peft --load_in_4bit --peft_type adalora --lora_r 2 --learning_rate 1e-1",
    "8-bit AdamW": "--optim adamw_bnb_8bit --weight_decay 0.01",
    "AdamW": "--optim adamw_torch --adam_beta2 0.98 --weight_decay 0.01",
    "frozen encoder": "--freeze_encoder",
    "frozen layer": "--freeze_encoder_layers 1 --gradient_checkpointing",
    "new language": "--language fur --add_language fur --init_language_from it",
    "new language, lora": "--language fur --add_language fur --use_peft --gradient_checkpointing",
    "new language, nf4": "--language fur --add_language fur --use_peft --load_in_4bit",
}


pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def without_language(build_prepared, tmp_path_factory) -> Path:
    """A prepared dataset whose rows carry no language, as those of a language Whisper lacks."""
    sizes = {"train": 40, "validation": 4, "test": 4}
    return build_prepared(tmp_path_factory.mktemp("prepared") / "none", sizes, language=None)


@pytest.fixture(scope="module")
def write_arguments(tiny_whisper, without_language):
    """A function that gives the arguments of a short run into a folder; later words override them."""

    def write(output_dir: Path, *more: str) -> list[str]:
        base = f"--model_name_or_path {tiny_whisper} --dataset {without_language} --language it"
        base += " --report_to none --max_steps 5 --eval_steps 3 --save_steps 2 --logging_steps 1"
        base += " --learning_rate 1e-2 --save_total_limit 9 --max_eval_samples 2 --generation_max_length 12"
        return [*base.split(), "--output_dir", str(output_dir), *more]

    return write


@pytest.fixture
def arguments(write_arguments, tmp_path):
    return lambda *more, run="run": write_arguments(tmp_path / run, *more)


@pytest.fixture(scope="module")
def finished(write_arguments, tmp_path_factory):
    """A function that gives the folder of a run with these words, trained once for all tests."""
    folders: dict[str, Path] = {}

    def run(words: str) -> Path:
        if words not in folders:
            folder = tmp_path_factory.mktemp("finished") / "run"
            train.main(write_arguments(folder, *words.split()))
            folders[words] = folder
        return folders[words]

    return run


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_learns_resumes_exactly_and_leaves_a_folder_that_loads(
    finished, arguments, tmp_path, variant
):
    """The second run is the first one's checkpoint of step 2, gone on with to the end."""
    words = VARIANTS[variant].split()
    straight, resumed = finished(VARIANTS[variant]), tmp_path / "resumed"
    losses = [record["loss"] for record in read_metrics(straight) if "loss" in record]
    assert len(losses) == 5 and min(losses[2:]) < losses[0]

    resumed.mkdir()
    shutil.copytree(straight / "checkpoint-2", resumed / "checkpoint-2")
    train.main(arguments(*words, run="resumed"))
    again = [record["loss"] for record in read_metrics(resumed) if "loss" in record]
    assert again == losses[2:]
    for name in ("model.safetensors", "adapter_model.safetensors"):
        if (straight / "final" / name).exists():
            one, other = load_file(straight / "final" / name), load_file(resumed / "final" / name)
            assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    for folder in ("best", "final"):
        loaded = load_model(str(straight / folder))
        assert loaded.trainable_parameters and ("fur" in language_ids(loaded.model)) == ("fur" in words)


def test_checkpoints_of_an_adapter_hold_what_is_trained(finished):
    state = load_file(finished(VARIANTS["lora"]) / "checkpoint-2/model.safetensors")
    assert len(state) == 6 * 2 * 2 and all("lora_" in name for name in state)


def test_adalora_ends_with_the_ranks_it_was_given(finished):
    final = finished(VARIANTS["adalora"]) / "final"
    config = json.loads((final / "adapter_config.json").read_text())
    assert sum(map(sum, config["rank_pattern"].values())) == 12 * 2
    assert (config["tinit"], config["tfinal"], config["total_step"]) == (0, 2, 5)
    assert "- adalora" in (final / "README.md").read_text()


RANK_3 = "--use_peft --lora_r 3 --lora_target_modules fc1 --max_steps 1 --eval_steps 0 --save_steps 0"


def test_an_adapter_folder_goes_on_as_it_is_and_says_so(finished, arguments, tmp_path, capsys):
    first = finished(RANK_3) / "final"
    train.main(arguments("--use_peft", "--max_steps", "1", "--model_name_or_path", str(first), run="second"))
    assert f"continues with the adapter {first}: lora, rank 3, alpha 32, fc1" in capsys.readouterr().out
    assert (
        load_file(tmp_path / "second/final/adapter_model.safetensors").keys()
        == load_file(first / "adapter_model.safetensors").keys()
    )


def test_an_adapter_that_goes_on_gets_no_language(finished, arguments, tmp_path):
    """Merged it does, and so it is trained without use_peft."""
    words = f"--model_name_or_path {finished(RANK_3) / 'final'} --language fur --add_language fur".split()
    with pytest.raises(
        UserError, match=r"add_language fur with use_peft: .* is an adapter.* Remove use_peft"
    ):
        train.main(arguments("--use_peft", *words, run="more"))
    train.main(arguments("--max_steps", "1", *words, run="merged"))
    assert "fur" in language_ids(load_model(str(tmp_path / "merged/final")).model)


def test_a_settled_adalora_folder_goes_on_with_the_ranks_it_has(finished, arguments, tmp_path):
    first, words = finished(VARIANTS["adalora"]) / "final", VARIANTS["adalora"].split()
    train.main(arguments(*words, "--model_name_or_path", str(first)))
    sizes = [
        {name: value.shape for name, value in load_file(folder / "adapter_model.safetensors").items()}
        for folder in (first, tmp_path / "run/final")
    ]
    assert sizes[0] == sizes[1]


def test_a_model_with_a_new_language_is_trained_and_evaluated_on(
    finished, arguments, tmp_path, without_language
):
    import evaluate

    best = str(finished(VARIANTS["new language"]) / "best")
    train.main(arguments("--language", "fur", "--model_name_or_path", best, "--max_steps", "1", run="second"))
    report = tmp_path / "report"
    words = ["--models", best, "--dataset", str(without_language), "--output_dir", str(report)]
    words += ["--no_probe_hallucination", "--generation_max_length", "12"]
    evaluate.main([*words, "--language", "fur", "--audio_context", "full", "--bootstrap_samples", "10"])
    (result,) = json.loads((report / "evaluation_results.json").read_text())["results"]
    assert result["num_utterances"] == 4


def test_a_model_that_translates_is_told_so_by_its_folder(arguments, tmp_path, monkeypatch):
    import evaluate
    import utils.model.decoding

    train.main(arguments("--task", "translate", "--max_steps", "1"))
    best = str(tmp_path / "run/best")
    assert read_training_arguments(best)["task"] == "translate"
    tasks, original = [], utils.model.decoding.prompt_tokens

    def told(*words, task: str, **options) -> list[int]:
        tasks.append(task)
        return original(*words, task=task, **options)

    monkeypatch.setattr(utils.model.decoding, "prompt_tokens", told)
    words = f"--models {best} --output_dir {tmp_path / 'report'} --language it --dataset {arguments()[3]}"
    words += " --no_probe_hallucination --generation_max_length 12"
    evaluate.main([*words.split(), "--audio_context", "full", "--bootstrap_samples", "10"])
    assert set(tasks) == {"translate"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--load_in_8bit", "load_in_8bit: only for adapters"),
        ("--peft_type adalora", "peft_type: only for adapters"),
        ("--use_peft --load_in_8bit --load_in_4bit", "expected only one of them"),
        ("--use_peft --peft_type adalora --use_dora", "use_dora and use_rslora need peft_type lora"),
        (
            "--use_peft --freeze_encoder --freeze_feature_encoder",
            "freeze_encoder, freeze_feature_encoder: not allowed with use_peft",
        ),
        ("--use_peft --init_r 8", "init_r needs peft_type adalora"),
        ("--use_peft --peft_type adalora --init_r 16", "init_r 16: expected more than lora_r 16"),
        ("--use_peft --load_in_8bit --use_dora", "use_dora with load_in_8bit on a CPU"),
        ("--freeze_encoder_layers 3", "the encoder has 2 layers"),
        ("--freeze_encoder_layers -1", "expected at least 0"),
        ("--adam_beta1 1", "adam_beta1 1.0: expected at least 0 and below 1"),
        ("--adam_epsilon 0", "adam_epsilon 0.0"),
        ("--language fur", "Whisper has no such language"),
        ("--add_language fur", "add_language fur, language it: expected the same code"),
        ("--language Friulian --add_language Friulian", "expected a code of lower-case letters"),
        ("--add_language it", "the model already has a token for it"),
        ("--language fur --add_language fur --init_language_from xx", "init_language_from xx"),
        ("--init_language_from it", "init_language_from needs add_language"),
        (
            "--model_name_or_path openai/whisper-tiny.en",
            "it: openai/whisper-tiny.en only transcribes English",
        ),
        ("--model_name_or_path openai/whisper-tiny.en --language auto --task translate", "translate: openai"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        train.main(arguments(*words.split()))
    assert not list((tmp_path / "run").glob("[!.]*"))  # but for the lock


def test_an_english_model_by_another_name_refuses_a_language_before_data_are_read(
    arguments, tiny_whisper, tmp_path
):
    folder = shutil.copytree(tiny_whisper, tmp_path / "english")
    config = json.loads((folder / "generation_config.json").read_text())
    del config["lang_to_id"]
    (folder / "generation_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="knows English only"):
        train.main(arguments("--model_name_or_path", str(folder), "--dataset", "/nowhere"))


@pytest.mark.parametrize(
    "feature", ["load_in_8bit", "load_in_4bit", "peft_type adalora", "optim adamw_bnb_8bit"]
)
def test_split_models_refuse_what_needs_whole_tensors(feature):
    from accelerate import Accelerator, DistributedType

    from utils.runtime.launch import check_not_split

    accelerator = Accelerator(cpu=True)
    check_not_split(accelerator, [feature])
    accelerator.state.distributed_type = DistributedType.FSDP
    with pytest.raises(UserError, match=f"{feature} under FSDP"):
        check_not_split(accelerator, [feature])
    check_not_split(accelerator, [])


# ---- what the arguments build ------------------------------------------------------------------------------


@pytest.fixture
def build(arguments):
    """A function that builds the model which a run with these words would train."""

    def build(words: str):
        args = parse_arguments(TrainArguments, arguments(*words.split()), "")
        return load_trainable_model(args, start_accelerator(args)).model

    return build


@pytest.mark.parametrize(
    ("words", "frozen"),
    [
        ("", ()),
        ("--freeze_encoder", ("encoder.",)),
        ("--freeze_feature_encoder", ("encoder.conv",)),
        ("--freeze_encoder_layers 1", ("encoder.conv", "encoder.layers.0.")),
    ],
)
def test_parts_are_left_out_of_training_as_asked(build, words, frozen):
    """The encoder's positions always are: sinusoids, fixed in Whisper."""
    parts = {name.removeprefix("model."): part for name, part in build(words).named_parameters()}
    expected = {name for name in parts if name.startswith((*frozen, "encoder.embed_positions"))}
    assert {name for name, part in parts.items() if not part.requires_grad} == expected


def test_an_adapter_is_built_as_asked(build):
    words = "--use_peft --lora_r 3 --lora_alpha 7 --lora_dropout 0.3 --use_rslora --lora_target_modules fc1"
    layers = [layer for layer in build(words).modules() if hasattr(layer, "lora_A")]
    assert len(layers) == 4 and all(layer.base_layer.out_features == 128 for layer in layers)
    assert {layer.lora_A["default"].out_features for layer in layers} == {3}
    assert {layer.scaling["default"] for layer in layers} == {7 / 3**0.5}
    assert {layer.lora_dropout["default"].p for layer in layers} == {0.3}
    assert not any(layer.lora_magnitude_vector for layer in layers)


def test_kin_of_lora_are_built_as_asked(build):
    layers = [layer for layer in build("--use_peft --use_dora").modules() if hasattr(layer, "lora_A")]
    assert layers and all(layer.lora_magnitude_vector for layer in layers)
    adalora = build(f"{VARIANTS['adalora']} --lora_dropout 0.3").modules()
    layers = [layer for layer in adalora if hasattr(layer, "lora_E")]
    assert {(len(layer.lora_E["default"]), layer.lora_dropout["default"].p) for layer in layers} == {(5, 0.3)}


@pytest.mark.parametrize(
    ("words", "precision", "expected"),
    [
        ("", "no", ("nf4", True, torch.float32)),
        (
            "--bnb_4bit_quant_type fp4 --bnb_4bit_use_double_quant False",
            "bf16",
            ("fp4", False, torch.bfloat16),
        ),
    ],
)
def test_4_bits_are_those_asked_for(build, monkeypatch, words, precision, expected):
    from bitsandbytes.nn import Linear4bit

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    model = build(f"--use_peft --load_in_4bit {words}")
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    states = [layer.weight.quant_state for layer in layers]
    assert {(state.quant_type, state.nested) for state in states} == {expected[:2]}
    assert {layer.compute_dtype for layer in layers} == {expected[2]}


# ---- Whisper base, several processes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts(italian_prompts, tmp_path_factory) -> Path:
    """A prepared dataset of four short real prompts, the same in each split."""
    from datasets import Dataset, DatasetDict

    from tests.support.tones import encode

    shortest = sorted(italian_prompts, key=lambda prompt: len(prompt[0]))[:4]
    waveforms, texts = zip(*shortest, strict=True)
    rows = {
        "id": [f"prompt-{number}" for number in range(4)],
        "audio": [encode(waveform, "flac") for waveform in waveforms],
        "text": list(texts),
        "duration": [len(waveform) / 16_000 for waveform in waveforms],
        "language": ["it"] * 4,
    }
    folder = tmp_path_factory.mktemp("prompts") / "it"
    DatasetDict(dict.fromkeys(("train", "validation"), Dataset.from_dict(rows))).save_to_disk(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "learning_rate"),
    [("adalora", "3e-2"), ("int8", "3e-3"), ("nf4 dora", "3e-3")],
)
def test_whisper_base_learns_prompts_by_heart(tmp_path, prompts, variant, learning_rate, monkeypatch):
    """Twelve steps over four prompts, each seen twelve times; the folder knows them too."""
    from transformers import pipeline

    dtype = pick_dtype(torch.device("cpu"))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16" if dtype == torch.bfloat16 else "no")
    words = f"--model_name_or_path openai/whisper-base --dataset {prompts} --language it --report_to none"
    words += f" --max_steps 12 --eval_steps 0 --save_steps 0 --logging_steps 1 {VARIANTS[variant]}"
    words += f" --learning_rate {learning_rate} --warmup_steps 0 --context_jitter 0"
    train.main([*words.split(), "--output_dir", str(tmp_path / "run")])
    records = read_metrics(tmp_path / "run")
    losses = [record["loss"] for record in records if "loss" in record]
    print(f"{variant}: loss {losses[0]:.3f} at step 1, {losses[-1]:.3f} at step 12", records[-1])
    assert losses[-1] < 0.5 * losses[0]
    merged = load_model(str(tmp_path / "run/final"))
    merged.model.save_pretrained(tmp_path / "merged")
    merged.processor.save_pretrained(tmp_path / "merged")
    recogniser = pipeline("automatic-speech-recognition", model=str(tmp_path / "merged"), dtype=dtype)
    from datasets import load_from_disk

    from utils.audio.flac import decode_flac

    rows = load_from_disk(prompts)["train"]
    clips = [{"raw": decode_flac(audio), "sampling_rate": 16_000} for audio in rows["audio"]]
    found = [recogniser(clip, generate_kwargs={"language": "it"})["text"].strip() for clip in clips]
    right = sum(text == reference for text, reference in zip(found, rows["text"], strict=True))
    print(f"{variant}: {right} of 4 word for word")
    assert right >= 2


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["adalora", "int8"])
def test_two_processes_have_the_losses_of_one(tiny_whisper, prepared, tmp_path, variant):
    def losses(run: str, config: str, batch: int) -> list[float]:
        words = f"--model_name_or_path {tiny_whisper} --dataset {prepared} --language it --report_to none"
        words += f" --max_steps 6 --eval_steps 0 --save_steps 0 --logging_steps 1 {VARIANTS[variant]}"
        words += " --learning_rate 1e-5"
        words += f" --lora_dropout 0 --per_device_train_batch_size {batch} --output_dir {tmp_path / run}"
        train_warm(config, words.split(), tmp_path / f"{run}.log")
        return [record["loss"] for record in read_metrics(tmp_path / run)]

    assert losses("two", "cpu_2_processes", 4) == pytest.approx(losses("one", "cpu", 8), abs=1e-4)

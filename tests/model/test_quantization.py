"""Quantised bases: what is stored in few bits, its loss against the unpacked weights, adapters on top."""

import pytest
import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from tests.support.tiny_training import label_batch, logits_of, tiny_batch, train_for
from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import add_adapter
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.quantization import Quantization, bitsandbytes_config
from utils.model.saving import save_model_folder
from utils.model.whisper import count_parameters, eval_mode
from utils.runtime.errors import UserError

CPU = torch.device("cpu")
KINDS = {
    "int8": Quantization(8, CPU),
    "nf4": Quantization(4, CPU),
    "nf4 single": Quantization(4, CPU, double_quant=False),
    "fp4": Quantization(4, CPU, quant_type="fp4"),
}


def load(name, kind: str):
    return load_model(str(name), keep_adapter=True, quantization=KINDS[kind])


def unpacked(quantized: WhisperForConditionalGeneration, name) -> WhisperForConditionalGeneration:
    """An ordinary model with the weights that bitsandbytes' own functions unpack."""
    import bitsandbytes.functional as bnb

    plain = load_model(str(name)).model
    for path, module in quantized.named_modules():
        kind = type(module).__name__
        if kind == "Linear8bitLt":
            weight = bnb.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
        elif kind == "Linear4bit":
            weight = bnb.dequantize_4bit(module.weight.data, module.weight.quant_state)
        else:
            continue
        plain.get_submodule(path).weight.data = weight.to(torch.float32)
    return plain


@pytest.mark.parametrize("kind", KINDS)
def test_all_linear_layers_but_the_tied_projection_are_quantised(tiny_whisper, kind):
    model = load(tiny_whisper, kind).model
    names = {
        name
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear8bitLt", "Linear4bit")
    }
    linear = {n for n, m in load_model(str(tiny_whisper)).model.named_modules() if isinstance(m, nn.Linear)}
    assert names == linear - {"proj_out"} and len(names) == 6 * 4 + 4 * 2
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert model.proj_out.weight.dtype == model.model.encoder.conv1.weight.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_whole(tiny_whisper, kind):
    assert load(tiny_whisper, kind).total_parameters == load_model(str(tiny_whisper)).total_parameters


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_unpacked_weights(tiny_whisper, kind):
    model = load(tiny_whisper, kind).model
    reference = unpacked(model, tiny_whisper)
    found, expected = WhisperLoss(model.train())(*tiny_batch()), WhisperLoss(reference.train())(*tiny_batch())
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    whole = WhisperLoss(load_model(str(tiny_whisper)).model)(*tiny_batch()).item()
    assert found.item() != whole and found.item() == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [("int8", "lora"), ("int8", "adalora"), ("nf4", "lora"), ("nf4", "dora"), ("nf4", "adalora")],
)
def test_adapters_learn_on_a_quantised_base_that_stays_as_it_is(tiny_whisper, kind, adapter):
    base = load(tiny_whisper, kind).model
    model = add_adapter(
        base,
        str(tiny_whisper),
        AdapterOptions(
            peft_type="adalora" if adapter == "adalora" else "lora", lora_r=4, use_dora=adapter == "dora"
        ),
    )
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    losses = train_for(model, WhisperLoss(model.train()), 3)
    with torch.no_grad(), eval_mode(model):
        WhisperLoss(model)(*tiny_batch())  # decoding in between must not repack 4-bit weights
    losses += train_for(model.train(), WhisperLoss(model), 3)
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
        elif "lora_B" in name:
            assert parameter.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("kind", "arguments", "tolerance"),
    [
        ("nf4", "load_in_4bit: true", 1e-4),
        ("fp4", "load_in_4bit: true\nbnb_4bit_quant_type: fp4", 1e-4),
        ("nf4 single", "load_in_4bit: true\nbnb_4bit_use_double_quant: false", 1e-4),
        ("int8", "load_in_8bit: true", 0.02),  # LLM.int8() also rounds what goes through its layers
    ],
)
def test_an_adapter_is_merged_into_the_weights_that_it_was_trained_on(
    tiny_whisper, tmp_path, kind, arguments, tolerance
):
    loaded = load(tiny_whisper, kind)
    model = add_adapter(loaded.model, str(tiny_whisper), AdapterOptions(lora_r=4))
    train_for(model, WhisperLoss(model), 3)
    expected = logits_of(model.eval())
    more = {"results": {}, "card": ""}
    save_model_folder(tmp_path / "a", model, loaded.processor, arguments_yaml=arguments, **more)
    save_model_folder(tmp_path / "naive", model, loaded.processor, arguments_yaml="{}", **more)

    merged = load_model(str(tmp_path / "a")).model
    assert {type(m) for m in merged.modules() if isinstance(m, nn.Linear)} == {nn.Linear}
    errors = [
        (logits_of(found) - expected).abs().mean() / expected.abs().mean()
        for found in (merged, load_model(str(tmp_path / "naive")).model)
    ]
    assert errors[0] < tolerance and errors[0] < errors[1], errors
    base = unpacked(load(tiny_whisper, kind).model, tiny_whisper).model.encoder.layers[0].fc1
    torch.testing.assert_close(merged.model.encoder.layers[0].fc1.weight, base.weight)

    merged.save_pretrained(tmp_path / "whole")
    assert "quantization_config" not in (tmp_path / "whole" / "config.json").read_text()
    again = WhisperForConditionalGeneration.from_pretrained(tmp_path / "whole").eval()
    torch.testing.assert_close(logits_of(again), logits_of(merged))


def test_a_merged_adapter_has_the_asked_precision_and_can_get_another(tiny_whisper, tmp_path):
    """The mark of 8 bits, if it stayed, would make PEFT build layers of 8 bits again."""
    loaded = load(tiny_whisper, "int8")
    model = add_adapter(loaded.model, str(tiny_whisper), AdapterOptions(lora_r=4))
    more = {"arguments_yaml": "load_in_8bit: true", "results": {}, "card": ""}
    save_model_folder(tmp_path / "a", model, loaded.processor, **more)
    merged = load_model(str(tmp_path / "a"), dtype=torch.bfloat16).model
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    again = add_adapter(merged, str(tmp_path), AdapterOptions(lora_r=4, use_dora=True))
    assert count_parameters(again)[0] > 0


def test_an_adapter_on_a_quantised_base_is_loaded_as_it_was_trained(tiny_whisper, tmp_path):
    loaded = load(tiny_whisper, "nf4")
    model = add_adapter(loaded.model, str(tiny_whisper), AdapterOptions(lora_r=4))
    train_for(model, WhisperLoss(model), 3)
    more = {"arguments_yaml": "load_in_4bit: true", "results": {}, "card": ""}
    save_model_folder(tmp_path / "a", model, loaded.processor, **more)
    again = load(tmp_path / "a", "nf4").model
    torch.testing.assert_close(logits_of(again), logits_of(model), atol=1e-5, rtol=1e-4)
    assert count_parameters(again)[0] == 6 * 2 * 4 * 128


def test_dora_in_8_bits_on_a_cpu_is_refused(tiny_whisper):
    """Should PEFT learn it, its dequantize_module_weight keeps the scales: then this may go."""
    with pytest.raises(UserError, match="use_dora with load_in_8bit on a CPU"):
        add_adapter(load(tiny_whisper, "int8").model, "x", AdapterOptions(lora_r=4, use_dora=True))


def test_an_apple_gpu_is_refused():
    with pytest.raises(UserError, match="not for Apple GPUs"):
        bitsandbytes_config(Quantization(4, torch.device("mps")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_whisper_base_loses_little(italian_prompts, kind):
    """Loss on four real prompts: equal to the unpacked weights', near that of the whole ones."""
    from utils.audio.log_mel import log_mel, pad_waveforms

    loaded = load("openai/whisper-base", kind)
    clips = italian_prompts[:4]
    inputs, labels = label_batch(loaded, [text for _, text in clips], "it")
    waveforms = pad_waveforms([waveform for waveform, _ in clips], 30.0)
    batch = log_mel(waveforms, loaded.processor.feature_extractor), inputs, labels
    plain = unpacked(loaded.model, "openai/whisper-base")  # before a forward pass, which moves the scales
    with torch.no_grad():
        found = WhisperLoss(loaded.model.train())(*batch).item()
        expected = WhisperLoss(plain.train())(*batch).item()
        whole = WhisperLoss(load_model("openai/whisper-base").model.train())(*batch).item()
    print(f"{kind}: loss {found:.4f} quantised, {whole:.4f} whole")
    assert found == pytest.approx(expected, rel=1e-3)
    assert found == pytest.approx(whole, rel=0.15)

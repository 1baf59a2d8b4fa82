"""Adapters: published parameter counts, AdaLoRA against its paper and PEFT, folders loaded again."""

import copy
from functools import partial

import pytest
import torch
from peft import AdaLoraConfig
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from tests.support.tiny_training import logits_of, tiny_batch, train_for
from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import (
    OrthogonalLoss,
    RankAllocator,
    add_adapter,
    describe_adapter,
    find_targets,
    orthogonal_penalty,
    schedule_ranks,
)
from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.saving import save_model_folder
from utils.model.whisper import adapter_name, count_parameters, eval_mode, trainable_parameters_line
from utils.runtime.errors import UserError

adalora = partial(AdapterOptions, peft_type="adalora")

KINDS = {
    "lora": AdapterOptions(lora_r=4, lora_dropout=0.0),
    "rslora": AdapterOptions(lora_r=4, lora_dropout=0.0, use_rslora=True),
    "dora": AdapterOptions(lora_r=4, lora_dropout=0.0, use_dora=True),
    "adalora": adalora(lora_r=4, lora_dropout=0.0),
}


@pytest.fixture
def loaded(tiny_whisper):
    return load_model(str(tiny_whisper))


# ---- counts and targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "layers", "r", "modules", "line"),
    [
        # printed by the isiZulu project for whisper-tiny
        (
            384,
            4,
            32,
            ["q_proj", "v_proj"],
            "trainable params: 589,824 || all params: 38,350,464 || trainable%: 1.5380",
        ),
        # reported by the children's speech project for whisper-base
        (
            512,
            6,
            16,
            ["q_proj", "v_proj", "k_proj", "out_proj"],
            "trainable params: 1,179,648 || all params: 73,773,568 || trainable%: 1.5990",
        ),
    ],
)
def test_lora_has_the_published_number_of_parameters(width, layers, r, modules, line):
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
    )
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.tie_weights()
    adapter = AdapterOptions(lora_r=r, lora_alpha=32, lora_dropout=0.05, lora_target_modules=modules)
    assert trainable_parameters_line(add_adapter(model, "openai/whisper", adapter)) == line


# The tiny model: width 64, feed-forward 128, 2 layers on each side, so 6 attention blocks, 4 feed-forwards.
@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        (AdapterOptions(lora_r=4), 6 * 2 * 4 * (64 + 64)),
        (AdapterOptions(lora_r=4, use_rslora=True), 6 * 2 * 4 * (64 + 64)),
        (
            AdapterOptions(lora_r=4, use_dora=True),
            6 * 2 * (4 * (64 + 64) + 64),
        ),  # a magnitude for each output
        (
            adalora(lora_r=4),
            6 * 2 * (6 * (64 + 64) + 6),
        ),  # starts at rank 6, a singular value each
        (adalora(lora_r=4, init_r=8), 6 * 2 * (8 * (64 + 64) + 8)),
        (
            AdapterOptions(lora_r=4, lora_target_modules=["all-linear"]),
            6 * 4 * 4 * 128 + 4 * 2 * 4 * (64 + 128),
        ),
        (AdapterOptions(lora_r=4, lora_target_modules=["encoder_attn.k_proj"]), 2 * 4 * 128),
        (AdapterOptions(lora_r=4, lora_target_modules=[".*encoder.layers.*(q|v)_proj"]), 2 * 2 * 4 * 128),
        (
            AdapterOptions(lora_r=4, lora_target_modules=["fc1", r"model\.decoder\..*self_attn\.q_proj"]),
            4 * 4 * 192 + 2 * 4 * 128,
        ),
    ],
)
def test_each_adapter_has_the_parameters_counted_by_hand(loaded, adapter, expected):
    model = add_adapter(loaded.model, "x", adapter)
    assert count_parameters(model)[0] == expected


def test_the_projection_tied_to_the_embedding_is_never_a_target(loaded):
    assert find_targets(loaded.model, ["all-linear"]) == [
        "fc1",
        "fc2",
        "k_proj",
        "out_proj",
        "q_proj",
        "v_proj",
    ]
    assert not any("proj_out" in name for name in find_targets(loaded.model, [".*"]))


@pytest.mark.parametrize(
    "words", [["query"], ["q_proj", "proj_out"], [".*query"], ["(q_proj"], ["*q_proj"], []]
)
def test_unknown_targets_name_those_there_are(loaded, words):
    with pytest.raises(UserError, match=r"the model has fc1, fc2, k_proj, out_proj, q_proj, v_proj"):
        find_targets(loaded.model, words)


def test_rslora_scales_by_the_root_of_the_rank(loaded):
    model = add_adapter(loaded.model, "x", AdapterOptions(lora_r=4, lora_alpha=32, use_rslora=True))
    scales = {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}
    assert scales == {32 / 4**0.5}


# ---- saved and loaded --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_adapter_folder_gives_the_adapted_model(loaded, tiny_whisper, tmp_path, kind):
    model = add_adapter(loaded.model, str(tiny_whisper), KINDS[kind])
    losses = train_for(model, WhisperLoss(model), 3)
    assert losses[-1] < losses[0]
    expected = logits_of(model)
    assert adapter_name(model) == ("lora" if kind == "rslora" else kind)
    save_model_folder(tmp_path / "a", model, loaded.processor, arguments_yaml="{}", results={}, card="")
    merged = load_model(str(tmp_path / "a")).model
    assert isinstance(merged, WhisperForConditionalGeneration)
    torch.testing.assert_close(logits_of(merged), expected, atol=1e-5, rtol=1e-4)
    going_on = load_model(str(tmp_path / "a"), keep_adapter=True).model
    torch.testing.assert_close(logits_of(going_on), expected, atol=1e-5, rtol=1e-4)
    assert count_parameters(going_on)[0] == count_parameters(model)[0]
    # a merged model is an ordinary one again
    save_model_folder(tmp_path / "m", merged, loaded.processor, arguments_yaml="{}", results={}, card="")
    plain = WhisperForConditionalGeneration.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(logits_of(plain), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("lora", "lora, rank 4, alpha 32, q_proj v_proj"),
        ("dora", "dora, rank 4, alpha 32, q_proj v_proj"),
        ("adalora", "adalora, rank 6 cut to 4, alpha 32, q_proj v_proj"),
    ],
)
def test_an_adapter_says_what_it_is(loaded, kind, expected):
    assert describe_adapter(add_adapter(loaded.model, "x", KINDS[kind])) == expected


# ---- AdaLoRA -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total_steps", [1, 2, 3, 7, 100, 4000, 86_000])
def test_ranks_are_whole_then_cut_then_settled(total_steps):
    config = AdaLoraConfig(init_r=6, target_r=4, total_step=1)
    schedule_ranks(config, total_steps)
    AdaLoraConfig(total_step=total_steps, tinit=config.tinit, tfinal=config.tfinal)  # PEFT accepts it
    assert 1 <= config.deltaT <= 86 and config.tinit < total_steps - config.tfinal
    if total_steps >= 100:
        assert 0.10 <= config.tinit / total_steps <= 0.17
        assert 0.44 <= config.tfinal / total_steps <= 0.58


def ranks_left(model: nn.Module) -> int:
    """Singular values that are not zero, over all layers."""
    return sum(int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name)


def test_ranks_fall_to_the_budget_and_stay_there(loaded):
    model = add_adapter(loaded.model, "x", adalora(lora_r=2, init_r=6, lora_dropout=0.0))
    allocator, seen = RankAllocator(model, 24), []
    train_for(model, OrthogonalLoss(model), 24, allocator, lambda *_: seen.append(ranks_left(model)))
    assert seen[:3] == [12 * 6] * 3  # tinit: an eighth of the steps
    # cubic, from step 3 to step 12: 24 + (72 - 24) (1 - (step - 3) / 9)^3, rounded down
    expected = [24 + int(48 * (1 - (step - 3) / 9) ** 3) for step in range(4, 13)]
    assert seen[3:12] == expected
    assert seen[12:] == [24] * 12
    config = model.active_peft_config
    assert sum(map(sum, config.rank_pattern.values())) == 24


def test_no_pattern_before_the_ranks_are_settled(loaded):
    """A folder that is saved meanwhile must hold every rank, since a cut one may grow again."""
    model = add_adapter(loaded.model, "x", adalora(lora_r=2, init_r=6, lora_dropout=0.0))
    train_for(model, OrthogonalLoss(model), 8, RankAllocator(model, 24))
    assert model.active_peft_config.rank_pattern is None


def test_a_settled_adapter_folder_holds_the_ranks_that_are_left(loaded, tiny_whisper, tmp_path):
    from safetensors.torch import load_file

    model = add_adapter(
        loaded.model,
        str(tiny_whisper),
        adalora(lora_r=2, init_r=6, lora_dropout=0.0),
    )
    train_for(model, OrthogonalLoss(model), 16, RankAllocator(model, 24))
    expected = logits_of(model)
    save_model_folder(tmp_path / "a", model, loaded.processor, arguments_yaml="{}", results={}, card="")
    weights = load_file(tmp_path / "a/adapter_model.safetensors")
    assert sum(len(value) for name, value in weights.items() if "lora_E" in name) == 24
    torch.testing.assert_close(
        logits_of(load_model(str(tmp_path / "a")).model), expected, atol=1e-5, rtol=1e-4
    )
    train_for(model, OrthogonalLoss(model), 1, RankAllocator(model, 24))  # saving has not disturbed training


def test_the_allocator_goes_on_from_its_state_in_a_fresh_model(tiny_whisper):
    """Stopped while ranks are whole, while they are cut, and when they are settled; passed through a file."""
    import io

    def start() -> tuple[nn.Module, RankAllocator, torch.optim.Optimizer]:
        adapter = adalora(lora_r=2, init_r=6, lora_dropout=0.0)
        model = add_adapter(load_model(str(tiny_whisper)).model, "x", adapter)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        allocator = RankAllocator(model, 8)
        optimizer.register_step_post_hook(allocator)
        return model, allocator, optimizer

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        OrthogonalLoss(model)(*tiny_batch()).backward()
        optimizer.step()
        optimizer.zero_grad()

    straight, allocator, optimizer = start()
    copies = []
    for _ in range(8):
        step(straight, optimizer)
        file = io.BytesIO()
        torch.save((straight.state_dict(), allocator.state_dict()), file)
        copies.append(file)
    for stop in (1, 3, 4, 6):
        copies[stop - 1].seek(0)
        weights, state = torch.load(copies[stop - 1], weights_only=True)
        resumed, allocator, optimizer = start()
        resumed.load_state_dict(weights)
        allocator.load_state_dict(state)
        for _ in range(8 - stop):
            step(resumed, optimizer)
        assert resumed.active_peft_config.rank_pattern == straight.active_peft_config.rank_pattern
        for name, value in resumed.state_dict().items():
            assert torch.equal(value, straight.state_dict()[name]), (stop, name)


def test_a_step_that_fp16_leaves_out_counts_for_no_rank(loaded):
    """The loss scale overflows at the second of four steps; float32 weights, as train.py has them."""
    model = add_adapter(loaded.model, "x", adalora(lora_r=2, init_r=6, lora_dropout=0.0))
    allocator, loss = RankAllocator(model, 16), OrthogonalLoss(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, fused=True)
    optimizer.register_step_post_hook(allocator)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (1.0, float("inf"), 1.0, 1.0):
        before = copy.deepcopy(allocator.state_dict())
        scaler.scale(loss(*tiny_batch()) * factor).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        after = allocator.state_dict()
        assert after["steps"] == before["steps"] + (factor == 1.0)
        if factor != 1.0:
            for name, value in before["exp_avg_ipt"].items():
                assert torch.equal(after["exp_avg_ipt"][name], value), name
    assert after["steps"] == 3 and scaler.get_scale() == 2.0
    assert all(torch.isfinite(value).all() for value in after["exp_avg_ipt"].values())


def test_the_penalty_is_that_of_peft(loaded):
    """PEFT adds it in the tuner's forward pass, which a PeftModel without a task type goes past as well."""
    model = add_adapter(loaded.model, "x", adalora(lora_r=4, lora_dropout=0.0))
    features, inputs, labels = torch.randn(1, 80, 3000), *(row[:1] for row in tiny_batch()[1:])
    with eval_mode(model):
        plain = loaded.model(features, decoder_input_ids=inputs, labels=labels).loss
        output = model.base_model(features, decoder_input_ids=inputs, labels=labels)
    weight = model.active_peft_config.orth_reg_weight
    assert (output.loss - plain).item() == pytest.approx(weight * orthogonal_penalty(model).item(), rel=1e-4)


def test_the_penalty_counts_once_over_the_parts_of_a_step_and_leaves_the_value(loaded):
    model = add_adapter(loaded.model, "x", adalora(lora_r=4, lora_dropout=0.0))
    for name, parameter in model.named_parameters():
        if "lora_E" in name:
            nn.init.normal_(parameter)
    features, inputs, labels = tiny_batch()
    loss, plain = OrthogonalLoss(model).eval(), WhisperLoss(model).eval()
    assert loss(features, inputs, labels).item() == plain(features, inputs, labels).item()
    for row in range(2):  # seven target tokens, in two parts
        part = slice(row, row + 1)
        (loss(features[part], inputs[part], labels[part]) / 7).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    weight = model.active_peft_config.orth_reg_weight
    (plain(features, inputs, labels) / 7 + weight * orthogonal_penalty(model)).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-4)

"""Weight decay by names against Trainer, optimisers against each other, a checkpoint against arguments."""

import copy

import pytest
import torch
from torch import nn

from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import add_adapter
from utils.model.loading import load_model
from utils.runtime.errors import UserError
from utils.training.optimizers import build_optimizer, parameter_groups, settings_kept

CPU = torch.device("cpu")


def names_in(groups, model) -> list[set[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(parameter)] for parameter in group["params"]} for group in groups]


def test_decay_is_where_transformers_has_it(tiny_whisper):
    from transformers import Trainer

    model = load_model(str(tiny_whisper)).model
    decaying, others = names_in(parameter_groups(model.named_parameters(), 0.1), model)
    # its function asks nothing of the trainer it belongs to
    expected = set(Trainer.get_decay_parameter_names(None, model))
    known = {name for name, _ in model.named_parameters()}
    assert decaying == expected & known and others == known - expected
    assert "model.encoder.conv1.bias" in others and "model.decoder.layer_norm.weight" in others
    assert "model.decoder.embed_tokens.weight" in decaying


def test_frozen_parameters_are_in_no_group_and_magnitudes_do_not_decay(tiny_whisper):
    model = add_adapter(load_model(str(tiny_whisper)).model, "x", AdapterOptions(lora_r=2, use_dora=True))
    decaying, others = names_in(parameter_groups(model.named_parameters(), 0.1), model)
    assert all("lora_A" in name or "lora_B" in name for name in decaying) and len(decaying) == 6 * 2 * 2
    assert all("lora_magnitude_vector" in name for name in others) and len(others) == 6 * 2


def test_an_empty_group_is_left_out():
    (group,) = parameter_groups(nn.Linear(3, 2, bias=False).named_parameters(), 0.1)
    assert group["weight_decay"] == 0.1 and len(group["params"]) == 1


def test_only_matrices_shrink_without_a_gradient():
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    groups = parameter_groups(layer.named_parameters(), 0.5)
    optimizer = build_optimizer(
        "adamw_torch", groups, learning_rate=0.1, betas=(0.9, 0.999), epsilon=1e-8, device=CPU
    )
    layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias, before[1])


@pytest.mark.parametrize(
    ("name", "tolerance"), [("adamw_torch_fused", 1e-6), ("adamw_torch", 1e-6), ("adamw_bnb_8bit", 2e-2)]
)
def test_each_optimiser_takes_adamws_steps(name, tolerance):
    """Five steps, with the betas and the epsilon that are given, against PyTorch's own."""
    torch.manual_seed(0)
    start, gradients = torch.randn(80, 80), [torch.randn(80, 80) for _ in range(5)]
    ours, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    expected = torch.optim.AdamW([reference], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    groups = parameter_groups([("weight", ours)], 0.1)
    found = build_optimizer(name, groups, learning_rate=0.01, betas=(0.8, 0.95), epsilon=1e-6, device=CPU)
    for gradient in gradients:
        ours.grad, reference.grad = gradient.clone(), gradient.clone()
        found.step()
        expected.step()
    assert (ours - reference).abs().max() < tolerance
    assert (ours - start).abs().mean() > 0.01  # it has moved by more than it may differ
    states = {
        value.dtype
        for value in found.state[ours].values()
        if torch.is_tensor(value) and value.numel() == 6400
    }
    assert states == ({torch.uint8} if name == "adamw_bnb_8bit" else {torch.float32})


def test_no_8_bit_optimiser_on_an_apple_gpu():
    groups = parameter_groups(nn.Linear(2, 2).named_parameters(), 0.0)
    with pytest.raises(UserError, match="bitsandbytes has no optimiser for mps"):
        build_optimizer(
            "adamw_bnb_8bit",
            groups,
            learning_rate=0.1,
            betas=(0.9, 0.999),
            epsilon=1e-8,
            device=torch.device("mps"),
        )


# ---- going on with other arguments -------------------------------------------------------------------------


def build_with_schedule(
    layer: nn.Linear, learning_rate: float, weight_decay: float, beta1: float, epsilon: float
):
    """AdamW with a linear schedule over ten steps."""
    from transformers import get_scheduler

    optimizer = build_optimizer(
        "adamw_torch_fused",
        parameter_groups(layer.named_parameters(), weight_decay),
        learning_rate=learning_rate,
        betas=(beta1, 0.99),
        epsilon=epsilon,
        device=CPU,
    )
    return optimizer, get_scheduler("linear", optimizer, 0, 10)


def states_after_three_steps(layer: nn.Linear, *arguments: float) -> tuple[dict, dict]:
    optimizer, scheduler = build_with_schedule(layer, *arguments)
    for _ in range(3):
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    return copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))


def load(states: tuple[dict, dict], layer: nn.Linear, *arguments: float):
    optimizer, scheduler = build_with_schedule(layer, *arguments)
    with settings_kept(optimizer, scheduler):
        optimizer.load_state_dict(copy.deepcopy(states[0]))
        scheduler.load_state_dict(copy.deepcopy(states[1]))
    return optimizer, scheduler


def test_what_a_checkpoint_has_does_not_go_before_the_arguments():
    layer = nn.Linear(2, 2)
    states = states_after_three_steps(layer, 0.1, 0.0, 0.9, 1e-8)
    optimizer, scheduler = load(states, layer, 0.02, 0.3, 0.8, 1e-6)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02 * 0.7] * 2)  # 3 of 10
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]  # biases never decay
    assert [group["betas"] for group in optimizer.param_groups] == [(0.8, 0.99)] * 2
    assert [group["eps"] for group in optimizer.param_groups] == [1e-6] * 2
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.02 * 0.6] * 2)
    assert optimizer.state[layer.weight]["step"] == 3  # the moments are the checkpoint's


def test_the_same_arguments_leave_a_checkpoint_as_it_is():
    layer = nn.Linear(2, 2)
    states = states_after_three_steps(layer, 0.1, 0.3, 0.9, 1e-8)
    optimizer, scheduler = load(states, layer, 0.1, 0.3, 0.9, 1e-8)
    assert optimizer.state_dict()["param_groups"] == states[0]["param_groups"]
    assert scheduler.state_dict() == states[1]

"""AdamW in its variants, with weight decay on matrices alone."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from utils.runtime.errors import UserError


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, object]]:
    """Parameters that are trained, those that decay apart from those that do not.

    Biases, norms and DoRA's magnitudes do not: to shrink a shift or a scale regularises nothing. All of them
    have one dimension and nothing else in Whisper has. Embeddings decay, as in transformers' Trainer.

    Returns:
        Groups for an optimiser; one that would be empty is left out.
    """
    trained = [parameter for _, parameter in named_parameters if parameter.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(
    name: str,
    groups: list[dict[str, object]],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    device: torch.device,
) -> torch.optim.Optimizer:
    """AdamW (https://arxiv.org/abs/1711.05101) by the name that transformers' Trainer gives it.

    Args:
        name: adamw_torch_fused, adamw_torch, or adamw_bnb_8bit, whose moments take a byte each
            (https://arxiv.org/abs/2110.02861; tensors under 4,096 numbers keep 32 bits).
        groups: From `parameter_groups`.
        learning_rate: The peak; the schedule moves it.
        betas: Decay of the first and second moment.
        epsilon: Added to the denominator.
        device: Where training will run.

    Raises:
        UserError: The optimiser does not exist there.
    """
    if name != "adamw_bnb_8bit":
        fused = True if name == "adamw_torch_fused" else None  # None: torch's choice among the others
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=fused)
    if device.type == "mps":
        raise UserError("optim adamw_bnb_8bit: bitsandbytes has no optimiser for mps. Use adamw_torch.")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "optim adamw_bnb_8bit: bitsandbytes is not installed. pip install bitsandbytes"
        ) from None
    return AdamW8bit(groups, lr=learning_rate, betas=betas, eps=epsilon)


@contextlib.contextmanager
def settings_kept(
    optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LambdaLR
) -> Iterator[None]:
    """Keep what the arguments say while the block loads a checkpoint, which has its own run's settings.

    The schedule stands where the checkpoint left it; the rate of the coming step follows from both.
    """
    settings = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    yield
    scheduler.base_lrs = [kept["initial_lr"] for kept in settings]
    for group, kept, factor in zip(optimizer.param_groups, settings, scheduler.lr_lambdas, strict=True):
        group.update(kept)
        group["lr"] = kept["initial_lr"] * factor(scheduler.last_epoch)


def moment_bytes(name: str) -> int:
    """What the optimiser keeps for every trained number: two moments in float32, or in 8 bits."""
    return 2 if name == "adamw_bnb_8bit" else 8

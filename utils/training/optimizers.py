"""Build AdamW in its variants, with weight decay for matrices only."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from utils.runtime.errors import UserError


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, object]]:
    """Group the trained parameters: with and without weight decay.

    Biases, norms and DoRA's magnitudes have no weight decay, because smaller offsets and scales do not
    prevent overfitting. They are Whisper's parameters with one dimension. Embeddings have weight decay, as in
    transformers' Trainer.

    Returns:
        Parameter groups for an optimiser, without empty ones.
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
    """Build AdamW (https://arxiv.org/abs/1711.05101) in the variant that has this name in transformers'
    Trainer.

    Args:
        name: adamw_torch_fused, adamw_torch, or adamw_bnb_8bit, whose moments take one byte each
            (https://arxiv.org/abs/2110.02861; tensors of fewer than 4,096 values keep 32 bits).
        groups: The result of `parameter_groups`.
        learning_rate: The peak of the schedule.
        betas: Decay of the first and second moment.
        epsilon: Added to the denominator.
        device: The device that trains.

    Raises:
        UserError: The optimiser is not available on the device, or not installed.
    """
    if name != "adamw_bnb_8bit":
        fused = True if name == "adamw_torch_fused" else None  # None: torch chooses another kernel
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=fused)
    if device.type == "mps":
        raise UserError("optim adamw_bnb_8bit: bitsandbytes has no optimiser for mps. Use adamw_torch.")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "optim adamw_bnb_8bit: bitsandbytes is not installed. Run: pip install bitsandbytes"
        ) from None
    return AdamW8bit(groups, lr=learning_rate, betas=betas, eps=epsilon)


@contextlib.contextmanager
def settings_kept(
    optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LambdaLR
) -> Iterator[None]:
    """Keep the settings of this run while the block loads a checkpoint, because a checkpoint contains older
    settings.

    The schedule keeps the position of the checkpoint. The next learning rate follows from both.
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
    """Return the bytes of optimiser state for each trained weight.

    They are two moments, in float32 or in 8 bits.
    """
    return 2 if name == "adamw_bnb_8bit" else 8

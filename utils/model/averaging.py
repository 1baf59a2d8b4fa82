"""Average the weights of the models with the best evaluations, like n-best averaging in ESPnet
(https://arxiv.org/abs/1804.00015).

The average of nearby weights of one run is often a better model than each of them. The A and B matrices of
LoRA cannot be averaged like this: the mean of B times the mean of A is not the mean of the products. But the
mean of the products is an adapter too. Its rank is the sum of the ranks. Its A is the A matrices stacked, and
its B is the B matrices side by side, divided by their number. It is saved in this form.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from utils.model.saving import StoredWeights, save_weights, why_not_plain_lora
from utils.runtime.errors import UserError
from utils.runtime.files import folder_written_whole

Ranking = list[tuple[int, float]]  # (step, metric) of the best evaluations, best first

PREFIX = "step-"

FACTORS = {"lora_A": 0, "lora_B": 1, "lora_embedding_A": 0, "lora_embedding_B": 1}  # dimension of the rank


def rank_evaluation(ranking: Ranking, step: int, value: float, keep: int) -> Ranking:
    """Add an evaluation to the ranking, and return the best `keep`.

    If two are equal, the earlier one is better.
    """
    return sorted([*ranking, (step, value)], key=lambda entry: (entry[1], entry[0]))[:keep]


def find_snapshots(folder: Path) -> list[Path]:
    """Find all snapshots of a run, sorted by step."""
    return sorted(folder.glob(f"{PREFIX}*"), key=snapshot_step)


def snapshot_step(path: Path) -> int:
    """Return the step in a snapshot's name."""
    return int(path.name.removeprefix(PREFIX))


def save_snapshot(folder: Path, step: int, model: torch.nn.Module) -> None:
    """Save a model's weights (only the adapter's, if it has one), completely or not at all."""
    with folder_written_whole(folder / f"{PREFIX}{step}") as temporary:
        save_weights(model, temporary)


def drop_snapshots(folder: Path, ranking: Ranking) -> None:
    """Delete snapshots that are not in the ranking.

    These may be from a run that was killed and then resumed.
    """
    kept = {step for step, _ in ranking}
    for path in find_snapshots(folder):
        if snapshot_step(path) not in kept:
            shutil.rmtree(path)


def check_averaging(adapter_config: dict | None) -> None:
    """Check that the weights can be averaged.

    Raises:
        UserError: The adapter is not plain LoRA.
    """
    reason = None if adapter_config is None else why_not_plain_lora(adapter_config)
    if reason:
        raise UserError(
            f"average_checkpoints: adapters of this kind cannot be averaged: {reason}. "
            "Leave out average_checkpoints, or train a plain LoRA adapter, or all weights."
        )


def average_weights(folders: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Return the mean of every tensor over model folders or LoRA adapter folders, summed in float64.

    One tensor of one model is read at a time. The matrices of LoRA are stacked instead, to (N r, in) and
    (out, N r).

    Raises:
        UserError: The folders hold different tensors.
    """
    with ExitStack() as stack:
        stores = [stack.enter_context(StoredWeights(folder)) for folder in folders]
        for store in stores[1:]:
            if set(store.names) != set(stores[0].names):
                raise UserError(f"{store.folder} has other weights than {stores[0].folder}.")
        return {name: _combine(name, stores) for name in stores[0].names}


def _combine(name: str, stores: Sequence[StoredWeights]) -> torch.Tensor:
    first = stores[0].read(name)
    factor = next((part for part in name.split(".") if part in FACTORS), None)
    if factor is not None and first.dim() > 1:  # a bias of B is averaged like any other weight
        share = 1 if factor.endswith("A") else len(stores)
        return torch.cat([store.read(name) / share for store in stores], dim=FACTORS[factor]).contiguous()
    total = first.double()
    for store in stores[1:]:
        total += store.read(name)
    return (total / len(stores)).to(first.dtype).contiguous()


def averaged_adapter_config(config: dict, count: int) -> dict:
    """Return the configuration of `count` stacked LoRA adapters.

    Its rank is the sum of their ranks, and its scale is the same as theirs. The scale is alpha / rank. In
    rank-stabilised LoRA it is alpha divided by the square root of the rank.
    """
    growth = count**0.5 if config.get("use_rslora") else count
    return config | {
        "r": config["r"] * count,
        "lora_alpha": config["lora_alpha"] * growth,
        "rank_pattern": {name: r * count for name, r in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {name: a * growth for name, a in (config.get("alpha_pattern") or {}).items()},
    }

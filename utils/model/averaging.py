"""The mean of the best evaluations' weights, after the n-best averaging of ESPnet (https://arxiv.org/abs/1804.00015).

Weights of one run that lie near each other average to a model that is often better than each of them. That
holds for a model's weights, not for the factors of a LoRA adapter: the mean of B times the mean of A is not
the mean of their products. But that mean is an adapter too, with all the ranks together: the A matrices one
below the other, the B matrices side by side, each divided by their number. So it is written.
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
    """The best `keep` evaluations with a new one among them; of equal ones the earlier is better."""
    return sorted([*ranking, (step, value)], key=lambda entry: (entry[1], entry[0]))[:keep]


def find_snapshots(folder: Path) -> list[Path]:
    """All snapshots of a run, in the order of their steps."""
    return sorted(folder.glob(f"{PREFIX}*"), key=snapshot_step)


def snapshot_step(path: Path) -> int:
    """The step in a snapshot's name."""
    return int(path.name.removeprefix(PREFIX))


def save_snapshot(folder: Path, step: int, model: torch.nn.Module) -> None:
    """Keep a model's weights (its adapter's, where it has one), whole or not at all."""
    with folder_written_whole(folder / f"{PREFIX}{step}") as temporary:
        save_weights(model, temporary)


def drop_snapshots(folder: Path, ranking: Ranking) -> None:
    """Delete what is no longer among the best, also what a run left that was killed and resumed before."""
    kept = {step for step, _ in ranking}
    for path in find_snapshots(folder):
        if snapshot_step(path) not in kept:
            shutil.rmtree(path)


def check_averaging(adapter_config: dict | None) -> None:
    """Refuse what has no mean of its own form.

    Raises:
        UserError: The adapter is not plain LoRA.
    """
    reason = None if adapter_config is None else why_not_plain_lora(adapter_config)
    if reason:
        raise UserError(
            f"average_checkpoints: the mean of such adapters is none of the kind: {reason}. "
            "Leave average_checkpoints out, or train a plain LoRA adapter or all weights."
        )


def average_weights(folders: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of every tensor over model folders or over LoRA adapter folders, summed in float64.

    One tensor of one model is read at a time. LoRA factors are stacked instead: (N r, in) and (out, N r).

    Raises:
        UserError: The folders hold different tensors.
    """
    with ExitStack() as stack:
        stores = [stack.enter_context(StoredWeights(folder)) for folder in folders]
        for store in stores[1:]:
            if set(store.names) != set(stores[0].names):
                raise UserError(f"{store.folder} has not the same weights as {stores[0].folder}.")
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
    """The configuration of `count` LoRA adapters stacked: their ranks' sum at the same scale.

    The scale is alpha / rank, or alpha over the root of the rank in rank-stabilised LoRA.
    """
    growth = count**0.5 if config.get("use_rslora") else count
    return config | {
        "r": config["r"] * count,
        "lora_alpha": config["lora_alpha"] * growth,
        "rank_pattern": {name: r * count for name, r in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {name: a * growth for name, a in (config.get("alpha_pattern") or {}).items()},
    }

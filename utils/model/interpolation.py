"""Interpolate between base and tuned weights: (1 - alpha) base + alpha tuned, WiSE-FT
(https://arxiv.org/abs/2109.01903).

Fine-tuning improves results on data like the training data, and may make them worse on other data. Some
models between the base and the tuned model keep most of the gain and lose less. To find them, we evaluate the
mixtures, but train nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.table import Table

from utils.model.saving import (
    StoredWeights,
    is_adapter,
    read_adapter_config,
    weight_files,
    why_not_plain_lora,
)
from utils.runtime.errors import UserError
from utils.scoring.error_rates import METRIC_LABELS, ErrorRates


@dataclass(frozen=True)
class Mixture:
    """One mixture of base and tuned weights, with its error rates."""

    alpha: float  # 0 is the base model, 1 the tuned one
    validation: ErrorRates
    guards: dict[str, ErrorRates]  # by dataset


def check_interpolation(base: Path, adapter_config: dict | None) -> None:
    """Check that base and tuned weights can be interpolated.

    Args:
        base: Folder of the model that training started from.
        adapter_config: Configuration of the tuned adapter; None if all weights were tuned.

    Raises:
        UserError: They cannot be interpolated, or the base has no safetensors.
    """
    reason = f"{base} is itself an adapter: merge it into a model first" if is_adapter(base) else None
    if adapter_config is not None and reason is None:
        reason = why_not_plain_lora(adapter_config) or _tuned_besides(adapter_config)
    if reason:
        raise UserError(
            f"interpolation_alphas: {reason}. Leave interpolation_alphas out, or train a plain LoRA adapter "
            "or all weights, starting from a whole model."
        )
    weight_files(base)


def _tuned_besides(config: dict) -> str | None:
    for name in ("modules_to_save", "trainable_token_indices"):
        if config.get(name):
            return f"the adapter also holds whole tuned weights ({name} {config[name]})"
    if config.get("bias", "none") != "none":
        return f"the adapter also holds tuned biases (bias {config['bias']})"
    return None


def interpolate_weights(base: Path, tuned: Path, alpha: float) -> dict[str, torch.Tensor]:
    """Return (1 - alpha) base + alpha tuned for every tensor of the tuned model, read from disk one by one.

    The result is computed in float32 and returned in the precision of the tuned model. Alpha 0 gives exactly
    the base weights, and alpha 1 the tuned weights.

    Raises:
        UserError: A weight of the tuned model is missing in the base, or has another shape there.
    """
    with StoredWeights(base) as before, StoredWeights(tuned) as after:
        return {name: _mix(before, after, name, alpha) for name in after.names}


def _mix(before: StoredWeights, after: StoredWeights, name: str, alpha: float) -> torch.Tensor:
    old, new = before.read(name), after.read(name)
    if old.shape != new.shape:
        raise UserError(
            f"interpolation_alphas: {name} is {list(old.shape)} in {before.folder} and {list(new.shape)} in "
            f"{after.folder}. Models of different shape cannot be mixed. Leave out interpolation_alphas."
        )
    if alpha in (0.0, 1.0):
        return (new if alpha else old.to(new.dtype)).contiguous()
    return ((1 - alpha) * old.float() + alpha * new.float()).to(new.dtype).contiguous()


def scaled_adapter_config(config: dict, alpha: float) -> dict:
    """Return the configuration of a LoRA adapter that adds `alpha` times as much to its base.

    The matrices do not change, because PEFT multiplies their product by lora_alpha / rank.
    """
    patterns = {name: value * alpha for name, value in (config.get("alpha_pattern") or {}).items()}
    return config | {"lora_alpha": config["lora_alpha"] * alpha, "alpha_pattern": patterns}


def mixed_weights(
    base: Path, tuned: Path, alpha: float
) -> tuple[dict[str, torch.Tensor], dict[str, object] | None]:
    """Return the tensors of a mixture. If the tuned folder is an adapter, also return its configuration."""
    if not is_adapter(tuned):
        return interpolate_weights(base, tuned, alpha), None
    with StoredWeights(tuned) as weights:
        tensors = {name: weights.read(name) for name in weights.names}
    return tensors, scaled_adapter_config(read_adapter_config(tuned), alpha)


def keeps_guard(mixture: Mixture, base: Mixture, metric: str, tolerance: float) -> bool:
    """Check that the metric of every guard dataset is at most `tolerance`, an absolute fraction, above that
    of the base.
    """
    return all(
        rates.of(metric) <= base.guards[name].of(metric) + tolerance + 1e-9  # 0.12 - 0.10 is above 0.02
        for name, rates in mixture.guards.items()
    )


def choose_mixture(
    mixtures: Sequence[Mixture], base: Mixture, metric: str, tolerance: float
) -> Mixture | None:
    """Choose the mixture with the lowest validation metric among those that `keeps_guard` accepts.

    If two are equal, choose the one nearer to the base. Return None if it accepts no mixture.
    """
    kept = [mixture for mixture in mixtures if keeps_guard(mixture, base, metric, tolerance)]
    return min(kept, key=lambda mixture: (mixture.validation.of(metric), mixture.alpha), default=None)


def interpolation_record(
    mixtures: Sequence[Mixture], base: Mixture, chosen: Mixture | None, metric: str, tolerance: float
) -> dict:
    """Return the content of interpolation.json: the rates of every mixture and the chosen one."""
    rows = [
        asdict(mixture) | {"keeps_guard": keeps_guard(mixture, base, metric, tolerance)}
        for mixture in (base, *mixtures)
    ]
    return {"metric": metric, "chosen_alpha": chosen.alpha if chosen else None, "mixtures": rows}


def build_interpolation_table(
    mixtures: Sequence[Mixture], base: Mixture, chosen: Mixture | None, metric: str, tolerance: float
) -> Table:
    """Build a table with a row for the base and for each mixture, in percent.

    Guards that became too bad are red, the chosen row is bold.
    """
    table = Table(title=f"{METRIC_LABELS[metric]} in percent, between base (0) and tuned weights (1)")
    for name in ("alpha", "validation", *base.guards, "guard"):
        table.add_column(name, justify="right", overflow="fold")
    for mixture in (base, *mixtures):
        kept = keeps_guard(mixture, base, metric, tolerance)
        verdict = "base" if mixture is base else "kept" if kept else "broken"
        if mixture is chosen:
            verdict = "chosen"
        table.add_row(
            f"{mixture.alpha:g}",
            f"{100 * mixture.validation.of(metric):.2f}",
            *(f"{100 * rates.of(metric):.2f}" for rates in mixture.guards.values()),
            verdict,
            style="bold" if mixture is chosen else "" if kept else "red",
        )
    return table

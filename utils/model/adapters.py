"""Train adapters of the LoRA family with PEFT, while all other weights are frozen: LoRA, rsLoRA, DoRA,
AdaLoRA.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from peft import AdaLoraConfig, AdaLoraModel, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.model.adapter_options import AdapterOptions
from utils.model.loss import WhisperLoss
from utils.model.whisper import adapter_name
from utils.runtime.errors import UserError
from utils.text.label_tokens import IGNORED

ALL_LINEAR = "all-linear"

# AdaLoRA's own runs (https://arxiv.org/abs/2303.10512, tables 8 and 9) keep all ranks for the first 10 to
# 17 % of the steps and do not change them in the last 44 to 58 %. Between these, short runs cut ranks at each
# step, and runs of up to 86,000 steps at every 100th.
_WHOLE_SHARE, _SETTLED_SHARE, _CUTS = 1 / 8, 1 / 2, 1000

IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of AdaLoRA's ranks, in PEFT's words


def add_adapter(
    model: WhisperForConditionalGeneration,
    name_or_path: str,
    adapter: AdapterOptions,
    token_ids: Sequence[int] = (),
) -> PeftModel:
    """Add an adapter to the target modules. Only the adapter is trained.

    Args:
        model: The model, quantised or not. It is changed in place.
        name_or_path: Name or path of the model. The saved adapter names it as its base.
        adapter: Settings of the adapter.
        token_ids: Rows of the token embedding that are also trained.

    Raises:
        UserError: A name or expression matches no linear layer, or DoRA is used on a CPU with weights in
            8 bits.
    """
    if adapter.use_dora and getattr(model, "is_loaded_in_8bit", False) and model.device.type == "cpu":
        # PEFT 0.21 unpacks the weights at each step and then loses bitsandbytes' scales.
        raise UserError(
            "use_dora with load_in_8bit on a CPU: PEFT cannot do this. Use load_in_4bit or a GPU."
        )
    options: dict[str, Any] = {
        "target_modules": find_targets(model, adapter.lora_target_modules),
        "lora_alpha": adapter.lora_alpha,
        "lora_dropout": adapter.lora_dropout,
        "bias": "none",
        "trainable_token_indices": list(token_ids) or None,
    }
    # task_type stays unset: SEQ_2_SEQ_LM makes PEFT pass input_ids, which Whisper does not take.
    if adapter.peft_type == "adalora":
        # The schedule waits for the number of steps: schedule_ranks.
        init_r = adapter.init_r or adapter.lora_r + (adapter.lora_r + 1) // 2
        config: LoraConfig = AdaLoraConfig(init_r=init_r, target_r=adapter.lora_r, total_step=1, **options)
    else:
        config = LoraConfig(
            r=adapter.lora_r, use_rslora=adapter.use_rslora, use_dora=adapter.use_dora, **options
        )
    peft_model = get_peft_model(model, config)
    local = Path(name_or_path).exists()
    config.base_model_name_or_path = str(Path(name_or_path).resolve()) if local else name_or_path
    return cast(PeftModel, peft_model)


def find_targets(model: nn.Module, wanted: Sequence[str]) -> list[str]:
    """Find the linear layers that get an adapter. The projection tied to the token embedding is excluded.

    Args:
        model: Whisper.
        wanted: Names, regular expressions, or `all-linear`. A name such as `q_proj` or `self_attn.q_proj`
            means all modules whose name ends with it. A regular expression must match a whole dotted name, as
            in PEFT (`.*encoder.*(q|v)_proj`).

    Returns:
        The names as given. An expression is replaced by the dotted names that match it.

    Raises:
        UserError: A name or expression matches no linear layer.
    """
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.endswith("proj_out")
    ]
    names = sorted({name.rpartition(".")[2] for name in layers})
    if list(wanted) == [ALL_LINEAR]:
        return names
    targets, unknown = [], []
    for word in wanted:
        found = _matching(word, layers)
        targets += found
        unknown += [] if found else [word]
    if unknown or not targets:
        raise UserError(
            f"lora_target_modules {', '.join(unknown) or 'empty'}: the model has {', '.join(names)}. "
            f"Expected some of these names, regular expressions that match full names such as {layers[0]}, "
            f"or only {ALL_LINEAR}."
        )
    return list(dict.fromkeys(targets))


def _matching(word: str, layers: Sequence[str]) -> list[str]:
    if re.fullmatch(r"[\w.]+", word):
        return [word] if any(name == word or name.endswith(f".{word}") for name in layers) else []
    try:
        return [name for name in layers if re.fullmatch(word, name)]
    except re.error:
        return []


def describe_adapter(model: PeftModel) -> str:
    """Describe an adapter in one line: `lora, rank 16, alpha 32, q_proj v_proj`."""
    config = cast(LoraConfig, model.active_peft_config)
    targets = config.target_modules or []
    modules = targets if isinstance(targets, str) else " ".join(sorted(targets))
    rank = f"rank {config.r}"
    if isinstance(config, AdaLoraConfig):
        rank = f"rank {config.init_r} cut to {config.target_r}"
    return f"{adapter_name(model)}, {rank}, alpha {config.lora_alpha}, {modules}"


def adapter_loss(model: PeftModel) -> WhisperLoss:
    """Return the loss that trains an adapter."""
    is_adalora = isinstance(model.active_peft_config, AdaLoraConfig)
    return OrthogonalLoss(model) if is_adalora else WhisperLoss(model)


def register_adapter(
    accelerator: Accelerator, model: PeftModel, optimizer: torch.optim.Optimizer, total_steps: int
) -> None:
    """Register the hook that cuts AdaLoRA's ranks after each step. A resumed run continues to cut them.

    Call it before the optimiser is prepared. If an earlier run finished cutting, its ranks do not change.
    """
    config = model.active_peft_config
    if isinstance(config, AdaLoraConfig) and config.rank_pattern is None:
        allocator = RankAllocator(model, total_steps)
        optimizer.register_step_post_hook(allocator)
        accelerator.register_for_checkpointing(allocator)


def schedule_ranks(config: AdaLoraConfig, total_steps: int) -> None:
    """Set the steps between which ranks are cut, in a run of `total_steps` optimiser steps."""
    config.total_step = total_steps
    config.tinit = int(total_steps * _WHOLE_SHARE)
    config.tfinal = min(int(total_steps * _SETTLED_SHARE), total_steps - config.tinit - 1)
    config.deltaT = max(1, total_steps // _CUTS)


class RankAllocator:
    """Cut AdaLoRA's ranks to the planned total after each optimiser step, before gradients are cleared.

    Register it as a post hook of the optimiser's step. Also register it for checkpoints, because PEFT does
    not save the importance of each rank and the list of remaining ranks with the adapter's weights.
    """

    def __init__(self, model: PeftModel, total_steps: int) -> None:
        self._tuner = cast(AdaLoraModel, model.base_model)
        self._config = cast(AdaLoraConfig, model.active_peft_config)
        self._steps = 0
        schedule_ranks(self._config, total_steps)
        self._last_cut = total_steps - self._config.tfinal

    def __call__(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        # Under fp16 a fused optimiser is called also with infinite gradients, and skips the step itself.
        overflow = getattr(optimizer, "found_inf", None)
        if overflow is not None and overflow.item():
            return
        self._steps += 1
        self._tuner.update_and_allocate(self._steps)
        if self._steps < self._last_cut:
            # Between two cuts a rank may grow again. With a pattern, a model saved here would lack it.
            self._config.rank_pattern = None

    def state_dict(self) -> dict[str, object]:
        importance = {name: getattr(self._tuner.rankallocator, name) for name in IMPORTANCE}
        return {"steps": self._steps, "rank_pattern": self._config.rank_pattern, **importance}

    def load_state_dict(self, state: dict) -> None:
        ranks = self._tuner.rankallocator
        devices = {name: parameter.device for name, parameter in self._tuner.model.named_parameters()}
        self._steps, self._config.rank_pattern = state["steps"], state["rank_pattern"]
        for key in IMPORTANCE:
            setattr(ranks, key, {name: value.to(devices[name]) for name, value in state[key].items()})


class OrthogonalLoss(WhisperLoss):
    """`WhisperLoss` with a term that makes AdaLoRA's matrices more orthogonal.

    AdaLoRA needs this to cut ranks. PEFT adds this term in a forward pass that we do not use. The term
    changes the gradient but not the value of the loss, so losses can be compared with those of other
    adapters. It is multiplied by the number of target tokens in the batch. So it counts once over all
    micro-batches and processes of a step.
    """

    def forward(
        self,
        input_features: torch.Tensor | None,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
        encoder_states: torch.Tensor | None = None,
        context: int | None = None,
    ) -> torch.Tensor:
        """See `WhisperLoss.forward`."""
        loss_sum = super().forward(input_features, decoder_input_ids, labels, encoder_states, context)
        config = cast(AdaLoraConfig, cast(PeftModel, self.model).active_peft_config)
        penalty = config.orth_reg_weight * orthogonal_penalty(self.model)
        return loss_sum + (labels != IGNORED).sum() * (penalty - penalty.detach())


def orthogonal_penalty(model: nn.Module) -> torch.Tensor:
    """Return the mean over all A and B of ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖, Frobenius norm (AdaLoRA, equation 4)."""
    norms = []
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            with torch.autocast(parameter.device.type, enabled=False):
                matrix = parameter if "lora_A" in name else parameter.T  # (rank, features)
                identity = torch.eye(len(matrix), device=matrix.device, dtype=matrix.dtype)
                norms.append(torch.linalg.matrix_norm(matrix @ matrix.T - identity))
    return torch.stack(norms).mean()

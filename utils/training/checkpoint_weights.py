"""Save and load the weights of a checkpoint under the model's own names."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import extract_model_from_parallel
from safetensors.torch import load_file
from torch import nn

from utils.training.checkpoints import WEIGHTS_FILE


def register_weights(accelerator: Accelerator, *, trained_only: bool) -> None:
    """Store the weights under the model's own names, so that they load on any number of processes.

    Accelerate would keep the prefix `module.` of DistributedDataParallel. Sharded weights, and those under
    DeepSpeed, stay in the format of their engine.

    Args:
        accelerator: An accelerator that has not yet saved or loaded anything.
        trained_only: Leave out weights that are not trained. A resumed run takes them from the base model. So
            checkpoints of adapters are small. A quantised base requires this, because a 4-bit layer saves
            more tensors than it can load.
    """
    if accelerator.distributed_type not in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        accelerator.register_save_state_pre_hook(partial(_keep_weights, trained_only))
        accelerator.register_load_state_pre_hook(partial(_load_weights, trained_only))


def _names(model: nn.Module, trained_only: bool) -> set[str]:
    if not trained_only:
        return set(model.state_dict())
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _own_name(name: str) -> str:
    return name.removeprefix("module.")


def _keep_weights(
    trained_only: bool, models: list[nn.Module], weights: list[OrderedDict[str, torch.Tensor]], folder: str
) -> None:
    """Leave out and rename weights.

    The result is an `OrderedDict`, because Accelerate finds tied weights only in one.
    """
    (model,), (state,) = models, weights
    kept = _names(extract_model_from_parallel(model), trained_only)
    own = ((_own_name(name), tensor) for name, tensor in state.items())
    weights[:] = [OrderedDict((name, tensor) for name, tensor in own if name in kept)]


def _load_weights(trained_only: bool, models: list[nn.Module], folder: str) -> None:
    """Load the model, and remove it from the list of models that Accelerate loads itself."""
    model = extract_model_from_parallel(models[0])
    state = {_own_name(name): tensor for name, tensor in load_file(Path(folder) / WEIGHTS_FILE).items()}
    own = model.state_dict(keep_vars=True)
    found = {id(own[name]) for name in state if name in own}  # tied weights are saved under one name
    lacking = [name for name in _names(model, trained_only) if id(own[name]) not in found]
    if alone := sorted(lacking) + sorted(set(state) - set(own)):
        raise ValueError(f"{len(alone)} weights differ between checkpoint and model, such as {alone[0]}")
    model.load_state_dict(state, strict=False)
    models.clear()

"""The model that is trained, with all its weights, whatever it is split over."""

from copy import deepcopy

from accelerate import Accelerator
from torch import nn
from transformers import WhisperForConditionalGeneration

from utils.model.loss import WhisperLoss
from utils.model.whisper import whisper_of
from utils.runtime.launch import is_sharded


def whole_model(accelerator: Accelerator, prepared: nn.Module) -> nn.Module | None:
    """The model that `WhisperLoss` holds, with all its weights; all processes call it.

    Without sharding this is the trained module itself, on every process. A sharded model is gathered into a
    copy on the main process, because decoding takes a different number of steps on each process and would
    hang; the others get None.
    """
    loss: WhisperLoss = accelerator.unwrap_model(prepared)
    if not is_sharded(accelerator):
        return loss.model
    weights = accelerator.get_state_dict(prepared)
    if not accelerator.is_main_process:
        return None
    copy = _empty_copy(loss.model)
    copy.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
    return copy.to(accelerator.device)


def _empty_copy(model: nn.Module) -> nn.Module:
    """A model of the same shape, adapters included, with weights of its own."""
    from peft import PeftModel, get_peft_model

    whisper = whisper_of(model)
    copy = WhisperForConditionalGeneration(whisper.config)
    copy.generation_config = whisper.generation_config
    if not isinstance(model, PeftModel):
        return copy
    # A configuration of its own: PEFT enters there what the copy was loaded from, which is nothing.
    config = deepcopy(model.active_peft_config)
    config.base_model_name_or_path = None
    adapted = get_peft_model(copy, config)
    config.base_model_name_or_path = model.active_peft_config.base_model_name_or_path
    return adapted

"""What a sharded model is gathered into."""

import json
import warnings

import torch

from utils.adapters import Adapter, add_adapter
from utils.distributed import _empty_copy
from utils.modeling import load_model, save_weights


def test_a_copy_of_an_adapter_names_the_base_of_the_adapter(tiny_whisper, tmp_path):
    """Both do, before and after the copy, and what is saved loads from there."""
    model = add_adapter(load_model(str(tiny_whisper)).model, str(tiny_whisper), Adapter(r=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT's, that the base has another name now
        copy = _empty_copy(model)
    assert copy.active_peft_config is not model.active_peft_config
    copy.load_state_dict(model.state_dict())
    for name, adapted in (("copy", copy), ("model", model)):
        save_weights(adapted, tmp_path / name)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tiny_whisper.resolve())
    for name, value in model.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name

"""What a sharded model is gathered into; decoding that processes share."""

import contextlib
import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from accelerate import DistributedType
from datasets import Dataset

from utils.model.adapters import Adapter, add_adapter
from utils.model.loading import load_model
from utils.model.saving import save_weights
from utils.training.shared_decoding import transcribe_on_all_processes
from utils.training.whole_model import _empty_copy


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


def process(index: int, of: int) -> SimpleNamespace:
    """As much of an Accelerator as sharing needs."""
    return SimpleNamespace(
        process_index=index,
        num_processes=of,
        is_main_process=index == 0,
        distributed_type=DistributedType.MULTI_CPU,
        autocast=contextlib.nullcontext,
        unwrap_model=lambda prepared: prepared,
    )


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_hypotheses_come_in_the_order_of_the_rows_on_every_process(monkeypatch, num_processes):
    """Each says a clip's own name; what one process gathers from all is noted in a first round."""
    names = list("abcde")
    rows = Dataset.from_dict(
        {"audio": [name.encode() for name in names], "duration": [1.0] * 5, "language": ["it"] * 5}
    )
    decoded, shares = [], []

    def transcribe(model, processor, clips, *_, **__) -> list[str]:
        texts = [clip.decode() for clip in clips]
        decoded.extend(texts)
        return texts

    def found_by_all() -> list[list[str] | None]:
        loss = SimpleNamespace(model=torch.nn.Identity())
        words = {"batch_size": 2, "max_length": 9, "task": "transcribe"}
        return [
            transcribe_on_all_processes(process(index, num_processes), loss, None, rows, **words)
            for index in range(num_processes)
        ]

    monkeypatch.setattr("utils.training.shared_decoding.transcribe", transcribe)
    monkeypatch.setattr("utils.training.shared_decoding.gather_object", lambda own: shares.extend(own) or own)
    found_by_all()
    assert sorted(decoded) == names  # each once
    monkeypatch.setattr("utils.training.shared_decoding.gather_object", lambda own: shares)
    assert found_by_all() == [names] * num_processes

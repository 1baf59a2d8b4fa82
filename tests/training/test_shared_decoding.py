"""What a sharded model is gathered into; decoding that processes share."""

import contextlib
import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from utils.model.adapter_options import AdapterOptions
from utils.model.adapters import add_adapter
from utils.model.loading import load_model
from utils.model.saving import save_weights
from utils.training.model_folders import _empty_copy
from utils.training.shared_decoding import decode_on_all_processes


def test_a_copy_of_an_adapter_names_the_base_of_the_adapter(tiny_whisper, tmp_path):
    """Both do, before and after the copy, and what is saved loads from there."""
    model = add_adapter(load_model(str(tiny_whisper)).model, str(tiny_whisper), AdapterOptions(lora_r=2))
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
        autocast=contextlib.nullcontext,
    )


@pytest.mark.parametrize("have_a_model", [[True], [True, True], [True, True, True], [True, False]])
def test_hypotheses_come_in_the_order_of_the_rows_on_every_process(monkeypatch, have_a_model):
    """Each says a clip's own name; what one process gathers from all is noted in a first round."""
    names = list("abcde")
    rows = Dataset.from_dict({"duration": [1.0] * 5, "language": ["it"] * 5})
    decoded, shares = [], []

    class Speller:
        """As much of a `RowDecoder` as is called; it says the names of the rows."""

        model = torch.nn.Identity()

        def __call__(self, numbers, languages, contexts) -> list[str]:
            texts = [names[number] for number in numbers]
            decoded.extend(texts)
            return texts

    def found_by_all() -> list[list[str]]:
        return [
            decode_on_all_processes(
                process(index, len(have_a_model)), Speller() if has else None, rows, batch_size=2
            )
            for index, has in enumerate(have_a_model)
        ]

    monkeypatch.setattr("utils.training.shared_decoding.ready_to_decode", contextlib.nullcontext)
    monkeypatch.setattr("utils.training.shared_decoding.gather_object", lambda own: have_a_model)
    with monkeypatch.context() as first_round:
        first_round.setattr(
            "utils.training.shared_decoding.gather_hypotheses", lambda own, _: shares.append(own) or []
        )
        found_by_all()
    assert sorted(decoded) == names  # each once
    monkeypatch.setattr("utils.model.transcription.gather_object", lambda own: shares)
    assert found_by_all() == [names] * len(have_a_model)

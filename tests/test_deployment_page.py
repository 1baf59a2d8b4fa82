"""docs/deployment.md: its Python programs run. Its commands are checked with those of the other guides."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.registry import DELIVERABLES

PAGE = Path(__file__).parents[1] / "docs/deployment.md"


def slow(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["ctranslate2", slow("ggml"), slow("openai"), slow("huggingface")])
def test_the_program_for_an_export_runs_as_printed(tmp_path: Path, monkeypatch, capsys, name):
    """That of docs/deployment.md, on an export of a random model with the tokens of the real one."""
    source, export_format = build_source(), DELIVERABLES[name].format
    decoder = source.loaded.model.model.decoder
    with torch.no_grad():  # the end of the text is always likeliest
        decoder.layer_norm.weight.zero_()
        decoder.layer_norm.bias.copy_(
            10 * decoder.embed_tokens.weight[source.loaded.model.config.eos_token_id]
        )
    (tmp_path / "out" / name).mkdir(parents=True)
    export_format.write(source, tmp_path / "out" / name, export_format.precisions[0])
    noise = np.random.default_rng(0).normal(scale=0.1, size=8_000)
    soundfile.write(tmp_path / "talk.wav", noise, 16_000)
    monkeypatch.chdir(tmp_path)
    programs = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (program,) = [program for program in programs if f"out/{name}" in program]
    assert len(programs) == 4
    exec(program, {})
    assert capsys.readouterr().out.endswith("\n")

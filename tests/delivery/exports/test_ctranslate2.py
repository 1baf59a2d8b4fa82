"""The folder for CTranslate2: its side files, the tokens it writes, and what is refused."""

import copy
import json

import pytest
import torch

from tests.support.real_vocabulary import build_source
from utils.delivery.exports.ctranslate2 import CTRANSLATE2
from utils.model.languages import add_language
from utils.model.whisper import whisper_of


@pytest.fixture(scope="module")
def source():
    """As large-v3: 128 mels, 51,866 tokens; no alignment heads are declared."""
    return build_source(cantonese=True, num_mel_bins=128)


@pytest.mark.parametrize("precision", ["float16", "int8", "int8_bfloat16"])
def test_writing_leaves_the_source_as_it_is(source, tmp_path, precision):
    """CTranslate2 scales the weights in place before it rounds them."""
    before = copy.deepcopy(source.loaded.model.state_dict())
    assert CTRANSLATE2.find_problems(source, precision) == []
    assert CTRANSLATE2.write(source, tmp_path, precision) == []
    for name, weight in source.loaded.model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_side_files_and_tokens_are_those_of_the_source(source, tmp_path):
    from ctranslate2 import StorageView
    from ctranslate2.models import Whisper

    CTRANSLATE2.write(source, tmp_path, "float32")
    names = {"model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json"}
    assert {file.name for file in tmp_path.iterdir()} == names
    config, generation = read(tmp_path / "config.json"), whisper_of(source.loaded.model).generation_config
    assert config["lang_ids"] == list(range(50259, 50359))  # 100 languages
    assert config["suppress_ids"] == generation.suppress_tokens
    assert config["suppress_ids_begin"] == generation.begin_suppress_tokens
    assert config["alignment_heads"] == [[2, 0], [2, 1], [3, 0], [3, 1]]  # the upper two of four layers
    assert read(tmp_path / "preprocessor_config.json")["feature_size"] == 128
    vocabulary = read(tmp_path / "vocabulary.json")
    assert len(vocabulary) == 51866 and vocabulary[50358] == "<|yue|>" and vocabulary[-1] == "<|30.00|>"

    features = torch.randn(1, 128, 3000, generator=torch.Generator().manual_seed(0))
    options = {"language": "yue", "task": "transcribe", "max_new_tokens": 12, "num_beams": 1}
    with torch.inference_mode():
        expected = source.loaded.model.generate(features, do_sample=False, **options)[0].tolist()
    engine = Whisper(str(tmp_path), compute_type="float32", intra_threads=torch.get_num_threads())
    prompt = [50258, 50358, 50360, 50364]  # start, Cantonese, transcribe, no timestamps
    (result,) = engine.generate(
        StorageView.from_array(features.numpy()), [prompt], beam_size=1, max_length=2 * 12
    )
    assert result.sequences_ids[0] == [token for token in expected if token not in prompt][:12]
    assert len(set(result.sequences_ids[0])) > 1


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_an_added_language_is_named_in_a_note_that_makes_faster_whisper_take_it(tmp_path, monkeypatch):
    import faster_whisper
    import numpy as np

    built = build_source()
    token_id = add_language(built.loaded.model, built.loaded.processor, "xx")
    (note,) = CTRANSLATE2.write(built, tmp_path, "float32")
    assert read(tmp_path / "config.json")["lang_ids"].count(token_id) == 1
    engine = faster_whisper.WhisperModel(str(tmp_path), compute_type="float32", cpu_threads=1)
    samples = np.zeros(16_000, np.float32)
    with pytest.raises(ValueError, match="'xx' is not a valid language code"):
        engine.transcribe(samples, language="xx")
    for module in (faster_whisper.tokenizer, faster_whisper.transcribe):  # undone after the test
        monkeypatch.setattr(module, "_LANGUAGE_CODES", module._LANGUAGE_CODES)
    exec(note.partition("Run this first: ")[2], {})
    segments, _ = engine.transcribe(samples, language="xx", max_new_tokens=2, temperature=0.0)
    list(segments)


@pytest.mark.parametrize("head", [[4, 0], [0, 2], [-1, 0]])
def test_a_head_that_the_decoder_lacks_is_refused(head):
    built = build_source()
    whisper_of(built.loaded.model).generation_config.alignment_heads = [[0, 0], head]
    (problem,) = CTRANSLATE2.find_problems(built, "int8")
    assert str(head) in problem and "4 layers of 2 heads" in problem


@pytest.mark.parametrize("value", [70_000.0, float("nan")])
def test_weights_beyond_float16_are_refused_in_float16_alone(value):
    built = build_source()
    with torch.no_grad():
        whisper_of(built.loaded.model).model.encoder.conv1.bias[0] = value
    refused = {name for name in CTRANSLATE2.precisions if CTRANSLATE2.find_problems(built, name)}
    assert refused == {"float16", "int8_float16"}

"""The converter against CTranslate2 itself: its decoding, its own converter, its format written by hand."""

import copy
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.data.sources.asterisk_download import fetch_prompts
from utils.model.ctranslate2.conversion import convert_to_hugging_face, is_ctranslate2_folder
from utils.model.ctranslate2.model_bin import ModelBin
from utils.model.registry_copies import fetch_faster_whisper
from utils.runtime.errors import UserError

DTYPE_IDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


@pytest.fixture(scope="module", autouse=True)
def as_many_threads_as_before():
    """CTranslate2 sets the threads of the whole process, torch's with them."""
    import torch

    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


def decode_on_both_sides(source: Path, converted: Path, clip: Path, language: str | None):
    """Greedy token ids by CTranslate2 from `source`, by transformers from `converted`, and their text."""
    import ctranslate2
    import torch
    from faster_whisper import decode_audio
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    options = {"compute_type": "float32", "intra_threads": torch.get_num_threads()}
    theirs = ctranslate2.models.Whisper(str(source), device="cpu", **options)
    ours = WhisperForConditionalGeneration.from_pretrained(converted).eval()
    processor = WhisperProcessor.from_pretrained(converted)
    names = ["<|startoftranscript|>", "<|notimestamps|>"]
    names[1:1] = [f"<|{language}|>", "<|transcribe|>"] if language else []
    options = {"language": language, "task": "transcribe"} if language else {}
    features = processor(audio=decode_audio(str(clip)), sampling_rate=16_000, return_tensors="pt")
    view = ctranslate2.StorageView.from_array(features.input_features.numpy())
    prompt = processor.tokenizer.convert_tokens_to_ids(names)
    expected = theirs.generate(view, [prompt], beam_size=1, max_length=448)[0].sequences_ids[0]
    with torch.inference_mode():
        found = ours.generate(features.input_features, do_sample=False, num_beams=1, **options)[0].tolist()
    kept = [token for token in found if token not in (*prompt, ours.config.eos_token_id)]
    return expected, kept, processor.tokenizer.decode(kept)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "hf"
    convert_to_hugging_face(fetch_faster_whisper("openai/whisper-base"), folder)
    return folder


@pytest.fixture(scope="module")
def random_whisper(tiny_whisper, tmp_path_factory) -> Path:
    """The tiny Whisper with every number drawn anew, so that no two tensors are alike and no bias is zero."""
    import torch
    from transformers import WhisperForConditionalGeneration

    folder = tmp_path_factory.mktemp("random") / "whisper"
    shutil.copytree(tiny_whisper, folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


def convert_with_ctranslate2(source: Path, target: Path, quantization: str | None) -> Path:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source), copy_files=["tokenizer.json"]).convert(
        str(target), quantization=quantization, force=True
    )
    return target


@pytest.mark.parametrize(("language", "key"), [("it", "agent-alreadyon"), ("en", "pbx-invalid")])
def test_base_says_what_ctranslate2_says(base_folder, language, key):
    clip = fetch_prompts(language).folder / f"{key}.g722"
    source = fetch_faster_whisper("openai/whisper-base")
    expected, found, text = decode_on_both_sides(source, base_folder, clip, language)
    assert found == expected and len(text.split()) >= 3


def test_base_says_what_faster_whisper_says(base_folder):
    import torch
    from faster_whisper import WhisperModel, decode_audio
    from transformers import pipeline

    prompts = fetch_prompts("it")
    clip = prompts.folder / "vm-intro.g722"
    source, threads = str(fetch_faster_whisper("openai/whisper-base")), torch.get_num_threads()
    peer = WhisperModel(source, device="cpu", compute_type="float32", cpu_threads=threads)
    segments, _ = peer.transcribe(
        str(clip), language="it", beam_size=1, temperature=0, without_timestamps=True
    )
    expected = "".join(segment.text for segment in segments)
    recognise = pipeline("automatic-speech-recognition", model=str(base_folder))
    options = {"language": "it", "task": "transcribe", "num_beams": 1}
    found = recognise({"raw": decode_audio(str(clip)), "sampling_rate": 16_000}, generate_kwargs=options)
    assert found["text"].strip() == expected.strip()


def test_tiny_en_says_what_ctranslate2_says(tmp_path):
    source = fetch_faster_whisper("openai/whisper-tiny.en")
    convert_to_hugging_face(source, tmp_path / "hf")
    clip = fetch_prompts("en").folder / "vm-intro.g722"
    expected, found, text = decode_on_both_sides(source, tmp_path / "hf", clip, None)
    assert found == expected and len(text.split()) >= 3
    generation = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert generation["is_multilingual"] is False and "lang_to_id" not in generation


def test_base_folder_has_openais_configuration(base_folder):
    """The numbers are those of openai/whisper-base on the Hub."""
    from transformers import GenerationConfig, WhisperConfig, WhisperProcessor

    config = WhisperConfig.from_pretrained(base_folder)
    assert (config.d_model, config.encoder_layers, config.decoder_layers) == (512, 6, 6)
    assert (config.encoder_attention_heads, config.encoder_ffn_dim, config.num_mel_bins) == (8, 2048, 80)
    assert (config.vocab_size, config.max_source_positions, config.max_target_positions) == (51865, 1500, 448)
    generation = GenerationConfig.from_pretrained(base_folder)
    assert generation.decoder_start_token_id == 50258 and generation.eos_token_id == 50257
    assert generation.no_timestamps_token_id == 50363 and generation.prev_sot_token_id == 50361
    assert generation.lang_to_id["<|it|>"] == 50274 and len(generation.lang_to_id) == 99
    assert generation.task_to_id == {"transcribe": 50359, "translate": 50358}
    assert generation.begin_suppress_tokens == [220, 50257] and generation.max_length == 448
    assert generation.alignment_heads[0] == [3, 1] and len(generation.alignment_heads) == 8
    tokenizer = WhisperProcessor.from_pretrained(base_folder).tokenizer
    assert tokenizer.convert_tokens_to_ids(["<|0.00|>", "<|0.02|>", "<|30.00|>"]) == [50364, 50365, 51864]
    assert len(tokenizer) == 51865
    ids = tokenizer(" Ciao.").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == " Ciao."
    assert (base_folder / "preprocessor_config.json").is_file()


@pytest.mark.slow
def test_word_timestamps_come_out_of_the_converted_model(base_folder):
    from faster_whisper import decode_audio
    from transformers import pipeline

    clip = fetch_prompts("it").folder / "agent-alreadyon.g722"
    samples = decode_audio(str(clip))
    recognise = pipeline("automatic-speech-recognition", model=str(base_folder))
    found = recognise(
        {"raw": samples, "sampling_rate": 16_000},
        return_timestamps="word",
        generate_kwargs={"language": "it"},
    )
    ends = [chunk["timestamp"][1] for chunk in found["chunks"]]
    assert len(ends) >= 8 and ends == sorted(ends)
    assert ends[-1] == pytest.approx(len(samples) / 16_000, abs=1.0)


@pytest.mark.parametrize("quantization", [None, "float16", "bfloat16", "int16", "int8", "int8_float16"])
def test_weights_survive_ctranslate2s_own_converter(random_whisper, tmp_path, quantization):
    """There and back: exact for floats; within half a step of the row's largest number for integers."""
    import torch
    from safetensors.torch import load_file

    source = convert_with_ctranslate2(random_whisper, tmp_path / "ct2", quantization)
    convert_to_hugging_face(source, tmp_path / "hf")
    expected, found = (load_file(f / "model.safetensors") for f in (random_whisper, tmp_path / "hf"))
    assert found.keys() == expected.keys() - {"proj_out.weight"}
    floats = {None: torch.float32, "bfloat16": torch.bfloat16}.get(quantization, torch.float16)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        rounded = expected[name].to(floats).float()
        if quantization in (None, "float16", "bfloat16"):
            assert torch.equal(tensor, rounded), name
            continue
        largest = expected[name].abs().amax(dim=tuple(range(1, tensor.ndim)), keepdim=True)
        step = largest / 127 if "int8" in quantization else expected[name].abs().max() / 2**10
        error = (tensor - expected[name]).abs()
        assert (error <= step * 0.51 + 1e-3 * largest).all(), name


@pytest.fixture(scope="module")
def large_v3(tmp_path_factory):
    """A small Whisper with large-v3's vocabulary and mels, built from base's tokenizer, and its folder."""
    from tokenizers import Tokenizer
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    source = fetch_faster_whisper("openai/whisper-base")
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    added = tokenizer["added_tokens"]
    place = next(i for i, token in enumerate(added) if token["content"] == "<|translate|>")
    for token in added[place:]:
        token["id"] += 1
    added.insert(place, added[place - 1] | {"content": "<|yue|>", "id": added[place]["id"] - 1})
    folder = tmp_path_factory.mktemp("large") / "ct2"
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
            **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_model"), 64),
            **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 1),
            vocab_size=51866,
            num_mel_bins=128,
        )
    )
    folder.mkdir()
    write_hand_made(folder, model, drop=("encoder/num_heads", "decoder/num_heads"))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|yue|>") == 50358
    convert_to_hugging_face(folder, folder.with_name("hf"))
    return model, folder.with_name("hf")


def test_large_v3_vocabulary_and_mels(large_v3):
    """128 mels and 51,866 tokens, the hundredth language included."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    model, folder = large_v3
    config = WhisperConfig.from_pretrained(folder)
    assert (config.num_mel_bins, config.vocab_size, config.encoder_attention_heads) == (128, 51866, 1)
    generation = GenerationConfig.from_pretrained(folder)
    assert generation.lang_to_id["<|yue|>"] == 50358 and len(generation.lang_to_id) == 100
    assert generation.no_timestamps_token_id == 50364
    processor = WhisperProcessor.from_pretrained(folder)
    assert processor.feature_extractor.feature_size == 128
    assert processor.tokenizer.convert_tokens_to_ids("<|30.00|>") == 51865
    again = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features, tokens = torch.randn(1, 128, 3000), torch.tensor([[50258, 50260, 5]])
    with torch.inference_mode():
        expected = model.eval()(features, decoder_input_ids=tokens).logits
        assert torch.equal(again(features, decoder_input_ids=tokens).logits, expected)


def test_a_tensor_of_another_shape_is_refused(large_v3, tmp_path):
    import torch

    model = copy.deepcopy(large_v3[0])
    model.model.encoder.conv2.bias = torch.nn.Parameter(torch.zeros(63))
    folder = tmp_path / "ct2"
    folder.mkdir()
    shutil.copy(large_v3[1].with_name("ct2") / "tokenizer.json", folder)
    write_hand_made(folder, model)
    with pytest.raises(UserError, match=r"conv2/bias of shape \[63\], which does not fit .* width 64"):
        convert_to_hugging_face(folder, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_saved_again_it_still_knows_its_languages(large_v3, tmp_path):
    import torch
    from transformers import WhisperForConditionalGeneration

    WhisperForConditionalGeneration.from_pretrained(large_v3[1]).save_pretrained(tmp_path)
    again = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    tokens = again.generate(
        torch.zeros(1, 128, 3000),
        language="it",
        task="transcribe",
        max_new_tokens=2,
        return_dict_in_generate=True,
    )
    assert again.generation_config.lang_to_id["<|it|>"] == 50274
    assert tokens.sequences.shape[1] <= 6


def string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def variable(name: str, array: np.ndarray) -> bytes:
    shape = struct.pack(f"<{array.ndim}I", *array.shape)
    head = string(name) + struct.pack("<B", array.ndim) + shape
    return head + struct.pack("<BI", DTYPE_IDS[array.dtype.name], array.nbytes) + array.tobytes()


def model_bin(variables: dict[str, np.ndarray], aliases: dict[str, str] | None = None, **head) -> bytes:
    """A model.bin as the format's description has it."""
    aliases = aliases or {}
    start = struct.pack("<I", head.get("version", 6)) + string(head.get("spec", "WhisperSpec"))
    body = b"".join(variable(name, array) for name, array in variables.items())
    names = b"".join(string(alias) + string(name) for alias, name in aliases.items())
    counts = head.get("count", len(variables)), len(aliases)
    return start + struct.pack("<II", 3, counts[0]) + body + struct.pack("<I", counts[1]) + names


def write_hand_made(folder: Path, model, drop: tuple[str, ...] = ()) -> None:
    """Write a Whisper of one layer a side as model.bin and config.json, names spelled out by hand."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    variables: dict[str, np.ndarray] = {}

    def put(name: str, *sources: str, parts: tuple[str, str] = ("weight", "bias")) -> None:
        variables[f"{name}/{parts[0]}"] = np.concatenate([state[f"model.{s}.weight"] for s in sources])
        # a key projection has no bias: CTranslate2 stacks zeros
        biases = [
            state.get(f"model.{s}.bias", np.zeros(len(state[f"model.{s}.weight"]), "f")) for s in sources
        ]
        variables[f"{name}/{parts[1]}"] = np.concatenate(biases)

    for side in ("encoder", "decoder"):
        layer, attention = f"{side}/layer_0", f"{side}.layers.0.self_attn"
        put(f"{layer}/self_attention/linear_0", *(f"{attention}.{part}_proj" for part in "qkv"))
        put(f"{layer}/self_attention/linear_1", f"{attention}.out_proj")
        norm = ("gamma", "beta")
        put(f"{layer}/self_attention/layer_norm", f"{side}.layers.0.self_attn_layer_norm", parts=norm)
        put(f"{layer}/ffn/layer_norm", f"{side}.layers.0.final_layer_norm", parts=norm)
        put(f"{layer}/ffn/linear_0", f"{side}.layers.0.fc1")
        put(f"{layer}/ffn/linear_1", f"{side}.layers.0.fc2")
        put(f"{side}/layer_norm", f"{side}.layer_norm", parts=norm)
        variables[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        variables[f"{side}/num_heads"] = np.array(1, "int16")
    cross = "decoder.layers.0.encoder_attn"
    put("decoder/layer_0/attention/linear_0", f"{cross}.q_proj")
    put("decoder/layer_0/attention/linear_1", f"{cross}.k_proj", f"{cross}.v_proj")
    put("decoder/layer_0/attention/linear_2", f"{cross}.out_proj")
    put("decoder/layer_0/attention/layer_norm", f"{cross}_layer_norm", parts=("gamma", "beta"))
    put("encoder/conv1", "encoder.conv1")
    put("encoder/conv2", "encoder.conv2")
    variables["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    kept = {name: array for name, array in variables.items() if name not in drop}
    data = model_bin(kept, {"decoder/projection/weight": "decoder/embeddings/weight"} if not drop else None)
    (folder / "model.bin").write_bytes(data)
    (folder / "config.json").write_text("{}")


SMALL = {
    "a/weight": np.arange(6, dtype="int8").reshape(2, 3),
    "a/weight_scale": np.array([2, 4], "float32"),
    "b/weight": np.arange(4, dtype="float16").reshape(2, 2),
    "c/weight": np.arange(4, dtype="int32"),
}


def test_reads_what_was_written_by_hand(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bin(SMALL, {"d/weight": "b/weight", "e/weight": "a/weight"}))
    weights = ModelBin(path)
    assert weights.read("a/weight").tolist() == [[0, 0.5, 1], [0.75, 1, 1.25]]
    assert weights.read("e/weight").tolist() == [[0, 0.5, 1], [0.75, 1, 1.25]]
    assert weights.read("d/weight").tolist() == [[0, 1], [2, 3]]
    with pytest.raises(UserError, match="c/weight as integers without a scale"):
        weights.read("c/weight")
    with pytest.raises(UserError, match="no variable z"):
        weights.read("z")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"PK\3\4 not a model at all", "no CTranslate2 model of binary version 6"),
        (model_bin(SMALL, version=5), "begins with 5"),
        (model_bin(SMALL, spec="TransformerSpec"), "'TransformerSpec', expected a 'WhisperSpec'"),
        (model_bin(SMALL)[:-20], "truncated: found"),
        (model_bin(SMALL, count=4_000_000_000), "truncated|not text|data type|dimensions|bytes for"),
        (model_bin(SMALL) + b"more", "has 4 bytes"),
        (model_bin(SMALL, {"x": "nothing"}), "but no nothing"),
        (model_bin({"a": np.zeros((1,) * 9, "int8")}), "9 dimensions"),
        (model_bin(SMALL).replace(struct.pack("<II", 2, 3), struct.pack("<II", 2, 0xFFFFFFFF)), "6 bytes"),
    ],
)
def test_strange_files_are_refused(tmp_path, data, message):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        ModelBin(path)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 400), content=st.binary(min_size=1, max_size=8), cut=st.integers(0, 400) | st.none()
)
def test_damaged_files_end_in_a_user_error_or_in_numbers(tmp_path, place, content, cut):
    data = bytearray(model_bin(SMALL, {"d/weight": "b/weight"}))
    data[place : place + len(content)] = content
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(data[:cut]))
    try:
        weights = ModelBin(path)
        for name in [*SMALL, "d/weight"]:
            assert weights.read(name).dtype == np.float32
    except UserError as error:
        assert str(path) in str(error)


@pytest.fixture(scope="module")
def tiny_ctranslate2(random_whisper, tmp_path_factory) -> Path:
    return convert_with_ctranslate2(random_whisper, tmp_path_factory.mktemp("ct2") / "tiny", "float16")


def test_it_is_told_from_other_folders(tiny_ctranslate2, tiny_whisper, tmp_path):
    assert is_ctranslate2_folder(tiny_ctranslate2)
    assert not is_ctranslate2_folder(tiny_whisper)
    assert not is_ctranslate2_folder(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer.json", None, "no tokenizer.json.*Copy it from the model"),
        ("tokenizer.json", "{", "not readable as a tokenizer"),
        ("config.json", None, "config.json: no such file"),
        ("config.json", "[1]", "found a list, expected an object"),
        ("config.json", "{", "not readable as JSON"),
        ("config.json", '{"suppress_ids": "all"}', "suppress_ids is no list of whole numbers"),
        ("config.json", '{"suppress_ids": [99999]}', "99999 is no token"),
        ("config.json", '{"alignment_heads": [[7, 0]]}', r"\[7, 0\] is no token or head"),
        ("config.json", '{"alignment_heads": [7]}', "no list of pairs"),
        ("model.bin", None, "no such file"),
    ],
)
def test_incomplete_folders_are_refused_and_nothing_is_written(
    tiny_ctranslate2, tmp_path, file, content, message
):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_ctranslate2, folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(UserError, match=message):
        convert_to_hugging_face(folder, tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_another_models_tokenizer_is_refused(tiny_ctranslate2, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_ctranslate2, folder)
    shutil.copy(fetch_faster_whisper("openai/whisper-base") / "tokenizer.json", folder)
    with pytest.raises(UserError, match="found 51,865 tokens with the timestamps, expected 1,86"):
        convert_to_hugging_face(folder, tmp_path / "hf")

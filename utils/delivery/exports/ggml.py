"""Export for whisper.cpp and the programs that are built on it: one file in its ggml format."""

from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from utils.delivery.exports.checks import find_half_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.delivery.exports.ggml_file import CODES_FILE, write_head, write_tensor
from utils.delivery.exports.ggml_layout import FILE_TYPES, TENSOR_TYPES, GgmlHeader, list_tensors
from utils.model.alignment_heads import alignment_heads
from utils.model.languages import added_languages
from utils.model.openai_form import (
    BORROWED_CODE,
    ELSEWHERE,
    ENGLISH,
    WITH_CANTONESE,
    find_openai_form_problems,
    openai_dimensions,
    openai_tensors,
    openai_token_order,
)
from utils.model.whisper import whisper_of
from utils.runtime.files import write_json

# what whisper.cpp's own tools call such files
FILE_NAMES = {
    "f16": "ggml-model.bin",
    "q8_0": "ggml-model-q8_0.bin",
    "q5_0": "ggml-model-q5_0.bin",
}

# whisper.cpp's names of alignment heads, by (encoder layers, decoder layers, number of heads)
ALIGNMENTS = {
    (4, 4, 8): "tiny.en",
    (4, 4, 6): "tiny",
    (6, 6, 5): "base.en",
    (6, 6, 8): "base",
    (12, 12, 19): "small.en",
    (12, 12, 10): "small",
    (24, 24, 18): "medium.en",
    (24, 24, 6): "medium",
    (32, 32, 9): "large.v1",
    (32, 32, 23): "large.v2",
    (32, 32, 10): "large.v3",
    (32, 4, 6): "large.v3.turbo",
}


def find_ggml_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what whisper.cpp cannot hold."""
    model = whisper_of(source.loaded.model)
    found = find_openai_form_problems(model) + find_half_problems(model)
    if not found:
        found = _find_misplaced_tokens(model, source.loaded.processor.tokenizer)
    width, block_size = model.config.d_model, TENSOR_TYPES[precision].block_size
    if width % block_size:
        found.append(
            f"config.json: d_model is {width}, {precision} needs a multiple of {block_size}. Take f16."
        )
    return found


def _find_misplaced_tokens(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer) -> list[str]:
    """Check that special tokens have the ids that whisper.cpp computes from the size of the vocabulary."""
    size = model.config.vocab_size
    codes = list(LANGUAGES)[: 100 if size == WITH_CANTONESE else 99]
    names = ["endoftext", "startoftranscript", *codes, "translate", "transcribe", "startoflm", "startofprev"]
    expected = {name: number for number, name in enumerate(names, 50256 if size == ENGLISH else 50257)}
    expected["notimestamps"] = expected["startofprev"] + 2  # between them stands one with several names
    order, ids = openai_token_order(model) or range(size), tokenizer.get_vocab()
    for name, number in expected.items():
        token, found = f"<|{name}|>", ids.get(f"<|{name}|>")
        if found not in (None, order[number]):  # English-only tokenizers have other codes for some languages
            return [f"tokenizer.json: {token} is number {found}, expected {order[number]}. {ELSEWHERE}"]
    return []


def write_ggml(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Write the model file, and `CODES_FILE` if the model has an added language; see `ExportFormat`."""
    model, processor = whisper_of(source.loaded.model), source.loaded.processor
    header = GgmlHeader(**openai_dimensions(model.config), file_type=FILE_TYPES[precision])
    path, tensors = folder / FILE_NAMES[precision], openai_tensors(model)
    with path.open("wb") as file:
        write_head(file, header, processor.feature_extractor.mel_filters.T, _text_tokens(processor.tokenizer))
        for tensor in list_tensors(header):
            values = tensors[tensor.name].detach().to("cpu", torch.float32).numpy()
            write_tensor(file, tensor, values)
    added = list(added_languages(model))
    if added:
        write_json(folder / CODES_FILE, {added[0]: BORROWED_CODE})
    return _notes(model, header, path.name, added)


def _text_tokens(tokenizer: WhisperTokenizer) -> list[bytes]:
    """Return the bytes of each token before the special ones, in the order of their ids."""
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    names = tokenizer.convert_ids_to_tokens(list(range(tokenizer.get_vocab()["<|endoftext|>"])))
    return [bytes(byte_of[letter] for letter in name) for name in names]


def _notes(
    model: WhisperForConditionalGeneration, header: GgmlHeader, name: str, added: list[str]
) -> list[str]:
    code = BORROWED_CODE if added else "CODE"
    notes = [
        f"Transcribe with: whisper-cli --model {name} --language {code} --suppress-nst AUDIO",
        "--suppress-nst leaves out brackets and signs such as ♪, as Whisper's own decoding does.",
        "whisper.cpp gives the text of a window to the next as a prompt, which can spread loops. "
        "--max-context 0 switches this off.",
    ]
    if added:
        notes.append(f"whisper.cpp knows the language {added[0]} by the code {BORROWED_CODE} (Cantonese).")
    if not header.has_timestamps:
        notes.append("whisper.cpp gives no timestamps for models of two decoder layers.")
    heads = len(alignment_heads(model))
    alignment = ALIGNMENTS.get((header.n_audio_layer, header.n_text_layer, heads))
    if alignment:
        notes.append(
            "The file has no place for alignment heads, so they have a name: --dtw "
            f"{alignment} --no-flash-attn --output-json-full gives the times of tokens, as t_dtw."
        )
    return notes


GGML = ExportFormat(
    precisions=tuple(FILE_NAMES), packages=(), find_problems=find_ggml_problems, write=write_ggml
)

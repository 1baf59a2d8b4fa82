"""Export for whisper.cpp and the programs that are built on it: one file in its ggml format."""

from pathlib import Path

import torch
from transformers import WhisperForConditionalGeneration, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from utils.delivery.exports.checks import find_half_problems, find_token_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.delivery.exports.ggml_file import CODES_FILE, write_head, write_tensor
from utils.delivery.exports.ggml_layout import FILE_TYPES, TENSOR_TYPES, GgmlHeader, list_tensors
from utils.model.alignment_heads import alignment_heads
from utils.model.languages import added_languages
from utils.model.openai_form import (
    BORROWED_CODE,
    find_openai_form_problems,
    openai_dimensions,
    openai_tensors,
)
from utils.model.whisper import whisper_of
from utils.runtime.files import write_json

# what whisper.cpp's own tools call such files
FILE_NAMES = {
    "f16": "ggml-model.bin",
    "q8_0": "ggml-model-q8_0.bin",
    "q5_0": "ggml-model-q5_0.bin",
}

# whisper.cpp's names of alignment heads, each "layer.head"; those that openai/whisper lists for its models
ALIGNMENTS = {
    "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4": "tiny.en",
    "2.2 3.0 3.2 3.3 3.4 3.5": "tiny",
    "3.3 4.7 5.1 5.5 5.7": "base.en",
    "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6": "base",
    "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 11.2 11.4": "small.en",
    "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5": "small",
    "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 20.3 20.9 20.14 21.12": (
        "medium.en"
    ),
    "13.15 15.4 15.15 16.1 20.0 23.4": "medium",
    "9.19 11.2 11.4 11.17 22.7 22.11 22.17 23.2 23.15": "large.v1",
    "10.12 13.17 16.11 16.12 16.13 17.15 17.16 18.4 18.11 18.19 19.11 21.2 21.3 22.3 22.9 22.12 23.5 23.7 "
    "23.13 25.5 26.1 26.12 27.15": "large.v2",
    "7.0 10.17 12.18 13.12 16.1 17.14 19.11 21.4 24.1 25.6": "large.v3",
    "2.4 2.11 3.3 3.6 3.11 3.14": "large.v3.turbo",
}


def find_ggml_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what whisper.cpp cannot hold."""
    model = whisper_of(source.loaded.model)
    tokenizer = source.loaded.processor.tokenizer
    found = find_openai_form_problems(model) or find_token_problems(model, tokenizer)
    found += find_half_problems(model)
    width, block_size = model.config.d_model, TENSOR_TYPES[precision].block_size
    if width % block_size:
        found.append(
            f"config.json: d_model is {width}, {precision} needs a multiple of {block_size}. Take f16."
        )
    return found


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
    heads = " ".join(f"{layer}.{head}" for layer, head in sorted(alignment_heads(model)))
    notes.append(
        "The file has no place for alignment heads, so they have a name: --dtw "
        f"{ALIGNMENTS[heads]} --no-flash-attn --output-json-full gives the times of tokens, as t_dtw."
        if heads in ALIGNMENTS
        else "whisper.cpp has no name for the alignment heads of this model, so it gives no good times of "
        "tokens. Take another format for them."
    )
    return notes


GGML = ExportFormat(
    precisions=tuple(FILE_NAMES), packages=(), find_problems=find_ggml_problems, write=write_ggml
)

"""Export for openai/whisper: the file that its `whisper.load_model(path)` loads."""

import base64
import gzip
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration

from utils.delivery.exports.checks import find_half_problems, find_head_problems, find_token_problems
from utils.delivery.exports.export_format import ExportFormat, ExportSource
from utils.model.alignment_heads import alignment_heads
from utils.model.languages import added_languages
from utils.model.openai_form import (
    BORROWED_CODE,
    find_openai_form_problems,
    openai_dimensions,
    openai_tensors,
)
from utils.model.whisper import whisper_of

CHECKPOINT = "model.pt"


def find_checkpoint_problems(source: ExportSource, precision: str) -> list[str]:
    """Return what openai/whisper cannot hold."""
    model = whisper_of(source.loaded.model)
    tokenizer = source.loaded.processor.tokenizer
    found = find_openai_form_problems(model) or find_token_problems(model, tokenizer)
    found += find_head_problems(model)
    return found + (find_half_problems(model) if precision == "float16" else [])


def write_checkpoint(source: ExportSource, folder: Path, precision: str) -> list[str]:
    """Write the file; see `ExportFormat`.

    `load_model` reads `dims` and `model_state_dict`. The other entries are for those who load the file:
    `alignment_heads`, as `set_alignment_heads` takes it, and the code of an added language.
    """
    model, dtype = whisper_of(source.loaded.model), getattr(torch, precision)
    added = list(added_languages(model))
    checkpoint = {
        "dims": openai_dimensions(model.config),
        # cloned: a view would be saved with all that it is a view of
        "model_state_dict": {
            name: tensor.detach().to(dtype, copy=True) for name, tensor in openai_tensors(model).items()
        },
        "alignment_heads": dump_alignment_heads(model),
        "added_language": added[0] if added else None,
    }
    torch.save(checkpoint, folder / CHECKPOINT)
    notes = [
        "whisper.load_model takes no alignment heads from a file. For good times of words, set them: "
        f'model.set_alignment_heads(torch.load("{CHECKPOINT}", weights_only=True)["alignment_heads"])'
    ]
    if added:
        notes.append(
            f"openai/whisper knows the language {added[0]} by the code {BORROWED_CODE} (Cantonese), whose "
            "words it splits, so do not use its times of words."
        )
    return notes


def dump_alignment_heads(model: WhisperForConditionalGeneration) -> str:
    """Return the heads as `whisper.Whisper.set_alignment_heads` takes them: base 85 of a gzipped mask."""
    mask = np.zeros((model.config.decoder_layers, model.config.decoder_attention_heads), dtype=bool)
    for layer, head in alignment_heads(model):
        mask[layer, head] = True
    return base64.b85encode(gzip.compress(mask.tobytes(), mtime=0)).decode("ascii")


OPENAI = ExportFormat(
    precisions=("float16", "float32"),
    packages=(),
    find_problems=find_checkpoint_problems,
    write=write_checkpoint,
)

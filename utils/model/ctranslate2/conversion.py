"""Convert faster-whisper folders (CTranslate2) to Hugging Face folders that can be trained.

A faster-whisper folder holds `model.bin` (CTranslate2's binary form, version 6), `config.json` (alignment
heads and suppressed tokens, no dimensions) and `tokenizer.json`. All dimensions of the model are read from
the shapes of the weights. Floats of 16 and 32 bits are converted without loss. Integers of 8 and 16 bits are
divided by the scales that are stored with them. The result is float32, like OpenAI's own checkpoints, because
training needs this precision."""

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.model.ctranslate2.model_bin import ModelBin
from utils.model.ctranslate2.settings import (
    build_config,
    build_generation_config,
    load_tokenizer,
    read_settings,
)
from utils.runtime.files import folder_written_whole

if TYPE_CHECKING:
    import torch
    from transformers import WhisperConfig

# replacements that turn a Hugging Face name into CTranslate2's, in this order
RENAMES = (
    (r"^model\.", ""),
    (r"layers\.", "layer_"),
    ("self_attn_layer_norm", "self_attention.layer_norm"),
    ("encoder_attn_layer_norm", "attention.layer_norm"),
    ("final_layer_norm", "ffn.layer_norm"),
    (r"self_attn\.[qkv]_proj", "self_attention.linear_0"),
    (r"self_attn\.out_proj", "self_attention.linear_1"),
    (r"encoder_attn\.q_proj", "attention.linear_0"),
    (r"encoder_attn\.[kv]_proj", "attention.linear_1"),
    (r"encoder_attn\.out_proj", "attention.linear_2"),
    (r"fc1", "ffn.linear_0"),
    (r"fc2", "ffn.linear_1"),
    (r"layer_norm\.weight", "layer_norm.gamma"),
    (r"layer_norm\.bias", "layer_norm.beta"),
    ("embed_tokens", "embeddings"),
    (r"embed_positions\.weight", "position_encodings.encodings"),
    (r"\.", "/"),
)

# matrices that CTranslate2 stacks by rows: place in the stack, number of matrices
STACKS = {
    **{f"self_attn.{part}_proj": (place, 3) for place, part in enumerate("qkv")},
    **{f"encoder_attn.{part}_proj": (place, 2) for place, part in enumerate("kv")},
}


def is_ctranslate2_folder(path: str | Path) -> bool:
    """Check whether `path` is a faster-whisper folder: `model.bin` and no Hugging Face weights."""
    folder = Path(path)
    return (folder / "model.bin").is_file() and not (folder / "model.safetensors").exists()


def convert_to_hugging_face(folder: str | Path, output_dir: str | Path) -> None:
    """Write the faster-whisper model in `folder` to `output_dir` as a Hugging Face folder.

    Raises:
        UserError: A file is missing, truncated or of another kind, or the files do not belong to the same
            model.
    """
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    from utils.model.saving import save_processor

    folder = Path(folder)
    settings = read_settings(folder)
    weights = ModelBin(folder / "model.bin")
    tokenizer = load_tokenizer(folder, vocab_size=weights.shape("decoder/embeddings/weight")[0])
    config = build_config(weights, tokenizer)
    tensors = read_tensors(weights, config)
    generation_config = build_generation_config(config, tokenizer, settings)
    config.begin_suppress_tokens = generation_config.begin_suppress_tokens
    feature_extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    with folder_written_whole(Path(output_dir)) as temporary:
        config.save_pretrained(temporary)
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        save_processor(WhisperProcessor(feature_extractor, tokenizer), temporary)
        generation_config.save_pretrained(temporary)


def read_tensors(weights: ModelBin, config: "WhisperConfig") -> "dict[str, torch.Tensor]":
    """Read every tensor of the transformers model with this configuration, in float32.

    Raises:
        UserError: A tensor is missing or has another shape, or the output projection differs from the token
            embeddings.
    """
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.device("meta"):
        expected = WhisperForConditionalGeneration(config).state_dict()
    del expected["proj_out.weight"]
    read = lru_cache(maxsize=4)(weights.read)  # members of a stack are read one after the other
    _check_tied(weights)
    tensors = {}
    for name, tensor in expected.items():
        source, (place, count) = name, next((STACKS[part] for part in STACKS if part in name), (0, 1))
        for pattern, replacement in RENAMES:
            source = re.sub(pattern, replacement, source)
        stack, rows = read(source), len(tensor)
        if stack.shape != (count * rows, *tensor.shape[1:]):
            raise weights.error(
                f"has {source} of shape {list(stack.shape)}, which does not fit a Whisper model of width "
                f"{config.d_model}: expected {count} × {list(tensor.shape)}"
            )
        # copied: safetensors cannot store two views of the same memory
        tensors[name] = torch.from_numpy(stack[place * rows : (place + 1) * rows].copy())
    return tensors


def _check_tied(weights: ModelBin) -> None:
    """Check that the output projection is equal to the token embeddings, because Whisper stores only one
    tensor for both.
    """
    projection, embeddings = "decoder/projection/weight", "decoder/embeddings/weight"
    if projection in weights and not np.array_equal(weights.read(projection), weights.read(embeddings)):
        raise weights.error(f"has a {projection} of its own, expected the embeddings under another name")

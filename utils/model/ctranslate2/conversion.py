"""Faster-whisper folders (CTranslate2) turned back into Hugging Face folders that can be trained.

A faster-whisper folder holds `model.bin` (CTranslate2's binary form, version 6), `config.json` (alignment
heads and suppressed tokens, no dimensions) and `tokenizer.json`. Every dimension is read from the weights.
Floats of 16 and 32 bits come through without loss; integers of 8 and 16 bits are divided by the scales stored
beside them. The result is float32, as OpenAI's own checkpoints, because training needs the bits.
"""

from pathlib import Path

from utils.model.ctranslate2.model_bin import ModelBin
from utils.model.ctranslate2.settings import (
    build_config,
    build_generation_config,
    load_tokenizer,
    read_settings,
)
from utils.model.ctranslate2.weights import read_tensors
from utils.runtime.files import folder_written_whole


def is_ctranslate2_folder(path: str | Path) -> bool:
    """Whether `path` is a folder in faster-whisper form: a `model.bin` and no Hugging Face weights."""
    folder = Path(path)
    return (folder / "model.bin").is_file() and not (folder / "model.safetensors").exists()


def convert_to_hugging_face(folder: str | Path, output_dir: str | Path) -> None:
    """Write the faster-whisper model in `folder` to `output_dir` as a Hugging Face folder, whole or not.

    Raises:
        UserError: A file is missing, truncated or of another kind, or the parts do not fit together.
    """
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    folder = Path(folder)
    settings = read_settings(folder)
    with ModelBin(folder / "model.bin") as weights:
        tokenizer = load_tokenizer(folder, vocab_size=weights.shape("decoder/embeddings/weight")[0])
        config = build_config(weights, tokenizer)
        tensors = read_tensors(weights, config)
    generation_config = build_generation_config(config, tokenizer, settings)
    config.begin_suppress_tokens = generation_config.begin_suppress_tokens
    feature_extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    with folder_written_whole(Path(output_dir)) as temporary:
        config.save_pretrained(temporary)
        save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        WhisperProcessor(feature_extractor, tokenizer).save_pretrained(temporary)
        # the processor alone no longer writes preprocessor_config.json, which faster-whisper and others read
        feature_extractor.save_pretrained(temporary)
        generation_config.save_pretrained(temporary)

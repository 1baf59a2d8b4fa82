"""A small random Whisper with all tokens of the real one, for runtimes that expect them by their number."""

import copy
import json
from functools import cache
from pathlib import Path


def build_source(*, cantonese: bool = False, **shape: int):
    """A random model to export, of width 64, with the tokens of Whisper base, or with those of large-v3."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    from utils.delivery.exports.export_format import ExportSource
    from utils.model.loading import LoadedModel

    folder, tokenizer = load_tokenizer(cantonese)
    config, generation = WhisperConfig.from_pretrained(folder), GenerationConfig.from_pretrained(folder)
    generation.alignment_heads = None  # those of base lie in layers that this one lacks
    if cantonese:
        generation.lang_to_id |= {"<|yue|>": 50358}
        generation.no_timestamps_token_id += 1
    small = {"d_model": 64, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "decoder_layers": 4}
    small |= dict.fromkeys(("encoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    config.update(small | {"vocab_size": len(tokenizer)} | shape)
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    model.generation_config = generation
    processor = WhisperProcessor(
        WhisperFeatureExtractor(feature_size=config.num_mel_bins), copy.deepcopy(tokenizer)
    )
    return ExportSource("random", folder, LoadedModel(model, processor, False, None, 0))


@cache
def load_tokenizer(cantonese: bool):
    """Whisper base's folder and its tokenizer, which takes longer to load than the rest to build."""
    from tokenizers import Tokenizer
    from transformers import WhisperTokenizer

    from utils.model.resolving import resolve_model

    folder = Path(resolve_model("openai/whisper-base"))
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    if cantonese:
        content = with_cantonese(json.loads(tokenizer.backend_tokenizer.to_str()))
        tokenizer = WhisperTokenizer(tokenizer_object=Tokenizer.from_str(json.dumps(content)))
    return folder, tokenizer


def with_cantonese(content: dict) -> dict:
    """The content of a tokenizer.json with `<|yue|>` behind the other languages, as large-v3 has it."""
    added = content["added_tokens"]
    place = next(index for index, token in enumerate(added) if token["content"] == "<|translate|>")
    for token in added[place:]:
        token["id"] += 1
    added.insert(place, added[place - 1] | {"content": "<|yue|>", "id": added[place]["id"] - 1})
    return content

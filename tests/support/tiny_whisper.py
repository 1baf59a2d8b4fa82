"""A random Whisper of a few layers, with all that a model folder has."""

import json
from pathlib import Path


def build_tokenizer():
    """Whisper's special tokens over an alphabet of 256 bytes, without merges."""
    from tokenizers import pre_tokenizers
    from transformers import WhisperTokenizerFast
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|startoftranscript|>"]
    names += [f"<|{code}|>" for code in LANGUAGES]
    specials = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    names += [f"<|{name}|>" for name in specials]
    names += [f"<|{0.02 * step:.2f}|>" for step in range(1501)]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = WhisperTokenizerFast(vocab=vocabulary, merges=[], pad_token="<|endoftext|>")
    tokenizer.add_tokens(names[256:], special_tokens=True)
    return tokenizer


def build_tiny_whisper(folder: Path) -> Path:
    """Save a random Whisper of two layers and width 64 with processor and generation config."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    tokenizer = build_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    special = {
        "decoder_start_token_id": ids("<|startoftranscript|>"),
        "eos_token_id": ids("<|endoftext|>"),
        "pad_token_id": ids("<|endoftext|>"),
        "bos_token_id": ids("<|endoftext|>"),
    }
    shape = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads"), 2)
    shape |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 128) | {
        "decoder_attention_heads": 2,
        "d_model": 64,
    }
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=len(tokenizer), **shape, **special))
    config = model.generation_config
    config.update(**special)
    config.lang_to_id = {f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES}
    config.task_to_id = {task: ids(f"<|{task}|>") for task in ("transcribe", "translate")}
    config.no_timestamps_token_id = ids("<|notimestamps|>")
    config.is_multilingual, config.max_length = True, 448
    config.suppress_tokens, config.begin_suppress_tokens = [1, 2], [tokenizer.eos_token_id]
    config._from_model_config = False
    model.save_pretrained(folder)
    config.save_pretrained(folder)
    feature_extractor = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(feature_extractor, tokenizer).save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    return folder


def let_it_end_soon(folder: Path) -> Path:
    """Let a saved model take the end for the likeliest token, where a random one writes on to the limit."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.decoder.embed_tokens.weight"][build_tokenizer().eos_token_id] = 1.0
    weights["model.decoder.layer_norm.bias"] += 1.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def let_it_spell(folder: Path) -> Path:
    """Let a saved model write letters, by what it hears; a random one writes no text at all.

    Its cross-attention is made a thousand times as strong, in the product of two of its matrices.
    """
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "encoder_attn." in name and name.endswith("weight"):
            weight *= 1000**0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "generation_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = build_tokenizer()
    spelt = {*tokenizer.convert_tokens_to_ids([*"abcdefghilmnopqrstuvz", "Ġ"]), tokenizer.eos_token_id}
    config["suppress_tokens"] = sorted(set(range(len(tokenizer))) - spelt)
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def small_whisper(**options):
    """One of a single layer and width 8, with 60 tokens."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    shape = dict.fromkeys(("encoder_layers", "decoder_layers"), 1) | {"d_model": 8, "vocab_size": 60}
    shape |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    return WhisperForConditionalGeneration(WhisperConfig(**shape, **ids, **options))

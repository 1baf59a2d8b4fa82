"""Whisper as OpenAI's own code has it: names of tensors, dimensions, and the order of tokens.

openai/whisper, whisper.cpp and what is built on them share this form. The names are those of transformers'
`convert_openai_to_hf.py`, in the other direction.
"""

import re

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from utils.model.languages import added_languages, language_ids
from utils.model.saving import TIED

# replacements that turn a transformers name into OpenAI's, in this order
OPENAI_NAMES = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm", ".attn_ln"),
    (r"\.encoder_attn_layer_norm", ".cross_attn_ln"),
    (r"\.final_layer_norm", ".mlp_ln"),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj", ".query"),
    (r"\.k_proj", ".key"),
    (r"\.v_proj", ".value"),
    (r"\.out_proj", ".out"),
    (r"\.fc1", ".mlp.0"),
    (r"\.fc2", ".mlp.2"),
    (r"^encoder\.layer_norm", "encoder.ln_post"),
    (r"^decoder\.layer_norm", "decoder.ln"),
    (r"\.embed_tokens", ".token_embedding"),
    (r"\.embed_positions\.weight", ".positional_embedding"),
)

# Number of tokens of English-only models, of multilingual ones, and of those with Cantonese (large-v3)
ENGLISH, MULTILINGUAL, WITH_CANTONESE = 51864, 51865, 51866

ELSEWHERE = "Export it with the format huggingface or ctranslate2."

BORROWED_CODE = "yue"  # Cantonese is the last language, and only models of 51,866 tokens have it


def openai_name(name: str) -> str:
    """Return OpenAI's name of a tensor that transformers calls `name`."""
    for pattern, replacement in OPENAI_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def openai_tensors(model: WhisperForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Return the tensors under OpenAI's names. The rows of the tokens are in OpenAI's order."""
    tensors = {openai_name(name): value for name, value in model.state_dict().items() if name not in TIED}
    order = openai_token_order(model)
    embedding = tensors["decoder.token_embedding.weight"]
    return tensors | {"decoder.token_embedding.weight": embedding if order is None else embedding[order]}


def openai_dimensions(config: WhisperConfig) -> dict[str, int]:
    """Return the fields of OpenAI's `ModelDimensions`."""
    return {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }


def find_openai_form_problems(model: WhisperForConditionalGeneration) -> list[str]:
    """Return what OpenAI's form cannot hold, each with what to do; empty if it can hold the model."""
    config, added = model.config, added_languages(model)
    shape = {
        "encoder_ffn_dim": (config.encoder_ffn_dim, {4 * config.d_model}),
        "decoder_ffn_dim": (config.decoder_ffn_dim, {4 * config.d_model}),
        "num_mel_bins": (config.num_mel_bins, {80, 128}),
        "max_source_positions": (config.max_source_positions, {1500}),
    }
    if not added:
        shape["vocab_size"] = (config.vocab_size, {ENGLISH, MULTILINGUAL, WITH_CANTONESE})
    found = [
        f"config.json: {name} is {value}, expected {' or '.join(map(str, sorted(expected)))}. {ELSEWHERE}"
        for name, (value, expected) in shape.items()
        if value not in expected
    ]
    if added and (len(added) > 1 or config.vocab_size != WITH_CANTONESE):
        found.append(
            f"{len(added)} languages were added to Whisper ({', '.join(added)}). Only one fits, in "
            f"models that had {MULTILINGUAL:,} tokens before: all but large-v3 and turbo. {ELSEWHERE}"
        )
    return found


def openai_token_order(model: WhisperForConditionalGeneration) -> list[int] | None:
    """Return this model's token id for each of OpenAI's; None if they are the same.

    OpenAI's code computes the ids of special tokens from their number. With one token more than usual, the
    last language is Cantonese, and the ids of all later tokens rise by one. So the token of an added
    language, which `add_language` puts at the end, gets the id of Cantonese.

    Raises:
        ValueError: More than one language was added; see `find_openai_form_problems`.
    """
    added = list(added_languages(model).values())
    if not added:
        return None
    (token_id,) = added
    place = sorted(language_ids(model).values())[-2] + 1
    others = [number for number in range(model.config.vocab_size) if number != token_id]
    return [*others[:place], token_id, *others[place:]]

"""What several export formats must check in a model before they write it."""

import torch
from transformers import WhisperForConditionalGeneration, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from utils.model.alignment_heads import alignment_heads, find_strange_heads
from utils.model.openai_form import ELSEWHERE, ENGLISH, WITH_CANTONESE, openai_token_order
from utils.text.label_tokens import LAST_TIMESTAMP, TIMESTAMP_STEP


def find_head_problems(model: WhisperForConditionalGeneration) -> list[str]:
    """Check the heads for the times of words: runtimes crash on a wrong layer, and find no words by a wrong
    head.
    """
    strange = find_strange_heads(model.config, alignment_heads(model))
    if not strange:
        return []
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    return [
        f"generation_config.json: alignment_heads has {strange[0]}, but the decoder has {layers} layers of "
        f"{heads} heads. Copy the list of the model that this one was made from, or remove it."
    ]


def find_half_problems(model: WhisperForConditionalGeneration) -> list[str]:
    """Check that every weight fits into float16."""
    limit = torch.finfo(torch.float16).max
    for name, weight in model.named_parameters():
        largest = float(weight.detach().abs().max())
        if not largest <= limit:
            return [
                f"{name} has a weight of {largest:.3g}, and float16 ends at {limit:.0f}. Export in another "
                "precision."
            ]
    return []


def find_token_problems(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer) -> list[str]:
    """Check that special tokens have the ids that openai/whisper and whisper.cpp compute from the size of the
    vocabulary, after `whisper/tokenizer.py`.
    """
    size = model.config.vocab_size
    codes = list(LANGUAGES)[: 100 if size == WITH_CANTONESE else 99]
    names = ["endoftext", "startoftranscript", *codes, "translate", "transcribe", "startoflm", "startofprev"]
    names += ["nospeech", "notimestamps"]
    names += [f"{step * TIMESTAMP_STEP:.2f}" for step in range(round(LAST_TIMESTAMP / TIMESTAMP_STEP) + 1)]
    order, ids = openai_token_order(model) or range(size), tokenizer.get_vocab()
    for number, name in enumerate(names, 50256 if size == ENGLISH else 50257):
        token, found = f"<|{name}|>", ids.get(f"<|{name}|>")
        if found not in (None, order[number]):  # old and English-only tokenizers have other names for some
            return [f"tokenizer.json: {token} is number {found}, expected {order[number]}. {ELSEWHERE}"]
    return []

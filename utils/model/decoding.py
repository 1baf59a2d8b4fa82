"""A batch of clips to text, each clip encoded under its own audio context."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.audio.flac import decode_flac
from utils.model.encoder import condensed_silence, encode_clips
from utils.model.generation import EncodedClips, decode_greedily, detect_languages
from utils.model.kernels.attention import attending_by_products, mask_cross_attention
from utils.model.kernels.onednn import packed
from utils.model.languages import language_ids
from utils.model.silence import encoder_positions
from utils.model.whisper import eval_mode, whisper_of
from utils.text.label_tokens import prompt_tokens


@contextlib.contextmanager
def ready_to_decode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and the fastest layers for decoding; the weights must not change in the block."""
    with eval_mode(model), packed(model), attending_by_products(whisper_of(model)):
        yield


@torch.inference_mode()
def transcribe_batch(
    model: torch.nn.Module,
    processor: WhisperProcessor,
    clips: Sequence[bytes],
    languages: Sequence[str | None],
    contexts: Sequence[float],
    *,
    max_length: int,
    task: str = "transcribe",
    silence_run: int = 0,
) -> list[str]:
    """Transcribe clips together, each encoded under its own audio context.

    The decoder, which has to read all its weights for every token, takes all clips at once; the encoder those
    of one context.

    Args:
        model: Whisper, or a PEFT model around it, in evaluation mode, best `ready_to_decode`.
        clips: FLAC bytes of at most 30 s, 16 kHz mono.
        languages: Language code of each clip; None lets the model detect it.
        contexts: Seconds that each is padded to.
        max_length: Most tokens of a hypothesis, the prompt included.
        task: transcribe, or translate into English.
        silence_run: Of a dynamic context, see `utils.model.encoder.encode`.
    """
    whisper = whisper_of(model)
    encoded = encode_in_contexts(
        whisper, processor, [decode_flac(clip) for clip in clips], contexts, silence_run
    )
    hooks = mask_cross_attention(whisper, lambda _: encoded.mask)
    try:
        prompts = _build_prompts(whisper, processor, encoded.states, languages, task)
        tokens = decode_greedily(whisper, encoded, prompts, max_length)
    finally:
        for hook in hooks:
            hook.remove()
    return [text.strip() for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def encode_in_contexts(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    clips: Sequence[np.ndarray],
    contexts: Sequence[float],
    silence_run: int,
) -> EncodedClips:
    """Encode clips, (samples,) float32 at 16 kHz each, those of one context together."""
    states: dict[int, torch.Tensor] = {}
    masks: dict[int, torch.Tensor] = {}
    for context in dict.fromkeys(contexts):
        rows = [row for row, own in enumerate(contexts) if own == context]
        own_clips = [clips[row] for row in rows]
        encoded = encode_clips(model, processor.feature_extractor, own_clips, context, silence_run)
        silence = condensed_silence(model, encoder_positions(context), silence_run)
        bias = None if silence is None else silence.key_bias(encoded)
        mask = encoded.new_zeros(encoded.shape[1]) if bias is None else bias[0, 0, 0]
        states |= dict(zip(rows, encoded, strict=True))
        masks |= dict.fromkeys(rows, mask)
    joined, mask = (
        torch.nn.utils.rnn.pad_sequence(
            [of[row] for row in range(len(clips))], batch_first=True, padding_value=value
        )
        for of, value in ((states, 0.0), (masks, -torch.inf))
    )
    return EncodedClips(joined, mask[:, None, None] if mask.any() else None)


def _build_prompts(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    states: torch.Tensor,
    languages: Sequence[str | None],
    task: str,
) -> torch.Tensor:
    """(B, P) prompt tokens; the language of a clip without one is detected. English-only models take none."""
    if not language_ids(model):
        languages = [None] * len(languages)
    elif None in languages:
        detected = detect_languages(model, states)
        languages = [given or found for given, (found, _) in zip(languages, detected, strict=True)]
    prompts = [prompt_tokens(processor.tokenizer, language, task=task) for language in languages]
    return torch.tensor(prompts, device=states.device)

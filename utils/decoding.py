"""Greedy decoding of many clips: sorted by length, in batches, on the full or a dynamic audio context.

Gives the tokens of `model.generate(do_sample=False, num_beams=1)`, whose encoder takes 30 s and nothing else,
but that a hypothesis which has begun to loop is cut short.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, EncoderDecoderCache, WhisperForConditionalGeneration, WhisperProcessor

from utils.attention import attending_by_products, mask_cross_attention
from utils.audio import decode_flac
from utils.batching import DECODING_GRID, FULL_CONTEXT, dynamic_context
from utils.features import log_mel, pad_waveforms
from utils.labels import prompt_tokens
from utils.loops import loop_period
from utils.modeling import condensed_silence, encode, eval_mode, language_ids, whisper_of
from utils.onednn import packed

LOOKS_FOR_LOOPS_EVERY = 16  # positions; the same for every batch, so that neighbours do not matter


@dataclass(frozen=True)
class SuppressedTokens:
    """Token ids that are never chosen: always, and as the first token of the text."""

    always: torch.Tensor
    at_begin: torch.Tensor


@dataclass(frozen=True)
class DecodingBatch:
    """Clips that are decoded together."""

    indices: tuple[int, ...]
    contexts: tuple[float, ...]  # seconds of each clip


@dataclass
class EncodedClips:
    """What the decoder attends to; clips of a shorter context than others are padded behind it.

    `mask` is added to the scores of attention, (B, 1, 1, positions): -inf at padding, and the weight of what
    stands for more silence; None where it would be 0.
    """

    states: torch.Tensor  # (B, positions, d_model)
    mask: torch.Tensor | None = None

    def keep(self, rows: torch.Tensor) -> None:
        """Let the other rows go."""
        self.states = self.states[rows]
        self.mask = None if self.mask is None else self.mask[rows]


def transcribe(
    model: torch.nn.Module,
    processor: WhisperProcessor,
    clips: Sequence[bytes],
    durations: Sequence[float],
    languages: Sequence[str | None],
    *,
    audio_context: str,
    batch_size: int,
    max_length: int,
    task: str = "transcribe",
    silence_run: int = 0,
    on_batch: Callable[[int, float], None] = lambda clips, seconds: None,
) -> list[str]:
    """Transcribe FLAC clips of at most 30 s.

    Args:
        model: Whisper, or a PEFT model around it, on any device.
        clips: FLAC bytes, 16 kHz mono; anything indexable by a list of ints is read batch by batch.
        durations: Seconds of each clip.
        languages: Language code of each clip; None lets the model detect it.
        audio_context: "full", or "dynamic": each clip's own duration rounded up to a fixed grid.
        batch_size: Clips decoded at once.
        max_length: Most tokens of a hypothesis, the prompt included.
        task: transcribe, or translate into English.
        silence_run: Of a dynamic context, see `utils.modeling.encode`.
        on_batch: Called after each batch with its clips and audio seconds.

    Returns:
        The text of each clip, in the order of `clips`.
    """
    texts = [""] * len(durations)
    with ready_to_decode(model):
        for batch in plan_decoding(durations, audio_context, batch_size):
            found = transcribe_batch(
                model,
                processor,
                [clips[index] for index in batch.indices],
                [languages[index] for index in batch.indices],
                contexts=batch.contexts,
                max_length=max_length,
                task=task,
                silence_run=silence_run,
            )
            for index, text in zip(batch.indices, found, strict=True):
                texts[index] = text
            on_batch(len(batch.indices), sum(durations[index] for index in batch.indices))
    return texts


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
    *,
    contexts: Sequence[float],
    max_length: int,
    task: str = "transcribe",
    silence_run: int = 0,
) -> list[str]:
    """Transcribe clips together, each encoded under its own audio context; `transcribe` explains the rest.

    The model is in evaluation mode, best `ready_to_decode`. The decoder, which has to read all its weights
    for every token, takes all clips at once; the encoder those of one context.
    """
    whisper = whisper_of(model)
    encoded = encode_clips(whisper, processor, [decode_flac(clip) for clip in clips], contexts, silence_run)
    hooks = mask_cross_attention(whisper, lambda _: encoded.mask)
    try:
        prompts = _build_prompts(whisper, processor, encoded.states, languages, task)
        tokens = decode_greedily(whisper, encoded, prompts, max_length)
    finally:
        for hook in hooks:
            hook.remove()
    return [text.strip() for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def encode_clips(
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
        waveforms = pad_waveforms([clips[row] for row in rows], context)
        features = log_mel(waveforms.to(model.device), processor.feature_extractor)
        encoded = encode(model, features, silence_run)
        silence = condensed_silence(model, features.shape[2] // 2, silence_run)
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


def plan_decoding(durations: Sequence[float], audio_context: str, batch_size: int) -> Iterator[DecodingBatch]:
    """Batches of clips of like length; no neighbour decides the context of a clip."""
    contexts = [
        FULL_CONTEXT if audio_context == "full" else dynamic_context(duration, DECODING_GRID)
        for duration in durations
    ]
    order = sorted(range(len(durations)), key=lambda index: (contexts[index], durations[index], index))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        yield DecodingBatch(tuple(batch), tuple(contexts[index] for index in batch))


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
        languages = [given or found for given, found in zip(languages, detected, strict=True)]
    prompts = [prompt_tokens(processor.tokenizer, language, task=task) for language in languages]
    return torch.tensor(prompts, device=states.device)


def detect_languages(model: WhisperForConditionalGeneration, states: torch.Tensor) -> list[str]:
    """The likeliest language token after the start token, for each clip of states (B, frames, d_model)."""
    codes = {token_id: code for code, token_id in language_ids(model).items()}
    ids = torch.tensor(list(codes), device=states.device)
    start = torch.full((states.shape[0], 1), model.config.decoder_start_token_id, device=states.device)
    decoded = model.model.decoder(input_ids=start, encoder_hidden_states=states, use_cache=False)
    logits = model.proj_out(decoded.last_hidden_state[:, -1])  # (B, vocabulary)
    return [codes[token_id] for token_id in ids[logits[:, ids].argmax(dim=-1)].tolist()]


def decode_greedily(
    model: WhisperForConditionalGeneration, encoded: EncodedClips, prompts: torch.Tensor, max_length: int
) -> list[list[int]]:
    """Take the likeliest token until the end, a loop or `max_length` tokens; finished clips leave the batch.

    Args:
        encoded: Of B clips; those that are finished are taken out.
        prompts: (B, P) int64.
        max_length: Most tokens of a hypothesis, prompt included; the decoder's positions limit it too.

    Returns:
        Per clip the tokens after the prompt, without the end token; a loop is left as it stood when noticed.
    """
    end = model.generation_config.eos_token_id
    device = encoded.states.device
    suppressed = _suppressed_tokens(model, device)
    results: list[list[int]] = [[] for _ in range(len(prompts))]
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    active = torch.arange(len(prompts), device=device)
    inputs = prompts
    for position in range(prompts.shape[1], min(max_length, model.config.max_target_positions)):
        is_first = position == prompts.shape[1]
        tokens = _next_tokens(model, inputs, encoded.states, cache, suppressed, is_first)
        for row, token in zip(active.tolist(), tokens.tolist(), strict=True):
            if token != end:
                results[row].append(token)
        going_on = tokens != end
        if position % LOOKS_FOR_LOOPS_EVERY == 0:
            looping = [loop_period(results[row]) is not None for row in active.tolist()]
            going_on &= ~torch.tensor(looping, device=device)
        if not going_on.any():
            break
        if not going_on.all():
            kept = going_on.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            encoded.keep(kept)
            active, tokens = active[kept], tokens[kept]
        inputs = tokens.unsqueeze(1)
    return results


def _suppressed_tokens(model: WhisperForConditionalGeneration, device: torch.device) -> SuppressedTokens:
    config = model.generation_config
    always, at_begin = config.suppress_tokens or [], config.begin_suppress_tokens or []
    return SuppressedTokens(
        torch.tensor(always, dtype=torch.long, device=device),
        torch.tensor([*always, *at_begin], dtype=torch.long, device=device),
    )


def _next_tokens(
    model: WhisperForConditionalGeneration,
    inputs: torch.Tensor,
    states: torch.Tensor,
    cache: EncoderDecoderCache,
    suppressed: SuppressedTokens,
    is_first: bool,
) -> torch.Tensor:
    """(B,) the likeliest allowed token after `inputs` (B, T), whose keys and values join the cache."""
    decoded = model.model.decoder(
        input_ids=inputs, encoder_hidden_states=states, past_key_values=cache, use_cache=True
    )
    logits = model.proj_out(decoded.last_hidden_state[:, -1]).float()  # (B, vocabulary)
    logits[:, suppressed.at_begin if is_first else suppressed.always] = -torch.inf
    return logits.argmax(dim=-1)

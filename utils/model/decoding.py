"""Decode clips greedily, each encoded in its own audio context.

The tokens are the same as those of `model.generate(do_sample=False, num_beams=1)`, which encodes only 30 s.
There is one difference: a hypothesis that loops is stopped.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, EncoderDecoderCache, WhisperForConditionalGeneration, WhisperProcessor

from utils.model.encoded_clips import EncodedClips, attending_to, encode_in_contexts
from utils.model.kernels.attention import attending_by_products
from utils.model.kernels.onednn import packed
from utils.model.languages import language_ids
from utils.model.loss import TargetLoss
from utils.model.teacher_forcing import reference_losses
from utils.model.whisper import eval_mode, whisper_of
from utils.text.label_tokens import prompt_tokens
from utils.text.loops import loop_period

LOOKS_FOR_LOOPS_EVERY = 16  # positions; the same in every batch, so that other clips have no influence


@dataclass(frozen=True)
class DecodedClips:
    """The texts that a model wrote for the clips of one batch."""

    texts: list[str]
    languages: list[str | None]  # given or detected; None for an English-only model
    encoded: EncodedClips | None  # None if the decoder keeps its encoder's output to itself
    losses: Sequence[TargetLoss] = ()  # of the references, if they were given


def detect_languages(
    model: WhisperForConditionalGeneration, states: torch.Tensor
) -> list[tuple[str | None, float]]:
    """Return the most probable language of each clip, and its probability among all languages.

    Args:
        model: A multilingual model. For an English-only model, the result is None and 0.
        states: The encoder's output, (B, positions, d_model).
    """
    languages = language_ids(model)
    if not languages:
        return [(None, 0.0)] * len(states)
    codes, ids = list(languages), torch.tensor(list(languages.values()), device=states.device)
    start = torch.full((len(states), 1), model.config.decoder_start_token_id, device=states.device)
    decoded = model.model.decoder(input_ids=start, encoder_hidden_states=states, use_cache=False)
    logits = model.proj_out(decoded.last_hidden_state[:, -1])[:, ids].float()  # (B, languages)
    index = logits.argmax(dim=-1, keepdim=True)
    shares = logits.softmax(dim=-1).gather(1, index)
    return [(codes[i], share) for i, share in zip(index[:, 0].tolist(), shares[:, 0].tolist(), strict=True)]


def decode_greedily(
    model: WhisperForConditionalGeneration,
    encoded: EncodedClips,
    prompts: torch.Tensor,
    max_length: int,
    temperature: float = 0.0,
) -> list[list[int]]:
    """Decode until the end token, a loop or `max_length` tokens. Finished clips are removed from the batch.

    Args:
        encoded: B clips. Finished clips are removed from it.
        prompts: (B, P) int64.
        max_length: At most this number of tokens, prompt included; also limited by the decoder's positions.
        temperature: Above 0, tokens are drawn at random, for each clip by torch's seed.

    Returns:
        The tokens of each clip after the prompt, without the end token. They end where a loop was found.
    """
    end = model.generation_config.eos_token_id
    device = encoded.states.device
    first, later = _never_chosen(model, device)
    results: list[list[int]] = [[] for _ in range(len(prompts))]
    draws = [torch.Generator(device).manual_seed(torch.initial_seed()) for _ in results]
    cache = EncoderDecoderCache(DynamicCache(), encoded.cross_cache)
    active = torch.arange(len(prompts), device=device)
    inputs = prompts
    for position in range(prompts.shape[1], min(max_length, model.config.max_target_positions)):
        decoded = model.model.decoder(
            input_ids=inputs, encoder_hidden_states=encoded.states, past_key_values=cache, use_cache=True
        )
        logits = model.proj_out(decoded.last_hidden_state[:, -1]).float()  # (B, vocabulary)
        logits[:, first if position == prompts.shape[1] else later] = -torch.inf
        tokens = _choose(logits, temperature, [draws[row] for row in active.tolist()])
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
            left = encoded.rows(kept)
            encoded.states, encoded.mask = left.states, left.mask
            active, tokens = active[kept], tokens[kept]
        inputs = tokens.unsqueeze(1)
    return results


def _choose(logits: torch.Tensor, temperature: float, draws: Sequence[torch.Generator]) -> torch.Tensor:
    """Return (B,) the most likely token of each row of (B, vocabulary), or one drawn at random."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    chances = (logits / temperature).softmax(dim=-1)
    drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(chances, draws, strict=True)]
    return torch.cat(drawn)


def _never_chosen(
    model: WhisperForConditionalGeneration, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two lists of token ids: those never chosen as the first token of the text, and those never
    chosen anywhere.
    """
    config = model.generation_config
    always, at_begin = config.suppress_tokens or [], config.begin_suppress_tokens or []
    ids = ([*always, *at_begin], always)
    first, later = (torch.tensor(tokens, dtype=torch.long, device=device) for tokens in ids)
    return first, later


@contextlib.contextmanager
def ready_to_decode(model: torch.nn.Module) -> Iterator[None]:
    """Set evaluation mode and the fastest layers for decoding. The weights must not change in the block."""
    with eval_mode(model), packed(model), attending_by_products(whisper_of(model)):
        yield


@torch.inference_mode()
def decode_clips(
    model: torch.nn.Module,
    processor: WhisperProcessor,
    clips: Sequence[np.ndarray],
    languages: Sequence[str | None],
    contexts: Sequence[float],
    *,
    max_length: int,
    task: str = "transcribe",
    silence_run: int = 0,
    previous: Sequence[int] = (),
    temperature: float = 0.0,
    references: Sequence[str] | None = None,
) -> DecodedClips:
    """Transcribe clips together, each encoded in its own audio context.

    The decoder runs on all clips at once, because it must read all its weights for every token. The encoder
    runs on all clips with the same context at once.

    Args:
        model: Whisper, or a PEFT model around it, in evaluation mode. It is faster inside `ready_to_decode`.
        clips: (samples,) float32 each, 16 kHz, at most 30 s.
        languages: Language code of each clip. If None, the model detects it. English-only models ignore it.
        contexts: Context of each clip in seconds.
        max_length: Largest number of tokens of a hypothesis, with the prompt.
        task: `transcribe`, or `translate` (into English).
        silence_run: For a dynamic context, see `utils.model.encoder.encode`.
        previous: Tokens of the text before each clip. They are its prompt.
        temperature: See `decode_greedily`.
        references: Text of each clip, if its loss is wanted.
    """
    whisper = whisper_of(model)
    encoded = encode_in_contexts(whisper, processor, clips, contexts, silence_run)
    being_decoded = EncodedClips(encoded.states, encoded.mask)  # finished clips leave this one
    with attending_to(whisper, being_decoded):
        spoken = _spoken_languages(whisper, encoded.states, languages)
        prompts = [
            prompt_tokens(processor.tokenizer, language, task=task, previous=previous) for language in spoken
        ]
        prompt_ids = torch.tensor(prompts, device=encoded.states.device)
        losses: Sequence[TargetLoss] = ()
        if references is not None:
            labels = references, spoken, task
            losses = reference_losses(whisper, processor.tokenizer, being_decoded, *labels)
        tokens = decode_greedily(whisper, being_decoded, prompt_ids, max_length, temperature)
    texts = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return DecodedClips([text.strip() for text in texts], spoken, encoded, losses)


def _spoken_languages(
    model: WhisperForConditionalGeneration, states: torch.Tensor, languages: Sequence[str | None]
) -> list[str | None]:
    """Return the language of each clip.

    If it is not given, it is detected. None for an English-only model.
    """
    if not language_ids(model):
        return [None] * len(languages)
    if None not in languages:
        return list(languages)
    detected = detect_languages(model, states)
    return [given or found for given, (found, _) in zip(languages, detected, strict=True)]

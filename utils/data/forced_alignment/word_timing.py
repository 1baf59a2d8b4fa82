"""When each word of a known text is spoken: Whisper's cross-attention, and the best path through it.

The idea is openai/whisper's (`whisper/timing.py`, MIT): a few heads of the decoder look at the place in the
audio that the next token comes from, so dynamic time warping over their weights gives the times. Added here:
between two words the path may pass through silence, which is seen in the level of the audio, and words pay
for lying in it.
"""

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.data.forced_alignment.anchors import Unit
from utils.data.forced_alignment.token_path import (
    ATTENTION_WIDTH,
    FRAME_SECONDS,
    UNATTENDED,
    place_tokens,
    sharpen,
)

LITTLE_ATTENTION, ENOUGH_ATTENTION = 0.1, 0.3  # of what a frame of sound gets on average

FOCUS_SLACK = 10  # frames: attention this close to a word still counts as being on it


@dataclass(frozen=True)
class UnitTimes:
    """When the units of one text are spoken, seconds from the clip's start; all arrays are (units,).

    `probabilities` is the mean the model gives a unit's tokens when it is led through the text; `focus` is
    the share of attention that falls on the unit's own time.
    """

    starts: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray
    focus: np.ndarray


@dataclass(frozen=True)
class Led:
    """What the model gives for one clip when it is led through a text of N tokens.

    `probabilities` is (N,); `weights` (heads, N + 1, frames) is the attention before each token and the end.
    """

    probabilities: np.ndarray
    weights: torch.Tensor


def time_units(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    states: torch.Tensor,
    prompt: Sequence[int],
    texts: Sequence[str],
    units: Sequence[Sequence[Unit]],
    silences: Sequence[np.ndarray],
) -> list[UnitTimes]:
    """Time the units of each clip's text.

    Args:
        states: Encoder output (B, frames, d_model).
        prompt: Tokens in front of every text.
        texts: What is spoken in each clip, at most about 440 tokens.
        units: Units of each text, whose offsets count from the text's start.
        silences: Per clip (its frames,) bool, which frames of 20 ms are silence; ends where the audio ends.
    """
    # Whisper's own texts begin with a space
    encoded = processor.tokenizer(
        [" " + text for text in texts], add_special_tokens=False, return_offsets_mapping=True
    )
    frames = [len(silence) for silence in silences]
    led = lead_through(model, states, list(prompt), encoded["input_ids"], frames)
    times = []
    for row, clip in enumerate(led):
        # the character that a token completes, without the space in front
        completes = [max(end - 2, 0) for _, end in encoded["offset_mapping"][row]]
        first_tokens = [bisect.bisect_left(completes, unit.start) for unit in units[row]]
        times.append(_time_clip(clip, first_tokens, silences[row]))
    return times


def _time_clip(clip: Led, first_tokens: list[int], silent: np.ndarray) -> UnitTimes:
    """Place the units that begin at the given tokens; units that share a token share its time."""
    num_tokens = len(clip.probabilities)
    begins_unit = np.zeros(num_tokens + 1, dtype=bool)
    begins_unit[first_tokens] = True
    begins_unit[num_tokens] = True
    attended = attention_share(clip.weights, silent)
    scores = sharpen(clip.weights) * attended - UNATTENDED * (1 - attended)
    token_starts, token_ends = place_tokens(scores, begins_unit, silent)
    edges = [*first_tokens, num_tokens]
    starts, ends = np.zeros(len(first_tokens)), np.zeros(len(first_tokens))
    probabilities, focus = np.zeros(len(first_tokens)), np.zeros(len(first_tokens))
    weights = clip.weights.mean(dim=0).numpy()
    for index, first in enumerate(first_tokens):
        last = max(edges[index + 1], first + 1)
        sharing = [other for other in range(len(first_tokens)) if first_tokens[other] == first]
        start, end = token_starts[first], token_ends[last - 1]
        part = (end - start) / len(sharing)
        starts[index] = start + part * sharing.index(index)
        ends[index] = starts[index] + part
        probabilities[index] = clip.probabilities[first:last].mean()
        near = slice(max(int(start) - FOCUS_SLACK, 0), int(end) + FOCUS_SLACK)
        focus[index] = weights[first:last, near].sum() / (last - first)
    return UnitTimes(starts * FRAME_SECONDS, ends * FRAME_SECONDS, probabilities, focus)


def lead_through(
    model: WhisperForConditionalGeneration,
    states: torch.Tensor,
    prompt: list[int],
    tokens: Sequence[list[int]],
    num_frames: Sequence[int],
) -> list[Led]:
    """Give the decoder the true tokens, and read how likely it finds each and where it looks for it."""
    longest = max(len(row) for row in tokens)
    end = model.generation_config.eos_token_id
    inputs = torch.tensor([prompt + row + [end] * (longest - len(row)) for row in tokens])
    inputs = inputs.to(states.device)
    heads = _alignment_heads(model)
    with torch.inference_mode(), _seen_by_cross_attention(model, list(heads)) as seen:
        decoded = model.model.decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False)
        results = []
        for row, row_tokens in enumerate(tokens):
            # the position before a token predicts it
            positions = slice(len(prompt) - 1, len(prompt) + len(row_tokens))
            logits = model.proj_out(decoded.last_hidden_state[row, positions]).float()  # (N + 1, vocabulary)
            likely = logits[:-1].softmax(dim=-1)
            chosen = torch.tensor(row_tokens, device=likely.device).unsqueeze(1)
            queries = {layer: hidden[row, positions] for layer, hidden in seen.items()}
            weights = _attention(model, queries, states[row, : num_frames[row]], heads)
            results.append(Led(likely.gather(1, chosen).squeeze(1).cpu().numpy(), weights.cpu()))
    return results


def _alignment_heads(model: WhisperForConditionalGeneration) -> dict[int, list[int]]:
    """Heads that look where the next token is spoken, by layer; without a list all of the upper layers."""
    listed = getattr(model.generation_config, "alignment_heads", None)
    if not listed:
        layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
        return {layer: list(range(heads)) for layer in range(layers // 2, layers)}
    found: dict[int, list[int]] = {}
    for layer, head in listed:
        found.setdefault(layer, []).append(head)
    return found


@contextlib.contextmanager
def _seen_by_cross_attention(
    model: WhisperForConditionalGeneration, layers: list[int]
) -> Iterator[dict[int, torch.Tensor]]:
    """Collect what goes into the cross-attention of some layers, (B, T, d_model) each.

    The fast attention kernels do not give their weights out; from their input those of a few heads are
    quickly computed again.
    """
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        model.model.decoder.layers[layer].encoder_attn.register_forward_pre_hook(
            lambda _, inputs, layer=layer: seen.__setitem__(layer, inputs[0])
        )
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _attention(
    model: WhisperForConditionalGeneration,
    queries: dict[int, torch.Tensor],
    states: torch.Tensor,
    heads: dict[int, list[int]],
) -> torch.Tensor:
    """(heads, N, frames) weights of the alignment heads within the clip's own frames."""
    weights = []
    for layer, wanted in heads.items():
        attention = model.model.decoder.layers[layer].encoder_attn
        shape = (-1, attention.num_heads, attention.head_dim)
        query = (attention.q_proj(queries[layer]) * attention.scaling).view(shape)[:, wanted]
        key = attention.k_proj(states).view(shape)[:, wanted]
        scores = torch.einsum("thd,fhd->htf", query.float(), key.float())
        weights.append(scores.softmax(dim=-1))
    return torch.cat(weights)


def attention_share(weights: torch.Tensor, silent: np.ndarray) -> np.ndarray:
    """(frames,) from 0 to 1, whether anything in the text looks at a frame, of weights (heads, N, frames).

    What `sharpen` gives compares the tokens with each other, so some token fits best even where something is
    said that the text does not have. There all of them together give little attention.
    """
    total = weights.mean(dim=0).sum(dim=0).numpy()
    per_sound = total * max(np.count_nonzero(~silent), 1) / weights.shape[1]
    width = min(ATTENTION_WIDTH, len(total))
    smooth = np.convolve(per_sound, np.full(width, 1 / width), mode="same")
    return np.clip((smooth - LITTLE_ATTENTION) / (ENOUGH_ATTENTION - LITTLE_ATTENTION), 0.0, 1.0)

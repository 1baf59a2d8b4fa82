"""Finds when each word of a known text is spoken, from Whisper's cross-attention.

The idea is from openai/whisper (`whisper/timing.py`, MIT): a few heads of the decoder attend to the part of
the audio where the next token is spoken. So dynamic time warping over their weights gives the times. We added
two things: between two words, the path may pass through silence, and words within silence cost more. Silence
is found by the level of the audio.
"""

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from utils.audio.levels import LEVEL_SECONDS, Levels
from utils.data.forced_alignment.anchors import Unit
from utils.data.forced_alignment.token_path import (
    ATTENTION_WIDTH,
    FRAME_SECONDS,
    UNATTENDED,
    place_tokens,
    sharpen,
)
from utils.model.alignment_heads import alignment_heads

LITTLE_ATTENTION, ENOUGH_ATTENTION = 0.1, 0.3  # as a share of the mean attention of a frame of sound

FOCUS_SLACK = 10  # frames: attention this close to a word still counts for the word


@dataclass(frozen=True)
class UnitTimes:
    """Times of the units of one text, in seconds from the start of the clip. All arrays are (units,).

    `probabilities` is the mean probability of the tokens of a unit, given the text before. `focus` is the
    share of the attention that lies between the start and end of the unit.
    """

    starts: np.ndarray
    ends: np.ndarray
    probabilities: np.ndarray
    focus: np.ndarray


@dataclass(frozen=True)
class Led:
    """The model's output for one clip and its given text of N tokens.

    `probabilities` is (N,). `weights` (heads, N + 1, frames) is the attention when the decoder predicts each
    token and the end.
    """

    probabilities: np.ndarray
    weights: torch.Tensor


def time_units(
    model: WhisperForConditionalGeneration,
    processor: WhisperProcessor,
    states: torch.Tensor,
    prompts: Sequence[list[int]],
    texts: Sequence[str],
    units: Sequence[Sequence[Unit]],
    silences: Sequence[np.ndarray],
) -> list[UnitTimes]:
    """Find the times of the units of each clip's text.

    Args:
        states: Encoder output (B, frames, d_model).
        prompts: Tokens before each text. All texts have the same number of them.
        texts: Text of each clip, at most about 440 tokens.
        units: Units of each text. Their offsets are counted from the start of that text.
        silences: For each clip, whether each frame of 20 ms is silence, (frames of the clip,) bool.
    """
    # Whisper's own texts begin with a space
    encoded = processor.tokenizer(
        [" " + text for text in texts], add_special_tokens=False, return_offsets_mapping=True
    )
    frames = [len(silence) for silence in silences]
    led = lead_through(model, states, prompts, encoded["input_ids"], frames)
    times = []
    for row, clip in enumerate(led):
        # the character that a token completes, without the leading space
        completes = [max(end - 2, 0) for _, end in encoded["offset_mapping"][row]]
        first_tokens = [bisect.bisect_left(completes, unit.start) for unit in units[row]]
        times.append(_time_clip(clip, first_tokens, silences[row]))
    return times


def silent_positions(levels: Levels, start: float, end: float) -> np.ndarray:
    """Compute which encoder frames between two times of a recording are completely silent, (frames,) bool."""
    per_frame = round(FRAME_SECONDS / LEVEL_SECONDS)
    first = round(start / LEVEL_SECONDS)
    num_frames = max(round((end - start) / FRAME_SECONDS), 1)
    silent = np.ones(num_frames * per_frame, dtype=bool)
    there = levels.silent[first : first + len(silent)]
    silent[: len(there)] = there
    return np.logical_and.reduce(silent.reshape(num_frames, per_frame), axis=1)


def _time_clip(clip: Led, first_tokens: list[int], silent: np.ndarray) -> UnitTimes:
    """Find the times of the units that begin at the given tokens. Units of the same token share its times."""
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
    prompts: Sequence[list[int]],
    tokens: Sequence[list[int]],
    num_frames: Sequence[int],
    heads: list[list[int]] | None = None,
) -> list[Led]:
    """Give the decoder the true tokens. Read the probability of each token and the attention for it.

    The weights are those of `heads`, [layer, head] each, sorted; by default those of the alignment heads.
    """
    longest = max(len(row) for row in tokens)
    end = model.generation_config.eos_token_id
    rows = zip(prompts, tokens, strict=True)
    inputs = torch.tensor([prompt + row + [end] * (longest - len(row)) for prompt, row in rows])
    inputs, first = inputs.to(states.device), len(prompts[0])
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(heads or alignment_heads(model)):
        by_layer.setdefault(layer, []).append(head)
    with torch.inference_mode(), _compared_by_cross_attention(model, list(by_layer)) as compared:
        decoded = model.model.decoder(input_ids=inputs, encoder_hidden_states=states, use_cache=False)
        results = []
        for row, row_tokens in enumerate(tokens):
            # the position before a token predicts it
            positions = slice(first - 1, first + len(row_tokens))
            logits = model.proj_out(decoded.last_hidden_state[row, positions]).float()  # (N + 1, vocabulary)
            true = torch.tensor([*row_tokens, end], device=logits.device)
            likely = torch.nn.functional.cross_entropy(logits, true, reduction="none").neg().exp()[:-1]
            weights = []
            for layer, wanted in by_layer.items():
                queries, keys = compared[layer]
                weights.append(
                    _attention(queries[row, positions, wanted], keys[row, : num_frames[row], wanted])
                )
            results.append(Led(likely.cpu().numpy(), torch.cat(weights).cpu()))
    return results


@contextlib.contextmanager
def _compared_by_cross_attention(
    model: WhisperForConditionalGeneration, layers: list[int]
) -> Iterator[dict[int, list[torch.Tensor]]]:
    """Collect the queries (B, T, heads, head_dim) and keys (B, frames, heads, head_dim) of some layers.

    Fast attention kernels do not return their weights. From these, the weights of a few heads are computed
    quickly.
    """
    compared: dict[int, list[torch.Tensor]] = {}
    hooks = []
    for layer in layers:
        attention = model.model.decoder.layers[layer].encoder_attn
        compared[layer] = []
        for projection in (attention.q_proj, attention.k_proj):  # the decoder calls them in this order

            def collect(_module, _inputs, output, to=compared[layer], heads=attention.num_heads):
                to.append(output.unflatten(-1, (heads, -1)))

            hooks.append(projection.register_forward_hook(collect))
    try:
        yield compared
    finally:
        for hook in hooks:
            hook.remove()


def _attention(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Compute the weights (heads, N, frames) of queries (N, heads, d) for keys (frames, heads, d)."""
    scores = torch.einsum("thd,fhd->htf", queries.float(), keys.float()) * queries.shape[-1] ** -0.5
    return scores.softmax(dim=-1)


def attention_share(weights: torch.Tensor, silent: np.ndarray) -> np.ndarray:
    """Compute how much the whole text attends to each frame, (frames,) from 0 to 1.

    `sharpen` compares the tokens with each other, so one of them fits a frame best even if the speech there
    is not in the text. But then all tokens together attend little to the frame. `weights` is (heads, N,
    frames).
    """
    total = weights.mean(dim=0).sum(dim=0).numpy()
    per_sound = total * max(np.count_nonzero(~silent), 1) / weights.shape[1]
    width = min(ATTENTION_WIDTH, len(total))
    smooth = np.convolve(per_sound, np.full(width, 1 / width), mode="same")
    return np.clip((smooth - LITTLE_ATTENTION) / (ENOUGH_ATTENTION - LITTLE_ATTENTION), 0.0, 1.0)

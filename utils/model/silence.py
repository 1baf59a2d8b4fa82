"""Condense the silence after a clip: a few encoder positions represent many.

Whisper was trained on windows of 30 s, often with silence after the speech. Without that silence, an untuned
model invents text, and a tuned one loses some accuracy. But silent positions differ only in their time. So we
keep the first second of silence as it is, and cut the rest into runs of positions. The middle position of
each run represents the run, and the logarithm of the run's length is added to the attention scores of its
key. If all positions of a run are equal, attention to the few positions gives the same result as attention to
all. The method is the proportional attention of token merging (Bolya et al. 2023, arXiv:2210.09461).
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

POSITIONS_PER_SECOND = 50  # of Whisper's encoder

PLACES = 1500  # of its window of 30 s

SILENCE_RUN = 128  # silent positions that one position represents

KEPT_SILENCE = 45  # positions that stay as they are: 0.9 s; with the tail of the context, 1 s

# positions of silence that are convolved: one beside the clip, one amid silence, the window's last
MARGIN = 3


@dataclass(frozen=True)
class CondensedSilence:
    """The positions of a window that the encoder gets, and how many positions each of them represents."""

    places: tuple[int, ...]  # rising; those of the context come first
    lengths: tuple[int, ...]
    full: int  # places of the window, the sum of `lengths`

    def __len__(self) -> int:
        return len(self.places)

    def positions(self, device: torch.device) -> torch.Tensor:
        """Return the positions in the 30 s window that represent the silence, (S,) int64."""
        return torch.tensor(self.places, device=device)

    def key_bias(self, like: torch.Tensor) -> torch.Tensor | None:
        """Return the values (1, 1, 1, S) to add to the attention scores of each key, with the type and device
        of `like`.

        None if each position represents only itself, because kernels are faster without a bias.
        """
        if max(self.lengths) == 1:
            return None
        lengths = torch.tensor(self.lengths, dtype=torch.float32, device=like.device)
        return lengths.log().to(like.dtype)[None, None, None]

    def extend(self, convolved: torch.Tensor) -> torch.Tensor:
        """Append the silence to the output of the convolutions for a clip.

        Args:
            convolved: (B, context + `MARGIN`, d_model), computed from the result of `extend_features`.

        Returns:
            (B, S, d_model)
        """
        beside = convolved.shape[1] - MARGIN + 1
        sees_the_end = self.places[-1] == self.full - 1 and len(self) > beside
        last = convolved[:, -1:] if sees_the_end else convolved[:, :0]
        amid = convolved[:, beside : beside + 1].expand(-1, len(self) - beside - last.shape[1], -1)
        return torch.cat([convolved[:, :beside], amid, last], dim=1)


def extend_features(input_features: torch.Tensor) -> torch.Tensor:
    """Append silent frames, copies of the last frame. It is silent because every context has a tail.

    Args:
        input_features: (B, n_mels, frames).
    """
    return nn.functional.pad(input_features, (0, 2 * MARGIN), mode="replicate")


def encoder_positions(context: float) -> int:
    """Return the number of encoder positions in `context` seconds. There are 50 per second."""
    return round(context * POSITIONS_PER_SECOND)


@lru_cache(maxsize=1024)  # contexts lie on a grid
def condense(context: int, run: int, full: int, multiple: int = 1) -> CondensedSilence | None:
    """Return the positions that the encoder gets for a window with silence after the context.

    Args:
        context: Encoder positions of clip and tail.
        run: Number of silent positions that one position represents. 1 gives the full window, 0 adds no
            silence.
        full: Number of positions of the window.
        multiple: Keep more of the silence, so that the number of positions is a multiple of this. If there is
            not enough silence, keep all of it.

    Returns:
        None if there is no silence to add.
    """
    if run == 0 or context >= full:
        return None
    least = min(context + KEPT_SILENCE, full)
    wanted = (kept for kept in range(least, full) if (kept + math.ceil((full - kept) / run)) % multiple == 0)
    kept = next(wanted, full)
    edges = [*range(kept), *range(kept, full, run), full]
    spans = list(itertools.pairwise(edges))
    return CondensedSilence(
        tuple((start + end - 1) // 2 for start, end in spans),
        tuple(end - start for start, end in spans),
        full,
    )


def seconds_of_work(context: float, run: int) -> float:
    """Return how many seconds of audio the encoder's positions for a clip correspond to."""
    if run == 0:
        return context
    return count_positions(encoder_positions(context), run, PLACES) / POSITIONS_PER_SECOND


def count_positions(context: int, run: int, full: int, multiple: int = 1) -> int:
    """Count the encoder positions for a context. See `condense`."""
    silence = condense(context, run, full, multiple)
    return context if silence is None else len(silence)

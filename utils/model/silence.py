"""The silence behind a clip, condensed: few positions of the encoder stand for many.

Whisper was trained on windows of 30 s, most of them silence behind the speech. A model that hears a clip
alone misses that silence: an untuned one runs away, and one tuned so loses some of the full window's
accuracy. Yet positions of silence differ in their place alone. So the first second of it stays as it is, and
of what follows each run of positions is represented by the one in its middle, with the logarithm of the run's
length added to the scores of its key, wherever it is attended to: a softmax over the few is then the softmax
over the many, had these been equal. After proportional attention in token merging (Bolya et al. 2023,
arXiv:2210.09461).
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

POSITIONS_PER_SECOND = 50  # of Whisper's encoder

PLACES = 1500  # of its window of 30 s

SILENCE_RUN = 128  # positions that one stands for

KEPT_SILENCE = 45  # positions that stay as they are: 0.9 s, which the tail of every context makes a second

# positions of silence that are convolved: one beside the clip, one amid silence, the window's last
MARGIN = 3


@dataclass(frozen=True)
class CondensedSilence:
    """What the encoder sees of a window: places in it, and how many places each of them stands for."""

    places: tuple[int, ...]  # rising; those of the context come first
    lengths: tuple[int, ...]
    full: int  # places of the window, the sum of `lengths`

    def __len__(self) -> int:
        return len(self.places)

    def positions(self, device: torch.device) -> torch.Tensor:
        """(S,) int64, the places."""
        return torch.tensor(self.places, device=device)

    def key_bias(self, like: torch.Tensor) -> torch.Tensor | None:
        """(1, 1, 1, S) what is added to the scores of each key, of the type and on the device of `like`.

        None where each place stands for itself alone: kernels are faster without.
        """
        if max(self.lengths) == 1:
            return None
        lengths = torch.tensor(self.lengths, dtype=torch.float32, device=like.device)
        return lengths.log().to(like.dtype)[None, None, None]

    def extend(self, convolved: torch.Tensor) -> torch.Tensor:
        """Put the silence behind what the convolutions made of a clip.

        Args:
            convolved: (B, context + `MARGIN`, d_model), made of `extend_features`.

        Returns:
            (B, S, d_model)
        """
        beside = convolved.shape[1] - MARGIN + 1
        sees_the_end = self.places[-1] == self.full - 1 and len(self) > beside
        last = convolved[:, -1:] if sees_the_end else convolved[:, :0]
        amid = convolved[:, beside : beside + 1].expand(-1, len(self) - beside - last.shape[1], -1)
        return torch.cat([convolved[:, :beside], amid, last], dim=1)


def extend_features(input_features: torch.Tensor) -> torch.Tensor:
    """Append frames of silence, each like the last, which is silence by the tail of every context.

    Args:
        input_features: (B, n_mels, frames).
    """
    return nn.functional.pad(input_features, (0, 2 * MARGIN), mode="replicate")


def encoder_positions(context: float) -> int:
    """Positions of the encoder in so many seconds, at 50 a second."""
    return round(context * POSITIONS_PER_SECOND)


@lru_cache(maxsize=1024)  # contexts stand on a grid
def condense(context: int, run: int, full: int, multiple: int = 1) -> CondensedSilence | None:
    """How a window looks to the encoder in which silence follows the context.

    Args:
        context: Positions of the encoder that are taken by clip and tail.
        run: Positions of silence that one stands for; 1 gives the full window, 0 leaves the silence out.
        full: Positions of the window.
        multiple: What the number of positions is to be divisible by: more of the silence stays as it is, all
            of it where that is not enough.

    Returns:
        None where there is nothing to add.
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
    """Seconds that the encoder works on for a clip in so many seconds of context, by its positions."""
    if run == 0:
        return context
    return count_positions(encoder_positions(context), run, PLACES) / POSITIONS_PER_SECOND


def count_positions(context: int, run: int, full: int, multiple: int = 1) -> int:
    """Positions that the encoder works on; see `condense`."""
    silence = condense(context, run, full, multiple)
    return context if silence is None else len(silence)

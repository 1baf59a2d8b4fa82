"""Finds the best path of tokens through time."""

import numpy as np
import torch

from utils.audio.levels import runs_of

FRAME_SECONDS = 0.02  # an encoder frame

MEDIAN_WIDTH = 7  # frames, as in openai/whisper

TOKEN_IN_SILENCE = 1.0  # cost of a frame of silence within a word; a well attended frame earns about 4

TOKEN_IN_PAUSE = 10.0  # the same for a frame of a longer silence, which no word contains

SHORTEST_PAUSE = 10  # frames: a doubled p, t or k may be silent almost as long

SPEECH_AS_SILENCE = 0.3  # cost of a frame of sound between two words

UNATTENDED = 0.5  # cost of a frame within a word if nothing in the text attends to it

ATTENTION_WIDTH = 15  # frames over which attention is averaged

SHARED_FRAME = 10.0  # cost of a frame that two rows share; only needed if a text is too long for its clip


def sharpen(weights: torch.Tensor) -> np.ndarray:
    """Average the attention weights (heads, N, frames) over the heads, to (N, frames).

    Smooth them by a median over 7 frames. Each head is first divided by its standard deviation over the
    tokens. openai/whisper computes the median of each head. The median of their mean needs much less time.
    """
    deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, correction=0)
    scores = ((weights - mean) / deviation.clamp(min=1e-8)).mean(dim=0)
    pad = MEDIAN_WIDTH // 2
    if scores.shape[1] > pad:
        padded = torch.nn.functional.pad(scores.unsqueeze(0), (pad, pad), mode="reflect").squeeze(0)
        scores = padded.unfold(-1, MEDIAN_WIDTH, 1).sort()[0][..., pad]
    return scores.numpy()


def place_tokens(
    scores: np.ndarray, begins_unit: np.ndarray, silent: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best times of the tokens, in order. Silence may come before each unit and after the text.

    Args:
        scores: (N + 1, frames): how well each token, and the end of the text, fits each frame.
        begins_unit: (N + 1,) bool. The last one stands for the end of the text and is True.
        silent: (frames,) bool.

    Returns:
        Starts and ends of the N tokens in frames, as floats. Tokens do not overlap.
    """
    rows: list[np.ndarray] = []
    is_silence: list[bool] = []
    row_of_token = []
    between = np.where(silent, 0.0, SPEECH_AS_SILENCE)
    within = np.where(silent, TOKEN_IN_SILENCE, 0.0)
    for first, last in runs_of(silent):
        if last - first >= SHORTEST_PAUSE:
            within[first:last] = TOKEN_IN_PAUSE
    for token in range(len(scores)):
        if begins_unit[token]:
            rows.append(between)
            is_silence.append(True)
        if token < len(scores) - 1:
            row_of_token.append(len(rows))
            rows.append(np.where(silent, within, -scores[token]))
            is_silence.append(False)
    starts, ends = cheapest_path(np.stack(rows), np.array(is_silence))
    return starts[row_of_token], ends[row_of_token]


def cheapest_path(costs: np.ndarray, skippable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the path with the lowest cost (dynamic time warping). Each row gets consecutive frames, in order.

    A row begins in the frame after the last one of the row before. At a cost, it may begin in the same frame,
    because there may be more rows than frames. The cost of a row up to frame f is `S[f] + min over k <= f of
    (before[k] - S[k - 1])`. S is the cumulative cost of the row, and k is its first frame. It is computed for
    one row after another by running minima.

    Args:
        costs: (rows, frames), at least one row and one frame.
        skippable: (rows,) bool: the rows that may be skipped. Two neighbours may not both be True.

    Returns:
        First frame and last frame + 1 of each row, both (rows,). They are equal for a skipped row.
    """
    num_rows, num_frames = costs.shape
    # the path begins at row 0 and column 0, before the first row and frame
    totals = np.full((num_rows + 1, num_frames + 1), np.inf)
    totals[0, 0] = 0.0
    entries = np.zeros((num_rows + 1, num_frames), dtype=np.int32)
    for row in range(1, num_rows + 1):
        cumulative = np.cumsum(costs[row - 1])
        before = np.min([totals[previous] for previous in _rows_before(row, skippable)], axis=0)
        before = np.minimum(before[:-1], before[1:] + SHARED_FRAME)  # from the frame before, or the same
        relative = before - np.concatenate([[0.0], cumulative[:-1]])
        smallest = np.minimum.accumulate(relative)
        is_new = np.concatenate([[True], relative[1:] < smallest[:-1]])
        entries[row] = np.maximum.accumulate(np.where(is_new, np.arange(num_frames), 0))
        totals[row, 1:] = cumulative + smallest
    return _trace_back(totals, entries, skippable)


def _rows_before(row: int, skippable: np.ndarray) -> list[int]:
    """Return the rows that may come directly before `row`.

    Rows are counted from 1, and 0 is the beginning.
    """
    return [row - 1, row - 2] if row > 1 and skippable[row - 2] else [row - 1]


def _trace_back(
    totals: np.ndarray, entries: np.ndarray, skippable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    num_rows, num_frames = entries.shape[0] - 1, entries.shape[1]
    starts, ends = np.zeros(num_rows), np.zeros(num_rows)
    row, later = num_rows + 1, float(num_frames)
    choices = [(totals[r, num_frames], r, num_frames) for r in _rows_before(row, skippable)]
    while True:
        _, previous, column = min(choices)
        starts[previous : row - 1] = ends[previous : row - 1] = later  # skipped
        if previous == 0:
            return starts, ends
        row, frame = previous, column - 1
        first = int(entries[row, frame])
        starts[row - 1], ends[row - 1] = first, min(frame + 1, later)
        later = float(first)
        before = _rows_before(row, skippable)
        steps = ((first, 0.0), (first + 1, SHARED_FRAME))
        choices = [(totals[r, column] + cost, r, column) for r in before for column, cost in steps]

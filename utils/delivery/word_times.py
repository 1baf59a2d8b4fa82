"""Find when the words of decoded clips are spoken."""

from collections.abc import Sequence

import numpy as np
import torch

from utils.data.forced_alignment.anchors import Unit, split_transcript
from utils.data.forced_alignment.word_timing import time_units
from utils.delivery.transcript import Word
from utils.evaluation.backends.transcriber import Transcriber
from utils.model.context import FULL_CONTEXT
from utils.model.decoding import DecodedClips
from utils.model.encoded_clips import attending_to, encode_in_contexts
from utils.model.silence import POSITIONS_PER_SECOND
from utils.model.whisper import whisper_of
from utils.text.label_tokens import MAX_LABEL_TOKENS, encode_texts, prompt_tokens
from utils.text.scripts import SPACELESS_CHARACTER


@torch.inference_mode()
def time_words(
    transcriber: Transcriber,
    decoded: DecodedClips,
    clips: Sequence[np.ndarray],
    silences: Sequence[np.ndarray],
    task: str,
) -> list[list[Word]]:
    """Return the words of each clip with their times, from the decoder's cross-attention.

    Times are counted from the start of the clip. If a text is too long for the decoder, for example a loop,
    its words get equal durations.

    Args:
        transcriber: Decoder of the clips.
        decoded: Output of the decoder.
        clips: (samples,) float32 at 16 kHz each.
        silences: For each clip, whether each 20 ms are silent, (positions,) bool.
        task: Task of the decoder.
    """
    processor, whisper = transcriber.loaded.processor, whisper_of(transcriber.loaded.model)
    units = [split_transcript(text) for text in decoded.texts]
    prompts = [prompt_tokens(processor.tokenizer, code, task) for code in decoded.languages]
    room = MAX_LABEL_TOKENS - len(prompts[0])
    fits = [len(tokens) < room for tokens in encode_texts(processor.tokenizer, decoded.texts)]
    rows = [row for row, own in enumerate(units) if own and fits[row]]
    found = [_evenly(*of) for of in zip(decoded.texts, units, silences, strict=True)]
    if not rows:
        return found
    encoded = decoded.encoded or encode_in_contexts(
        whisper, processor, clips, [FULL_CONTEXT] * len(clips), silence_run=0
    )
    encoded = encoded.rows(rows)
    with attending_to(whisper, encoded):
        times = time_units(
            whisper,
            processor,
            encoded.states,
            [prompts[row] for row in rows],
            [decoded.texts[row] for row in rows],
            [units[row] for row in rows],
            [silences[row] for row in rows],
        )
    for row, own in zip(rows, times, strict=True):
        spans = own.starts.tolist(), own.ends.tolist(), own.probabilities.tolist()
        pieces = _pieces(decoded.texts[row], units[row])
        found[row] = [Word(*word) for word in zip(pieces, *spans, strict=True)]
    return found


def _pieces(text: str, units: Sequence[Unit]) -> list[str]:
    """Return the text of each unit with the space before it, as if another clip came before.

    Any other white space, such as the end of a line, becomes one space.
    """
    starts = [0, *(unit.end for unit in units[:-1])]
    pieces = [text[start : unit.end] for start, unit in zip(starts, units, strict=True)]
    spaces = ["" if SPACELESS_CHARACTER.match(pieces[0]) else " "]
    spaces += [" " if piece[0].isspace() else "" for piece in pieces[1:]]
    return [space + " ".join(piece.split()) for space, piece in zip(spaces, pieces, strict=True)]


def _evenly(text: str, units: Sequence[Unit], silence: np.ndarray) -> list[Word]:
    """Return the words with equal times within a clip of (positions,)."""
    if not units:
        return []
    edges = np.linspace(0, len(silence) / POSITIONS_PER_SECOND, len(units) + 1).tolist()
    return [Word(*word) for word in zip(_pieces(text, units), edges[:-1], edges[1:], strict=True)]

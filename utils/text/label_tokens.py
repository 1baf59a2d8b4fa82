"""Turn texts into the tokens that Whisper's decoder reads and predicts.

The order of tokens is that of openai/whisper (https://arxiv.org/abs/2212.04356, figure 1): `<|startofprev|>`
and the previous text, if given; `<|startoftranscript|>`, language, task; `<|notimestamps|>` and the text, or
`<|0.00|>` text `<|2.40|>` for each timed piece, and `<|29.20|>` alone for a piece that goes on after the
window; `<|endoftext|>`. The text of a piece begins with a space, as in Whisper's training data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

IGNORED = -100  # cross-entropy skips targets of this value

MAX_LABEL_TOKENS = 448  # positions of Whisper's decoder

MAX_PREVIOUS_TOKENS = 223  # of the previous text, as in openai/whisper

TIMESTAMP_STEP = 0.02  # seconds from one timestamp token to the next

LAST_TIMESTAMP = 30.0  # seconds


@dataclass(frozen=True)
class TimedTokens:
    """A piece of text with its start and end in the clip, in seconds."""

    start: float
    end: float
    tokens: list[int]


@dataclass(frozen=True)
class DecoderSequence:
    """The decoder's tokens for one clip.

    At each position, it reads the tokens so far and predicts the next one.
    """

    tokens: list[int]
    num_context: int  # leading tokens that are given and never predicted

    @property
    def inputs(self) -> list[int]:
        return self.tokens[:-1]

    @property
    def targets(self) -> list[int]:
        """Return the target of each position of `inputs`.

        It is `IGNORED` where nothing is to be predicted.
        """
        return [IGNORED] * (self.num_context - 1) + self.tokens[self.num_context :]


def encode_texts(tokenizer: "WhisperTokenizer", texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text, without special tokens."""
    if not texts:
        return []
    return tokenizer([" " + text for text in texts], add_special_tokens=False).input_ids


def encode_segments(
    tokenizer: "WhisperTokenizer", segments: Sequence[Mapping] | None, text: str, duration: float
) -> list[TimedTokens] | None:
    """Return the timed pieces of a clip. None if their texts, joined, differ from its text.

    Subtitles may overlap, but Whisper's timestamps never go back. So a piece that starts too early gets the
    end of the previous piece as its start.

    Args:
        segments: `start`, `end` (seconds from the start of the clip) and `text` of each piece, as stored in a
            prepared dataset.
        text: Text of the whole clip.
        duration: Seconds of the clip.
    """
    if not segments or "".join("".join(piece["text"] for piece in segments).split()) != "".join(text.split()):
        return None
    tokens = encode_texts(tokenizer, [piece["text"] for piece in segments])
    pieces, end = [], 0.0
    for piece, ids in zip(segments, tokens, strict=True):
        start = max(end, min(piece["start"], duration))
        end = max(start, min(piece["end"], duration))
        pieces.append(TimedTokens(start, end, ids))
    return pieces


def prompt_tokens(
    tokenizer: "WhisperTokenizer",
    language: str | None,
    task: str = "transcribe",
    *,
    with_timestamps: bool = False,
    previous: Sequence[int] = (),
) -> list[int]:
    """Return the tokens before the text: start, language and task. `<|notimestamps|>` follows if there are no
    times.

    If no language is given, there are no tokens for language and task, as in English-only models.

    Args:
        previous: Tokens of the previous text; the last `MAX_PREVIOUS_TOKENS` come first.

    Raises:
        KeyError: The tokenizer lacks one of the tokens.
    """
    names = ["<|startoftranscript|>"]
    if language is not None:
        names += [f"<|{language}|>", f"<|{task}|>"]
    if not with_timestamps:
        names.append("<|notimestamps|>")
    tokens = [special_token_id(tokenizer, name) for name in names]
    if not previous:
        return tokens
    return [special_token_id(tokenizer, "<|startofprev|>"), *previous[-MAX_PREVIOUS_TOKENS:], *tokens]


def special_token_id(tokenizer: "WhisperTokenizer", name: str) -> int:
    token_id = tokenizer.convert_tokens_to_ids(name)
    if token_id in (None, tokenizer.unk_token_id):
        raise KeyError(f"the tokenizer has no {name} token")
    assert isinstance(token_id, int)
    return token_id


def room_for_previous(num_tokens: int) -> int:
    """Return how many tokens of previous text fit before a sequence of `num_tokens`. Below 1, there are none.

    The decoder reads one token less than the sequence: nothing is predicted after the end token. The start of
    the previous text takes this place.
    """
    return min(MAX_PREVIOUS_TOKENS, MAX_LABEL_TOKENS - num_tokens)


class LabelWriter:
    """Add the special tokens of one model to the tokens of texts."""

    def __init__(self, tokenizer: "WhisperTokenizer", task: str = "transcribe") -> None:
        self._end: int = tokenizer.eos_token_id
        self._first_timestamp = special_token_id(tokenizer, "<|notimestamps|>") + 1
        self._start_of_previous = special_token_id(tokenizer, "<|startofprev|>")
        self._tokenizer, self._task = tokenizer, task
        self._prompts: dict[tuple[str | None, bool], list[int]] = {}

    def write(
        self,
        pieces: Sequence[TimedTokens],
        language: str | None,
        *,
        with_timestamps: bool = False,
        next_start: float | None = None,
        previous: Sequence[int] = (),
    ) -> DecoderSequence:
        """Return the decoder sequence of one clip.

        For a clip without speech, the only target is the end token. With timestamps, it comes after the first
        timestamp, which decoders force. Language and task are not targets of such a clip: at this place,
        decoders read the probability of `<|nospeech|>` to detect silence, and training on the other tokens
        would lower it.

        Args:
            pieces: Pieces of the clip's text in order. Empty for a clip without speech.
            language: Code of its language; None for English-only models.
            with_timestamps: Write the times of the pieces.
            next_start: Seconds at which a piece begins that goes on after the window. Only its start is
                written, and only with timestamps. Decoders then continue there, and skip no speech.
            previous: Tokens of the previous text. If they are too many, only the last ones are used.
        """
        prompt = self._prompt(language, with_timestamps)
        if not pieces:
            start = [self.timestamp_id(0.0)] if with_timestamps else []
            return self._after(previous, [*prompt, *start, self._end], len(prompt))
        body = [token for piece in pieces for token in self._write_piece(piece, with_timestamps)]
        if with_timestamps and next_start is not None:
            body.append(self.timestamp_id(next_start))
        return self._after(previous, [*prompt, *body, self._end], 1)

    def _after(self, previous: Sequence[int], sequence: list[int], num_context: int) -> DecoderSequence:
        """Put the end of the previous text, as much as fits, before a sequence."""
        # The inputs have one token less than the sequence: nothing is predicted after the end token.
        room = room_for_previous(len(sequence))
        if not previous or room < 1:
            return DecoderSequence(sequence, num_context)
        context = [self._start_of_previous, *previous[-room:]]
        return DecoderSequence(context + sequence, len(context) + num_context)

    def count_targets(
        self,
        pieces: Sequence[TimedTokens],
        language: str | None,
        *,
        with_timestamps: bool = False,
        next_start: float | None = None,
    ) -> int:
        """Return the number of targets in the result of `write`. The previous text does not count."""
        sequence = self.write(pieces, language, with_timestamps=with_timestamps, next_start=next_start)
        return len(sequence.tokens) - sequence.num_context

    def _prompt(self, language: str | None, with_timestamps: bool) -> list[int]:
        """Return `prompt_tokens`, from a cache.

        The cache is a dictionary, because workers need to pickle it.
        """
        key = (language, with_timestamps)
        if key not in self._prompts:
            self._prompts[key] = prompt_tokens(
                self._tokenizer, language, self._task, with_timestamps=with_timestamps
            )
        return self._prompts[key]

    def _write_piece(self, piece: TimedTokens, with_timestamps: bool) -> list[int]:
        if not with_timestamps:
            return piece.tokens
        return [self.timestamp_id(piece.start), *piece.tokens, self.timestamp_id(piece.end)]

    def timestamp_id(self, seconds: float) -> int:
        """Return the token of the nearest timestamp, from `<|0.00|>` to `<|30.00|>`."""
        return self._first_timestamp + round(min(max(seconds, 0.0), LAST_TIMESTAMP) / TIMESTAMP_STEP)

"""From rows of a prepared dataset to tensors: labels, decoder inputs and padded audio."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset
from transformers import WhisperTokenizer

from utils.audio import decode_flac
from utils.batching import MicroBatch
from utils.features import pad_waveforms

IGNORED = -100  # cross-entropy skips these label positions
MAX_LABEL_TOKENS = 448  # positions of Whisper's decoder


@dataclass(frozen=True)
class Batch:
    """A micro-batch, ready but for the log-mel spectrogram, which is computed on the training device."""

    waveforms: torch.Tensor  # (B, samples) float32, 16 kHz
    decoder_input_ids: torch.Tensor  # (B, T) int64
    labels: torch.Tensor  # (B, T) int64, -100 where nothing is to be predicted


class MicroBatches(torch.utils.data.Dataset):
    """Maps a `MicroBatch` to its `Batch`; a `DataLoader` runs it in its workers."""

    def __init__(
        self, rows: Dataset, labels: Sequence[list[int]], start_token_id: int, pad_token_id: int
    ) -> None:
        self._rows, self._labels = rows.select_columns(["audio"]), labels
        self._start_token_id, self._pad_token_id = start_token_id, pad_token_id

    def __getitem__(self, micro_batch: MicroBatch) -> Batch:
        indices = list(micro_batch.indices)
        clips = [decode_flac(data) for data in self._rows[indices]["audio"]]
        labels = pad_labels([self._labels[index] for index in indices])
        decoder_input_ids = shift_right(labels, self._start_token_id, self._pad_token_id)
        return Batch(pad_waveforms(clips, micro_batch.context), decoder_input_ids, labels)


def encode_labels(
    tokenizer: WhisperTokenizer,
    texts: Sequence[str],
    languages: Sequence[str | None],
    task: str = "transcribe",
) -> list[list[int]]:
    """Label tokens of each text: language, task and no-timestamps tokens, the text, the end token.

    The start token is left out: `shift_right` puts it in front of the decoder's input, once. The text begins
    with a space, as in Whisper's own training data. A language of None gives no language and task token; this
    is the form for English-only models.
    """
    encoded = tokenizer([" " + text for text in texts], add_special_tokens=False).input_ids
    prefixes = {language: prompt_tokens(tokenizer, language, task=task)[1:] for language in set(languages)}
    return [
        prefixes[language] + tokens + [tokenizer.eos_token_id]
        for language, tokens in zip(languages, encoded, strict=True)
    ]


def prompt_tokens(
    tokenizer: WhisperTokenizer, language: str | None, *, task: str = "transcribe"
) -> list[int]:
    """Tokens in front of the text: start, language, task (transcribe or translate), no timestamps."""
    names = ["<|startoftranscript|>", "<|notimestamps|>"]
    if language is not None:
        names[1:1] = [f"<|{language}|>", f"<|{task}|>"]
    return [_special_token_id(tokenizer, name) for name in names]


def _special_token_id(tokenizer: WhisperTokenizer, name: str) -> int:
    token_id = tokenizer.convert_tokens_to_ids(name)
    if token_id in (None, tokenizer.unk_token_id):
        raise KeyError(f"the tokenizer has no {name} token")
    assert isinstance(token_id, int)
    return token_id


def pad_labels(labels: Sequence[list[int]]) -> torch.Tensor:
    """(B, longest) int64, padded on the right with -100."""
    tensors = [torch.tensor(tokens, dtype=torch.long) for tokens in labels]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=IGNORED)


def shift_right(labels: torch.Tensor, start_token_id: int, pad_token_id: int) -> torch.Tensor:
    """The decoder's input: labels moved one to the right behind the start token, padding instead of -100."""
    shifted = labels.roll(1, dims=1)
    shifted[:, 0] = start_token_id
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)

"""Compute the loss of reference texts for clips that are about to be decoded, which are encoded only once."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache, EncoderDecoderCache, WhisperForConditionalGeneration, WhisperTokenizer

from utils.model.encoded_clips import EncodedClips
from utils.model.loss import TargetLoss, summed_cross_entropy
from utils.text.label_tokens import (
    IGNORED,
    MAX_LABEL_TOKENS,
    DecoderSequence,
    LabelWriter,
    TimedTokens,
    encode_texts,
)


def reference_losses(
    model: WhisperForConditionalGeneration,
    tokenizer: WhisperTokenizer,
    encoded: EncodedClips,
    references: Sequence[str],
    languages: Sequence[str | None],
    task: str,
) -> list[TargetLoss]:
    """Compute the training loss of each clip's reference, without timestamps and previous text.

    At each position, the decoder reads the tokens of the reference (teacher forcing). The keys and values of
    the cross-attention stay in `encoded`, so that decoding need not compute them again.

    Args:
        model: Whisper in evaluation mode.
        tokenizer: Its tokenizer.
        encoded: The clips.
        references: Text of each clip.
        languages: Code of each clip's language; None for English-only models.
        task: `transcribe` or `translate`.

    Returns:
        The loss of each clip. Clips whose labels are too long for Whisper have no targets, because training
        leaves them out too.
    """
    sequences = write_labels(tokenizer, references, languages, task)
    inputs = _pad([sequence.inputs for sequence in sequences], tokenizer.eos_token_id, encoded)
    labels = _pad([sequence.targets for sequence in sequences], IGNORED, encoded)
    decoded = model.model.decoder(
        input_ids=inputs,
        encoder_hidden_states=encoded.states,
        past_key_values=EncoderDecoderCache(DynamicCache(), encoded.cross_cache),
        use_cache=True,
    ).last_hidden_state  # (B, T, d_model)
    is_target = labels != IGNORED
    counts = is_target.sum(dim=1).tolist()
    sums = decoded.new_zeros(len(counts), dtype=torch.float32)
    for row, chosen in enumerate(is_target):
        if counts[row]:  # one clip after another: the logits of a whole batch would take much memory
            sums[row] = summed_cross_entropy(decoded[row, chosen], labels[row, chosen], model.proj_out)
    return [TargetLoss(*each) for each in zip(sums.tolist(), counts, strict=True)]


def write_labels(
    tokenizer: WhisperTokenizer, references: Sequence[str], languages: Sequence[str | None], task: str
) -> list[DecoderSequence]:
    """Return the decoder's tokens of each text. If they are too many for Whisper, there are no targets."""
    writer = LabelWriter(tokenizer, task)
    texts = [TimedTokens(0.0, 0.0, tokens) for tokens in encode_texts(tokenizer, references)]
    sequences = [writer.write([text], language) for text, language in zip(texts, languages, strict=True)]
    return [
        sequence if len(sequence.inputs) <= MAX_LABEL_TOKENS else DecoderSequence(sequence.tokens[:1] * 2, 2)
        for sequence in sequences
    ]


def _pad(sequences: Sequence[list[int]], padding: int, encoded: EncodedClips) -> torch.Tensor:
    tensors = [torch.tensor(tokens, device=encoded.states.device) for tokens in sequences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)

"""The training loss: summed cross-entropy of the target tokens, in chunks if memory is short."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from utils.model.encoder import condensed_silence, encode
from utils.model.kernels.attention import mask_cross_attention
from utils.model.kernels.onednn import ANY_SIZE, Multiples
from utils.model.whisper import whisper_of
from utils.text.label_tokens import IGNORED

MULTIPLE = 32  # of target tokens: fewer sizes, which suit matrix kernels

CHUNK_TOKENS = 128  # 27 MB of float32 logits with Whisper's 51,865 tokens


@dataclass(frozen=True)
class TargetLoss:
    """Cross-entropy of target tokens, summed, and their number."""

    loss_sum: float
    num_targets: int

    @property
    def mean(self) -> float:
        """Mean per target token. NaN if there are no targets."""
        return self.loss_sum / self.num_targets if self.num_targets else math.nan


class WhisperLoss(nn.Module):
    """Compute the summed loss of the target tokens from features and labels.

    It is a sum and not a mean, because only the caller knows how many target tokens the whole optimiser step
    has, over all micro-batches and processes.
    """

    def __init__(
        self,
        model: nn.Module,
        chunk_tokens: int | None = None,
        silence_run: int = 0,
        multiples: Multiples = ANY_SIZE,
    ) -> None:
        """Set up the loss. If several losses are made for one model, only the last one can train it.

        Args:
            model: Whisper, or a PEFT wrapper around it.
            chunk_tokens: Compute the logits of at most this number of tokens at once.
            silence_run: See `encode`.
            multiples: Batch sizes are multiples of these.
        """
        super().__init__()
        self.model, self.chunk_tokens = model, chunk_tokens
        self.silence_run, self.multiples = silence_run, multiples
        # of the last batch, whose layers may be computed once more
        self._key_bias: torch.Tensor | None = None
        mask_cross_attention(whisper_of(model), self._mask_in_training)

    def _mask_in_training(self, attention: nn.Module) -> torch.Tensor | None:
        return self._key_bias if attention.training else None

    def forward(
        self,
        input_features: torch.Tensor | None,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
        encoder_states: torch.Tensor | None = None,
        context: int | None = None,
    ) -> torch.Tensor:
        """Return the cross-entropy, summed over the labels that are not -100.

        Args:
            input_features: (B, n_mels, frames).
            decoder_input_ids: (B, T) int64.
            labels: (B, T) int64.
            encoder_states: Output of the encoder, (B, positions, d_model), if it was computed before. It
                replaces the features.
            context: Encoder positions of clip and tail in `encoder_states`.
        """
        whisper = whisper_of(self.model)
        if encoder_states is None:
            assert input_features is not None
            context = input_features.shape[2] // 2
            encoder_states = encode(whisper, input_features, self.silence_run, self.multiples.positions)
        assert context is not None
        silence = condensed_silence(whisper, context, self.silence_run, self.multiples.positions)
        self._key_bias = None if silence is None else silence.key_bias(encoder_states)
        missing = -labels.shape[1] % self.multiples.tokens
        labels = nn.functional.pad(labels, (0, missing), value=IGNORED)
        padding = whisper.config.pad_token_id
        decoded = whisper.model.decoder(
            input_ids=nn.functional.pad(decoder_input_ids, (0, missing), value=padding),
            encoder_hidden_states=encoder_states,
            use_cache=False,
        ).last_hidden_state  # (B, T, d_model)
        is_target = labels != IGNORED
        # Project only the target positions: padding needs no vocabulary-sized logits.
        return summed_cross_entropy(
            decoded[is_target], labels[is_target], whisper.proj_out, chunk_tokens=self.chunk_tokens
        )


def summed_cross_entropy(
    states: torch.Tensor, targets: torch.Tensor, projection: nn.Module, *, chunk_tokens: int | None = None
) -> torch.Tensor:
    """Return the summed cross-entropy of the projected states.

    With chunks, the logits of all tokens are never in memory together. Those of one chunk are computed for
    the loss, deleted, and computed again for the gradient, as in torchtune's `CEWithChunkedOutputLoss` and in
    Liger-Kernel (https://arxiv.org/abs/2410.10989).

    Args:
        states: Output of the decoder at the target tokens, (N, d).
        targets: (N,) int64.
        projection: From d to the vocabulary.
        chunk_tokens: Number of tokens of a chunk. None means all at once.

    Returns:
        A float32 scalar. It is 0 if there are no tokens.
    """
    missing = -len(targets) % MULTIPLE
    states = nn.functional.pad(states, (0, 0, 0, missing))
    targets = nn.functional.pad(targets, (0, missing), value=IGNORED)
    if chunk_tokens is None or len(targets) <= chunk_tokens:
        return _cross_entropy(states, targets, projection)
    losses = [
        checkpoint(_cross_entropy, *chunk, projection, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    ]
    return torch.stack(losses).sum()


def _cross_entropy(states: torch.Tensor, targets: torch.Tensor, projection: nn.Module) -> torch.Tensor:
    logits = projection(states)  # (N, vocabulary)
    return nn.functional.cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")

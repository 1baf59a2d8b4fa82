"""A few steps of training on noise, and what a model says before and after."""

import torch
from torch import nn

from utils.model.loading import load_model
from utils.model.loss import WhisperLoss
from utils.model.whisper import eval_mode
from utils.text.label_tokens import IGNORED, LabelWriter, TimedTokens, encode_texts
from utils.training.batches import pad_tokens


def tiny_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of two clips of 2 s, decoder inputs and labels of four tokens, one of them padding."""
    torch.manual_seed(3)
    labels = torch.tensor([[260, 65, 66, 256], [260, 67, 256, -100]])
    return torch.randn(2, 80, 200), torch.tensor([[257, 260, 65, 66], [257, 260, 67, 256]]), labels


def label_batch(loaded, texts: list[str], language: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Decoder inputs and labels (B, T) of texts in a language, padded."""
    tokenizer = loaded.processor.tokenizer
    pieces = [TimedTokens(0.0, 1.0, tokens) for tokens in encode_texts(tokenizer, texts)]
    sequences = [LabelWriter(tokenizer).write([piece], language) for piece in pieces]
    inputs = pad_tokens([sequence.inputs for sequence in sequences], tokenizer.pad_token_id)
    return inputs, pad_tokens([sequence.targets for sequence in sequences], IGNORED)


def train_for(model: nn.Module, loss: WhisperLoss, steps: int, *hooks) -> list[float]:
    """Plain AdamW steps on one batch."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for hook in hooks:
        optimizer.register_step_post_hook(hook)
    values = []
    for _ in range(steps):
        value = loss(*tiny_batch()) / 7
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(value.item())
    return values


def logits_of(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(4)
    with torch.no_grad(), eval_mode(model):
        ids = torch.tensor([[257, 260, 65]])
        return model(input_features=torch.randn(1, 80, 3000), decoder_input_ids=ids).logits


def merged(folder) -> dict[str, torch.Tensor]:
    return {name: value.double() for name, value in load_model(str(folder)).model.state_dict().items()}

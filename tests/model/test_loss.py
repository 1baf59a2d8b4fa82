import pytest
import torch

from utils.model.loss import summed_cross_entropy


def loss_and_gradients(chunk_tokens: int | None, num_tokens: int = 23) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    projection = torch.nn.Linear(8, 50)
    states = torch.randn(num_tokens, 8, requires_grad=True)
    targets = torch.randint(0, 50, (num_tokens,))
    rows = []
    projection.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    if chunk_tokens == -1:
        loss = torch.nn.functional.cross_entropy(projection(states), targets, reduction="sum")
    else:
        loss = summed_cross_entropy(states, targets, projection, chunk_tokens=chunk_tokens)
    loss.backward()
    return loss.detach(), states.grad, projection.weight.grad, projection.bias.grad, max(rows, default=0)


@pytest.mark.parametrize("chunk_tokens", [None, 1, 7, 22, 23, 100])
def test_chunks_change_neither_loss_nor_gradient(chunk_tokens):
    expected, found = loss_and_gradients(-1), loss_and_gradients(chunk_tokens)
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(one, other)
    assert found[-1] <= (chunk_tokens or 32)  # logits that exist together; 23 are filled up to 32


def test_no_tokens_weigh_nothing():
    states = torch.randn(0, 8, requires_grad=True)
    loss = summed_cross_entropy(
        states, torch.zeros(0, dtype=torch.long), torch.nn.Linear(8, 50), chunk_tokens=4
    )
    loss.backward()
    assert loss.item() == 0 and states.grad.shape == (0, 8)

"""The loop of the PyTorch examples: Adam for some steps, then the gradients, ours and hand-written."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from regcore_torch import Regularizer

from .outcome import Outcome, difference


def train(
    step: Callable[[], tuple[Tensor, Tensor]],
    by_hand: Callable[[], Tensor],
    reg: Regularizer,
    parameters: Sequence[torch.nn.Parameter],
    steps: int,
) -> Outcome:
    """`step` gives the task loss and the whole loss, `by_hand` the whole loss written without regcore."""
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        task, loss = step()
        loss.backward()
        optimizer.step()
        losses.append(task.item())
    return compare(step, by_hand, reg, parameters, losses)


def compare(
    step: Callable[[], tuple[Tensor, Tensor]],
    by_hand: Callable[[], Tensor],
    reg: Regularizer,
    parameters: Sequence[torch.nn.Parameter],
    losses: list[float],
) -> Outcome:
    ours = torch.autograd.grad(step()[1], parameters)
    terms = {name: value.item() for name, value in reg.terms().items()}
    theirs = torch.autograd.grad(by_hand(), parameters)
    reg.reset()  # the hand-written version ran the same modules
    return Outcome(losses, terms, difference([g.numpy() for g in ours], [g.numpy() for g in theirs]))

"""Whole training steps in PyTorch, with a published penalty, with ours, and without one."""

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import regcore
import regcore_torch

from . import torch_by_hand, torch_peers
from .row import BY_HAND, Row, Shape, Step

CLASSES = 10
WORDS = 10_000


class Deep(nn.Module):
    """Dense layers of one width; they start near the identity, so that activations neither die nor explode."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)])
        self.last = nn.Linear(width, CLASSES)
        self.alphas = nn.ParameterList()
        for dense, _ in self.layers:
            nn.init.normal_(dense.weight, std=0.01)
            dense.weight.data += torch.eye(width)
            nn.init.zeros_(dense.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return self.last(x), outputs


class Language(nn.Module):
    """An LSTM language model, batch first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(WORDS, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.last = nn.Linear(width, WORDS)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        hidden, _ = self.lstm(self.embedding(words))
        return self.last(hidden), hidden


def layers(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    """Shape: (layers, batch, width). The mean over the layers multiplies the task loss."""
    depth, batch, width = shape
    torch.manual_seed(1)
    x, labels = torch.rand(batch, width, device=device), torch.randint(CLASSES, (batch,), device=device)
    data = {"x": x, "labels": labels}

    def peer(model: Any, task: Tensor, outputs: Any, alphas: Any, entropies: Any) -> Tensor:
        total: Tensor = task * (1.0 + entropies(outputs, alphas))
        return total

    others = {
        "peer": functools.partial(peer, entropies=getattr(torch_peers, row.peer)),
        BY_HAND: functools.partial(peer, entropies=getattr(torch_by_hand, row.by_hand)),
    }
    rules = {"layers.*": (1.0 / depth) * spec}
    return _variants(functools.partial(Deep, depth, width), data, rules, others, depth, device)


def lstm(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    """Shape: (batch, time, width). The penalty of the hidden states is added to the task loss."""
    batch, time, width = shape
    torch.manual_seed(1)
    words, labels = torch.randint(WORDS, (2, batch, time), device=device)

    def peer(model: Any, task: Tensor, hidden: Any, alphas: Any) -> Tensor:
        return task + getattr(torch_peers, row.peer)(hidden)

    data = {"x": words, "labels": labels.flatten()}
    return _variants(functools.partial(Language, width), data, {"lstm": spec}, {"peer": peer}, 0, device)


def _variants(make: Any, data: Any, rules: Any, others: Any, depth: int, device: str) -> dict[str, Step]:
    found = {}
    for name in ("none", *others, "ours"):
        model = make().to(device)
        learned, total = [], _task
        if name in others:
            learned = [torch.tensor(0.5, device=device, requires_grad=True) for _ in range(depth)]
            total = functools.partial(others[name], alphas=learned)
        if name == "ours":
            reg = regcore_torch.regularize(model, rules)
            learned, total = list(reg.parameters()), functools.partial(_combined, reg)
        parameters = [*model.parameters(), *learned]
        optimizer = torch.optim.SGD(parameters, lr=0.0)  # each step does the same
        found[name] = functools.partial(_step, model, total, optimizer, parameters, **data)
    return found


def _task(model: Any, task: Tensor, outputs: Any) -> Tensor:
    return task


def _combined(reg: Any, model: Any, task: Tensor, outputs: Any) -> Tensor:
    total: Tensor = reg.combine(task)
    return total


def _step(
    model: Any, total: Any, optimizer: Any, parameters: list[Tensor], x: Tensor, labels: Tensor
) -> tuple[Any, list[Any]]:
    optimizer.zero_grad()
    scores, outputs = model(x)
    loss = total(model, functional.cross_entropy(scores.flatten(0, -2), labels), outputs)
    loss.backward()
    optimizer.step()
    return loss.detach(), [parameter.grad for parameter in parameters]

"""The demo in PyTorch: models written without regcore, regularized from outside by the names of their modules."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

import regcore
import regcore_torch

from .initial import Affine, Deep, Net, Recurrent


class DeepNet(nn.Module):
    def __init__(self, net: Deep) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Sequential(_linear(layer), nn.ReLU()) for layer in net.hidden)
        self.out = _linear(net.out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.hidden:
            x = layer(x)
        return self.out(x)


class RecurrentNet(nn.Module):
    def __init__(self, net: Recurrent) -> None:
        super().__init__()
        self.rnn = nn.RNN(len(net.input.kernel), net.units, batch_first=True)
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(torch.tensor(net.input.kernel.T))
            self.rnn.weight_hh_l0.copy_(torch.tensor(net.recurrent.T))
            self.rnn.bias_ih_l0.copy_(torch.tensor(net.input.bias))
            self.rnn.bias_hh_l0.zero_().requires_grad_(False)  # a second bias, which the other frameworks do not have
        self.out = _linear(net.out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(x)
        return self.out(states[:, -1])


class Training:
    """A network in training, with or without its penalty."""

    def __init__(self, net: Net, regularized: bool) -> None:
        self.model = DeepNet(net) if isinstance(net, Deep) else RecurrentNet(net)
        sites = "hidden.*" if isinstance(net, Deep) else "rnn"
        self.regularizer = regcore_torch.regularize(self.model, {sites: net.spec}) if regularized else None
        learned = self.regularizer.parameters() if self.regularizer else ()  # such as alpha of the batch entropy
        trained = [p for p in (*self.model.parameters(), *learned) if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=net.learning_rate, eps=1e-8)

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        self.model.train()
        task = nn.functional.cross_entropy(self.model(torch.from_numpy(x)), torch.from_numpy(y).long())
        loss = self.regularizer.combine(task) if self.regularizer else task
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def penalties(self) -> dict[str, float]:
        return {name: term.value for name, term in self.regularizer.report().items()} if self.regularizer else {}

    @torch.no_grad()
    def logits(self, x: np.ndarray) -> np.ndarray:
        self.model.eval()
        return self.model(torch.from_numpy(x)).numpy()


def value_and_grad(spec: regcore.Penalty, x: np.ndarray, params: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """A penalty of bare tensors and its derivative, as PyTorch takes it."""
    x = torch.tensor(x, requires_grad=True)
    params = {name: torch.tensor(param, requires_grad=True) for name, param in params.items()}
    value = spec(x, params)
    value.backward()
    return value.detach(), x.grad, {name: param.grad for name, param in params.items()}


def _linear(layer: Affine) -> nn.Linear:
    linear = nn.Linear(*layer.kernel.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(layer.kernel.T))
        linear.bias.copy_(torch.tensor(layer.bias))
    return linear

"""The step through `regcore_torch.regularize`."""

import numpy as np
import torch

from regcore_torch import regularize

from . import ALPHA, RATE, SPEC, Problem


def step(problem: Problem) -> dict[str, np.ndarray]:
    model = torch.nn.Sequential(torch.nn.Linear(5, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(problem.W.T))
        model[0].bias.copy_(torch.tensor(problem.b))
    reg = regularize(model, {"0": SPEC})
    optimizer = torch.optim.SGD([*model.parameters(), *reg.parameters()], lr=RATE)
    task = torch.nn.functional.mse_loss(model(torch.tensor(problem.x)), torch.tensor(problem.target))
    reg.combine(task).backward()
    optimizer.step()
    after = {"W": model[0].weight.T, "b": model[0].bias, "alpha": reg.sites["0"].params[ALPHA]}
    return {name: tensor.detach().numpy() for name, tensor in after.items()}

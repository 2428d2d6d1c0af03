"""A sparse autoencoder in PyTorch: L1 on the codes, and no two vectors of its dictionary too close.

Run it by `python -m examples.embedding.sparse_autoencoder`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

import regcore  # + import
import regcore_torch  # + import

from .data import digits
from .outcome import Outcome, show
from .torch_training import train

# a vector of the dictionary is a column of the weight
RULES = {"codes": 0.1 * regcore.L1(), "weight:decoder.weight": regcore.Orthogonality(vector_axis=1, power=4)}  # +


class SparseAutoencoder(nn.Module):
    def __init__(self, pixels: int = 64, units: int = 96) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, units)
        self.codes = nn.ReLU()
        self.decoder = nn.Linear(units, pixels)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.codes(self.encoder(x)))


def build() -> tuple[SparseAutoencoder, regcore_torch.Regularizer, Tensor]:
    torch.manual_seed(0)
    model = SparseAutoencoder().double()
    reg = regcore_torch.regularize(model, RULES)  # +
    return model, reg, torch.from_numpy(digits(256)[0])


def by_hand(model: SparseAutoencoder, x: Tensor) -> Tensor:
    codes = model.encoder(x).relu()
    unit = normalize(model.decoder.weight, dim=0)
    cosines = (unit.T @ unit).fill_diagonal_(0.0)
    pairs = len(cosines) * (len(cosines) - 1)
    penalty = 0.1 * codes.abs().mean() + cosines.pow(4).sum() / pairs
    return (model.decoder(codes) - x).square().mean() + penalty


def main(steps: int = 20) -> Outcome:
    model, reg, x = build()

    def step() -> tuple[Tensor, Tensor]:
        task = (model(x) - x).square().mean()
        loss = reg.combine(task)  # +
        return task, loss

    return train(step, lambda: by_hand(model, x), reg, list(model.parameters()), steps)


if __name__ == "__main__":
    show(main())

"""Fit numbers of many sizes with a decision list, and see what each of its penalties does to the prefixes."""

import argparse

import torch

from regcore.penalties.anytime import Containment, Decisiveness, PrefixSupervision
from regcore.penalty import Penalty
from regcore.regressor import DecisionList, QuasiArithmeticMean

TERMS = 4
FEATURES = 8
CHOICES: dict[str, tuple[float, Penalty | None]] = {
    "none": (0.0, None),
    "PrefixSupervision": (1.0, PrefixSupervision()),
    "Containment": (1.0, Containment()),
    "Decisiveness": (0.1, Decisiveness()),
}


class Regressor(torch.nn.Module):
    """Two hidden layers, then the exponent as a mean of features and each term as a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = torch.nn.Sequential(
            torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh()
        )
        self.exponent = torch.nn.Linear(64, FEATURES)
        self.terms = torch.nn.Linear(64, TERMS)
        self.mean = QuasiArithmeticMean()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.trunk(x)
        return self.mean(self.exponent(hidden)), torch.sigmoid(self.terms(hidden))


def data(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positive targets over eleven octaves, from 2**-5.5 to 2**5.5."""
    x = 2 * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) - 1
    return x, torch.exp2(3.5 * torch.sin(3 * x[:, 0]) + 2 * x[:, 1])


def train(weight: float, penalty: Penalty | None, steps: int) -> Regressor:
    torch.manual_seed(0)
    model, (x, y) = Regressor(), data(512, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        u, s = model(x)
        loss = ((DecisionList()(u, s) / y).log2() ** 2).mean()
        if penalty is not None and step >= steps // 4:  # once u has the size of y: until then errors in 2**u are huge
            inputs = {"u": u, "y": y} if penalty.inputs() else {}
            loss = loss + weight * penalty(s, **inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def row(name: str, model: Regressor) -> str:
    """Errors on new data of the same range: half of the numbers are closer, in per cent; and the share of digits."""
    x, y = data(2048, seed=2)
    u, s = model(x)
    errors = (DecisionList().prefixes(u, s) / y[:, None] - 1).abs().median(dim=0).values
    decided = ((s - 0.5).abs() > 0.45).float().mean()
    return f"{name:18}" + "".join(f"{100 * error:7.1f}" for error in errors) + f"{100 * decided:9.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.regressor", description=__doc__)
    parser.add_argument("--steps", type=int, default=600, help="of Adam, for each penalty (%(default)s)")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)  # such small products gain nothing from more
    if steps < 1:
        parser.error(f"got --steps {steps}; expected at least 1")
    print("Median relative error in % of the answer after each term, and % of digits within 0.05 of 0 or 1\n")
    print(f"{'penalty':18}" + "".join(f"{f'y_{j}':>7}" for j in range(TERMS + 1)) + f"{'digits':>9}")
    for name, (weight, penalty) in CHOICES.items():
        print(row(name, train(weight, penalty, steps)), flush=True)


if __name__ == "__main__":
    main()

"""What each orthogonality penalty makes of a dictionary with four times as many vectors as dimensions.

    python -m examples.orthogonality [--vectors 64 --dimensions 16 --steps 1500 --seed 0]

Adam lowers the penalty alone, from random vectors and from vectors of which every other is nearly a copy. The table has
the mean of |cos|, the mean over vectors of the largest |cos|, and the share of vectors with a twin, |cos| > .95.
"""

import argparse
import math

import numpy as np

import regcore
from regcore import MaxCosine, Orthogonality

RATE = 0.01
TWIN = 0.95


def penalties(dimensions: int) -> dict[str, regcore.Penalty | None]:
    return {
        "none": None,
        "power=1": Orthogonality(power=1),
        "power=2": Orthogonality(power=2),
        "power=4": Orthogonality(power=4),
        "threshold=1/sqrt(d)": Orthogonality(threshold=1 / math.sqrt(dimensions)),
        "MaxCosine": MaxCosine(),
        "MaxCosine, signed": MaxCosine(signed=True),
    }


def lowered(penalty: regcore.Penalty | None, x: np.ndarray, steps: int) -> np.ndarray:
    """`x` after so many steps of Adam."""
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1 if penalty else 1):
        _, (dx, _) = regcore.value_and_grad(penalty, x)
        mean, square = 0.9 * mean + 0.1 * dx, 0.999 * square + 0.001 * dx * dx
        x = x - RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-12)
    return x


def figures(x: np.ndarray) -> tuple[float, float, float]:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = abs(unit @ unit.T)
    largest = (cosine - 2 * np.eye(len(x))).max(axis=1)
    return (cosine.sum() - len(x)) / (len(x) * (len(x) - 1)), largest.mean(), (largest > TWIN).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("vectors", 64), ("dimensions", 16), ("steps", 1500), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    random = rng.normal(size=(options.vectors, options.dimensions))
    copied = np.where(np.arange(len(random))[:, None] % 2, np.roll(random, 1, axis=0), random)
    copied = copied + 0.01 * rng.normal(size=random.shape)
    print(f"{'':20}  {'from random vectors':^28}  {'from near copies':^28}")
    print(f"{'':20}" + f"  {'mean':>8}  {'largest':>8}  {'twins':>8}" * 2)
    for name, penalty in penalties(options.dimensions).items():
        cells = [figures(lowered(penalty, x, options.steps)) for x in (random, copied)]
        print(f"{name:20}" + "".join(f"  {mean:8.3f}  {top:8.3f}  {share:8.0%}" for mean, top, share in cells))


if __name__ == "__main__":
    main()

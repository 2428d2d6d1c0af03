"""The two networks before training: their penalties, and initial weights that are the same in every framework."""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np

import regcore

CLASSES = 10
BATCH = 256


class Affine(NamedTuple):
    """`x @ kernel + bias`."""

    kernel: np.ndarray  # (inputs, outputs)
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class Deep:
    """30 ReLU layers and a linear one, with nothing that helps depth: no normalization and no shortcuts."""

    layers: ClassVar[int] = 30
    width: ClassVar[int] = 64
    title: ClassVar[str] = "deep net"
    formula: ClassVar[str] = "(1 / 30) * BatchEntropy(alpha=1.5, alpha_min=0.3, beta=1.0) after each of 30 layers"
    share: ClassVar[float] = 1.0  # of the steps
    # The mean over the layers; batch entropy multiplies the task loss, as it was published.
    spec: ClassVar[regcore.Penalty] = (1 / layers) * regcore.BatchEntropy(alpha=1.5, alpha_min=0.3, beta=1.0)
    learning_rate: ClassVar[float] = 1e-3

    input_shape: tuple[int]
    hidden: tuple[Affine, ...]
    out: Affine

    @classmethod
    def draw(cls, rows: int, columns: int) -> "Deep":
        rng = np.random.default_rng(11)
        hidden = [_affine(rng, rows * columns, cls.width)]
        hidden += [_affine(rng, cls.width, cls.width) for _ in range(cls.layers - 1)]
        return cls((rows * columns,), tuple(hidden), _affine(rng, cls.width, CLASSES))


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """`h = tanh(row @ input.kernel + input.bias + h @ recurrent)` over the rows of an image; the last h is read out."""

    units: ClassVar[int] = 48
    title: ClassVar[str] = "recurrent net"
    formula: ClassVar[str] = "2.0 * AR() + 1.0 * TAR() on all states"
    share: ClassVar[float] = 0.5
    spec: ClassVar[regcore.Penalty] = 2.0 * regcore.AR() + 1.0 * regcore.TAR()
    learning_rate: ClassVar[float] = 3e-3

    input_shape: tuple[int, int]
    input: Affine
    recurrent: np.ndarray
    out: Affine

    @classmethod
    def draw(cls, rows: int, columns: int) -> "Recurrent":
        rng = np.random.default_rng(12)
        recurrent = _affine(rng, cls.units, cls.units).kernel
        return cls((rows, columns), _affine(rng, columns, cls.units), recurrent, _affine(rng, cls.units, CLASSES))


Net = Deep | Recurrent
NETS = (Deep, Recurrent)


def batches(samples: int, steps: int) -> Iterator[np.ndarray]:
    """The same random batches for every framework, as indices."""
    rng = np.random.default_rng(13)
    for _ in range(steps):
        yield rng.choice(samples, min(BATCH, samples), replace=False)


def _affine(rng: np.random.Generator, inputs: int, outputs: int) -> Affine:
    """What PyTorch starts a linear layer with."""
    limit = inputs**-0.5
    kernel, bias = rng.uniform(-limit, limit, (inputs, outputs)), rng.uniform(-limit, limit, outputs)
    return Affine(kernel.astype(np.float32), bias.astype(np.float32))

"""Penalties on how much information a layer carries about the batch."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..penalty import Array, Example, Params
from ..variances import OfVariances

__all__ = ["BatchEntropy"]

PI_E = math.pi * math.e


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchEntropy(OfVariances):
    """`beta * (mean(log(pi * e * var(x) + 1) / 2) - max(alpha_min, abs(alpha)))**2`: layer batch entropy, LBE.

    The variance of each unit is taken over the batch, divided by n - `correction`, and the mean over the units is the
    entropy H that the layer keeps about the batch, in nats; `alpha` is the entropy it should keep, learned with the
    model. Deep plain networks become trainable, because no layer may lose the batch. As published the mean over layers
    multiplies the task loss, so the penalty is `coupled`: give each of L layers the weight 1/L, and wrap it in `added`
    for the additive form.

    Every axis that is not in `batch_axis` counts units; `batch_axis=(0, 1)` takes all tokens of (batch, time, feature)
    as samples. A mask covers leading batch axes. The derivative by x is
    2 beta (H - t) pi e (x - mean) / ((n - correction) units (1 + pi e var)), so units of zero variance have gradient 0;
    by alpha it is -2 beta (H - t) sign(alpha), and 0 where |alpha| <= alpha_min, the tie included. `alpha_min` is
    rounded to float32, as alpha is. Unchanged by: order of samples, order of units, sign of x, a constant, a constant
    for each unit.

    Raises ValueError for n <= `correction`, where no variance exists; NaN if n is known only at run time.

    Source: D. Peer, B. Keulen, S. Stabinger, J. Piater, A. Rodriguez-Sanchez, "Improving the trainability of deep
    neural networks through layerwise batch-entropy regularization", TMLR (2022), arXiv:2208.01134. The authors' code
    has correction=1, and beta 0.5 and alpha 0.5 unless told otherwise; the TensorFlow port has correction=0.

    >>> x = np.asarray([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]])  # the first unit is dead
    >>> penalty = BatchEntropy(alpha=0.0, alpha_min=0.0, beta=1.0)
    >>> round(float(penalty(x, penalty.init())) ** 0.5, 4)
    0.6809
    """

    coupled: ClassVar[bool] = True

    alpha: float = 0.5
    alpha_min: float = 0.2
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha_min >= 0.0:
            raise ValueError(f"alpha_min={self.alpha_min}; the least entropy to keep is not negative")

    def init(self) -> dict[str, np.ndarray]:
        return {"alpha": np.asarray(self.alpha, dtype=np.float32)}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"alpha": ()}

    def of_unit(self, xp: Any, variance: Array) -> tuple[Array, Array]:
        return 0.5 * xp.log1p(PI_E * variance), (0.5 * PI_E) / (1.0 + PI_E * variance)

    def of_mean(self, xp: Any, mean: Array, params: Params) -> tuple[Array, Array, dict[str, Array]]:
        alpha = params["alpha"]
        size, one = xp.abs(alpha), xp.ones_like(alpha)
        excess = mean - xp.where(size <= self._floor, self._floor * one, size)
        slope = (2.0 * self.beta) * excess
        sign = xp.where(size <= self._floor, 0.0 * one, xp.where(alpha < 0, -one, one))
        return self.beta * (excess * excess), slope, {"alpha": -slope * sign}

    @property
    def _floor(self) -> float:
        return float(np.float32(self.alpha_min))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(alpha=1.5, alpha_min=0.3, beta=1.0, correction=0), (6, 2))
        yield Example(cls(alpha=0.25, alpha_min=0.25), (5, 2))
        yield Example(cls(alpha=-0.75), (4, 2, 3))
        yield Example(cls(batch_axis=(0, 1)), (2, 4, 3), mask_ndim=2)
        yield Example(cls(), (5, 3), mask_ndim=1)
        yield Example(cls(batch_axis=-1), (3, 5))

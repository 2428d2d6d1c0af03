"""A penalty on how many bits a batch takes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..counting import count, kept
from ..moments import BatchStatistic, centre, check_mask, units_back, units_last
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..singular import decompose, filtered, tall

__all__ = ["CodingRate"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodingRate(BatchStatistic):
    """`-log(det(I + x.T @ x * units / (n * eps**2))) / 2`: minus the rate, in nats, that codes the samples up to eps.

    Minimising it spreads the n samples over all directions. R of maximal coding rate reduction (MCR^2), whose loss is
    this of all samples, minus the share of each class times this of its samples. It falls without bound as x grows, so
    samples must be normalised to unit length first, as published. They are not centred unless `centre=True`, which
    makes it a smooth joint version of `BatchEntropy`.

    Every axis that is not in `batch_axis` counts units, of which there are d; a mask covers leading batch axes. With
    the singular values s of x and a = d/(n eps**2) it is -sum(log(1 + a s**2))/2, and the derivative is
    -a x (I + a x.T x)^-1. The authors' code takes eps**2 for its eps: their 0.5 is eps=0.7071 here. Cost: one singular
    value decomposition, of the samples, or of their (d, d) second moments over several replicas, where an offset costs
    twice the digits, unless centred. Second derivatives are wrong or NaN at equal singular values. Unchanged by: sign
    of each row, rotation of units, rotation of samples. If centred, order of samples, rotation of units and a constant
    for each unit leave it unchanged.

    Raises ValueError for eps <= 0 and units of unknown size; NaN where a mask lets no sample through.

    Source: Y. Yu, K. H. R. Chan, C. You, C. Song, Y. Ma, "Learning diverse and discriminative representations via the
    principle of maximal coding rate reduction", NeurIPS (2020), arXiv:2006.08558.

    >>> x = np.asarray([[1.0, 0.0], [0.0, 1.0]])  # a is 4: -log(1 + 4) for each of two directions, halved
    >>> round(float(CodingRate()(x)), 4), round(float(np.log(5)), 4)
    (-1.6094, 1.6094)
    """

    eps: float = 0.5
    centre: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps > 0.0:
            raise ValueError(f"eps={self.eps}; expected a distortion above 0, such as 0.5")

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        self.check_units(shape)

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        _, matrix, scale = self._samples(xp, x, mask, across)
        square, _, fault = _spectrum(xp, matrix, across)
        return -0.5 * xp.sum(xp.log1p(scale * square)) + fault

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        rows, matrix, scale = self._samples(xp, x, mask, across)
        square, v, fault = _spectrum(xp, matrix, across)
        grown = 1.0 + scale * square
        ratio = -across.size * scale / grown + (grown - grown)  # NaN where a square overflows
        if v.shape[0] == matrix.shape[1]:
            slope = filtered(xp, rows, ratio, v)
        else:
            slope = xp.reshape(xp.matrix_transpose(filtered(xp, tall(xp, matrix), ratio, v)), rows.shape)
        return kept(xp, units_back(xp, slope + fault, x, self.batch(x.shape)), mask), {}

    def _samples(self, xp: Any, x: Array, mask: Array, across: Any) -> "tuple[Array, Array, float | Array]":
        """Samples with their units last, the same as a matrix, and units/(n eps**2)."""
        batch = self.batch(x.shape)
        check_mask(self, batch, mask)
        n = across.sum(count(xp, x, batch, mask))
        rows = units_last(xp, centre(xp, x, batch, n, mask, across) if self.centre else kept(xp, x, mask), batch)
        units = rows.shape[-1]
        return rows, xp.reshape(rows, (-1, units)), (units / (self.eps * self.eps)) * (1.0 / n)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(eps=1.5), (4, 3), mask_ndim=1)
        yield Example(cls(centre=True, batch_axis=(0, 1)), (2, 4, 3), mask_ndim=2)
        yield Example(cls(batch_axis=-1), (2, 2, 3))
        yield Example(cls(), (1, 3))


def _spectrum(xp: Any, matrix: Array, across: Any) -> tuple[Array, Array, Array]:
    """Squared singular values, the right singular vectors of what is `tall`, and 0, or NaN if it is not finite."""
    if across.size == 1:
        s, v, fault = decompose(xp, tall(xp, matrix))
        return s * s, v, fault
    # Singular values of all replicas' samples are not known on one; those of the second moments are their squares.
    return decompose(xp, across.sum(xp.matmul(xp.matrix_transpose(matrix), matrix)))

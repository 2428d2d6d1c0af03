"""Penalties on two views of the same samples, such as the embeddings of two augmentations of each image."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from ..moments import BatchMoments, units_back, units_last
from ..penalty import Alone, Array, Example, Gradient, Params, Shape

__all__ = ["BarlowTwins"]

LEAST_EPS = 2.0**-126  # the smallest normal float32: below it one over the root of 0 + eps is not finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarlowTwins(BatchMoments):
    """`sum((1 - C[i, i])**2) + lambd * sum(C[i, j]**2 for i != j)`, C the correlations of `x` with `other`.

    Each unit of each view is centred over the batch and divided by sqrt(var + eps), and C[i, j] is the mean product of
    unit i of `x` and unit j of `other`: each unit should say the same of both views, and no two units the same. Use it
    to learn wide embeddings, of thousands of units, without labels and without negative pairs. Not for a batch of a few
    samples, where chance correlates everything.

    Shapes: `spec(x, other=other)`, both of the same shape; every axis that is not in `batch_axis` counts units. A mask
    covers leading batch axes. With the normalised views a and b, G = -2 (1 - C) on the diagonal and 2 lambd C beside
    it, and m = n - `correction`, the derivative by x is (b G^T - a rowsum(C * G)) / (m sqrt(var(x) + eps)), and that by
    other is (a G - b colsum(C * G)) / (m sqrt(var(other) + eps)). A unit without variance has C = 0, so it costs 1, and
    its derivative is finite; one whose variance overflows gives NaN. From 0 up; it grows with the number of units.
    Memory: units * units numbers.
    Unchanged by: a constant for each unit. Exchanging the views, and reordering samples or units of both, changes
    nothing, either.

    Raises ValueError for a single sample (where n is known only at run time the value is the number of units), views of
    other shapes, units of unknown size, lambd < 0 and eps < 2**-126.

    Source: J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow twins: self-supervised learning via redundancy
    reduction", ICML (2021), arXiv:2103.03230, with lambd 5e-3; eps and correction are those of the batch normalisation
    in the authors' code. Other code has correction 1 in the deviation and not in the mean.

    >>> x, other = np.asarray([[1.0, 1.0], [-1.0, -1.0]]), np.asarray([[5.0, 0.0], [1.0, 4.0]])
    >>> round(float(BarlowTwins(eps=1e-12)(x, other=other)), 4)  # C = 1 -1 / 1 -1: (1 - -1)**2 + 0.005 (1 + 1)
    4.01
    """

    correction: Literal[0, 1] = 0
    lambd: float = 5e-3
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lambd >= 0.0:
            raise ValueError(f"lambd={self.lambd}; expected what correlations of unlike units cost, such as 5e-3")
        if not self.eps >= LEAST_EPS:
            raise ValueError(
                f"eps={self.eps}; expected at least {LEAST_EPS:.2g}, so that a constant unit has a gradient"
            )

    def inputs(self) -> dict[str, str]:
        return {"other": "real floating"}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        self.check_units(shape)
        other = inputs["other"]
        if len(shape) != len(other) or any(len({*sizes} - {None}) > 1 for sizes in zip(shape, other, strict=True)):
            raise ValueError(
                f"{self} got x of shape {shape} and other of shape {other}; expected two views of one shape"
            )
        if all(shape[axis] == 1 for axis in self.batch(shape)):
            raise ValueError(f"{self} got shape {shape}, a single sample; correlations need two or more")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        a, b = (self._normalised(xp, view, mask, across) for view in (x, params["other"]))
        alike, unlike = _correlations(xp, a, b, across)
        lack = 1.0 - alike
        return xp.sum(lack * lack) + self.lambd * xp.sum(unlike * unlike)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        a, b = (self._normalised(xp, view, mask, across) for view in (x, params["other"]))
        alike, unlike = _correlations(xp, a, b, across)
        by_alike, by_unlike = -2.0 * (1.0 - alike), (2.0 * self.lambd) * unlike
        own, cross = alike * by_alike, unlike * by_unlike
        by_a = xp.matmul(b.units, xp.matrix_transpose(by_unlike)) + b.units * by_alike
        by_a = by_a - a.units * (own + xp.sum(cross, axis=1))
        by_b = xp.matmul(a.units, by_unlike) + a.units * by_alike - b.units * (own + xp.sum(cross, axis=0))
        batch = self.batch(x.shape)
        dx, dother = (
            units_back(xp, d, x, batch) * (view.per_deviation * view.per_sample * across.size)
            for d, view in ((by_a, a), (by_b, b))
        )
        return dx, {"other": dother}

    def _normalised(self, xp: Any, x: Array, mask: Array, across: Any) -> "View":
        centred, variance, per_sample = self.moments(xp, x, mask, across)
        root = 1.0 / xp.sqrt(variance + self.eps)
        one, none = xp.ones_like(root), xp.zeros_like(root)
        fault = xp.where(root == 0, math.nan * one, none)  # a variance that overflows is no constant unit
        per_deviation = root + fault
        return View(units_last(xp, centred * per_deviation, self.batch(x.shape)), per_deviation, per_sample)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3), inputs={"other": (4, 3)})
        yield Example(cls(lambd=0.5, eps=0.25, correction=1), (3, 2), inputs={"other": (3, 2)})
        yield Example(cls(lambd=0.5), (5, 2), mask_ndim=1, inputs={"other": (5, 2)})
        yield Example(cls(lambd=1.0, batch_axis=(0, -1)), (2, 2, 2), inputs={"other": (2, 2, 2)})
        yield Example(cls(lambd=0.0), (2, 1), inputs={"other": (2, 1)})


class View(NamedTuple):
    units: Array  # normalised, 0 where a mask hides them, with units along the last axis
    per_deviation: Array
    per_sample: "float | Array"


def _correlations(xp: Any, a: View, b: View, across: Any) -> tuple[Array, Array]:
    """Those of each unit with itself in the other view, and those of unlike units, 0 on the diagonal."""
    units = a.units.shape[-1]
    left, right = (xp.reshape(view.units, (-1, units)) for view in (a, b))
    alike = across.sum(xp.sum(left * right, axis=0)) * a.per_sample
    products = across.sum(xp.matmul(xp.matrix_transpose(left), right))
    below = xp.matrix_transpose(xp.triu(xp.matrix_transpose(products), k=1))
    return alike, (xp.triu(products, k=1) + below) * a.per_sample

"""Penalties on the features of a sparse autoencoder, weighted by what they write."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from ..counting import count, expand, kept, positive_axis, reciprocal
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape
from ..vectors import directions

__all__ = ["DecoderWeightedL1"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderWeightedL1(Penalty):
    """`mean(sum(abs(x) * norm(decoder), axis=-1))`: L1 of features, each weighted by the norm of its decoder vector.

    What a feature writes is its activation times its decoder vector; so a sparse autoencoder cannot evade this penalty
    by small activations and large vectors, and needs no constraint on the norms. It sums over features and averages
    over samples, which are all the other axes. The derivative by x_i is sign(x_i) norm(d_i) / samples, 0 at 0, and by
    d_i the mean of |x_i| times d_i / norm(d_i), 0 for a zero vector. Not for decoders of fixed norm, where it is `L1`.
    Features may be scaled if their vectors are scaled inversely.

    Shapes: `spec(x, decoder=...)` for x (..., m), with at least one axis of samples, and decoder (m, d), a row for each
    feature: the transposed weight of a torch.nn.Linear. `feature_axis` is that of x. A mask covers leading axes of
    samples. Unchanged by: order of samples, signs of entries.

    Raises ValueError for other shapes and for a mask that covers the features.

    Source: T. Conerly, A. Templeton, T. Bricken, J. Marcus, T. Henighan, "Update on how we train SAEs", Circuits
    Updates, April 2024, Transformer Circuits Thread.

    >>> x, decoder = np.asarray([[1.0, 0.0], [0.0, -2.0]]), np.asarray([[3.0, 4.0], [0.0, 1.0]])
    >>> float(DecoderWeightedL1()(x, decoder=decoder))  # (1 * 5 + 2 * 1) / 2
    3.5
    """

    maskable: ClassVar[bool] = True

    feature_axis: int = -1
    reduction: Literal["mean", "sum"] = "mean"

    def inputs(self) -> dict[str, str]:
        return {"decoder": "real floating"}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        axis, decoder = positive_axis("feature_axis", self.feature_axis, len(shape)), inputs["decoder"]
        if len(shape) < 2 or len(decoder) != 2 or len({shape[axis], decoder[0]} - {None}) > 1:
            raise ValueError(
                f"{self} got x of shape {shape} and decoder of shape {decoder}; expected x (..., m) with at least one "
                "axis of samples and decoder (m, d): transpose the weight of a torch.nn.Linear"
            )

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        _, norms = _directions(xp, params["decoder"])
        return xp.sum(self._sizes(xp, x, mask) * norms)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        unit, norms = _directions(xp, params["decoder"])
        x = kept(xp, x, mask)
        slopes = expand(norms, len(x.shape) - self.feature_axis % len(x.shape)) * self._share(xp, x, mask)
        return kept(xp, sign(xp, x) * slopes, mask), {"decoder": self._sizes(xp, x, mask)[:, None] * unit}

    def _sizes(self, xp: Any, x: Array, mask: Array) -> Array:
        """The mean of each feature's size, or the sum."""
        sizes = xp.sum(kept(xp, sign(xp, x) * x, mask), axis=self._sample_axes(len(x.shape), mask))
        return sizes * self._share(xp, x, mask)

    def _share(self, xp: Any, x: Array, mask: Array) -> "float | Array":
        if self.reduction == "sum":
            return 1.0
        n = count(xp, x, self._sample_axes(len(x.shape), mask), mask)
        return 1.0 / n if mask is None else reciprocal(xp, n)

    def _sample_axes(self, ndim: int, mask: Array) -> tuple[int, ...]:
        feature = self.feature_axis % ndim
        if mask is not None and len(mask.shape) > feature:
            raise ValueError(f"{self} got a mask that covers the features; pass one over the axes before {feature}")
        return tuple(axis for axis in range(ndim) if axis != feature)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3), inputs={"decoder": (3, 2)})
        yield Example(
            cls(), (2, 3, 2), mask_ndim=2, inputs={"decoder": np.asarray([[0.0, 0.0], [3.0, 4.0]], np.float32)}
        )
        yield Example(cls(feature_axis=1), (2, 3, 2), mask_ndim=1, inputs={"decoder": (3, 2)})
        yield Example(cls(feature_axis=0, reduction="sum"), (3, 2), inputs={"decoder": (3, 1)})
        yield Example(cls(), (1, 1), inputs={"decoder": (1, 1)})


def _directions(xp: Any, decoder: Array) -> tuple[Array, Array]:
    """The directions of the rows, 0 for a zero row, and their lengths."""
    unit, _ = directions(xp, decoder)
    return unit, xp.sum(unit * decoder, axis=1)

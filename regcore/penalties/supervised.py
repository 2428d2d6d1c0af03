"""Penalties that need labels beside the activation."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..counting import kept
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..reduction import Reduced

__all__ = ["CenterLoss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CenterLoss(Reduced):
    """`mean(sum((x - centers[y])**2, axis=-1)) / 2`: samples of a class gather around its learned center.

    The learned `centers`, (classes, features), start at 0. The derivative by a sample is (x - centers[y])/n, and by a
    center minus the sum of these over its samples; n counts samples. The paper moves each center by its own rule,
    centers[j] -= alpha * sum(centers[j] - x)/(1 + n_j) over the n_j samples of class j, with alpha 0.5: for that,
    multiply the gradient of row j by n/(1 + n_j), and step with rate alpha. With `reduction="sum"`, as the paper has
    it, that factor is 1/(1 + n_j). Use it beside a classification loss, which keeps the centers apart; alone it is
    least where all samples and centers are one point. Published use: 3e-3 for the sum over a batch of 256.

    Shapes: `spec(x, params, labels=y)` for x (..., features), integers y (...), and a mask over axes of y, which may
    hide labels of any kind, such as a padding of -1. A label outside of 0 to classes - 1 that is not hidden gives NaN,
    as value, as gradient of its sample, and as gradient of all centers. Memory: samples * classes numbers. Scales as
    x**2 if centers follow. Unchanged by: nothing.

    Raises ValueError for `classes` or `features` below 1, for x and y of other shapes, a batch axis that is that of
    features, and a mask that covers features; TypeError for labels that are no integers.

    Source: Y. Wen, K. Zhang, Z. Li, Y. Qiao, "A discriminative feature learning approach for deep face recognition",
    ECCV (2016).

    >>> penalty = CenterLoss(classes=2, features=2)
    >>> x, centers = np.asarray([[3.0, 4.0], [1.0, 1.0]]), np.asarray([[1.0, 1.0], [0.0, 0.0]])
    >>> float(penalty(x, {"centers": centers}, labels=np.asarray([1, 0])))  # (25 + 0)/4
    6.25
    """

    maskable: ClassVar[bool] = True

    classes: int
    features: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.classes, self.features) < 1:
            raise ValueError(f"classes={self.classes}, features={self.features}; expected 1 or more of each")

    def init(self) -> dict[str, np.ndarray]:
        return {"centers": np.zeros((self.classes, self.features), dtype=np.float32)}

    def inputs(self) -> dict[str, str]:
        return {"labels": "integral"}

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        labels = inputs["labels"]
        fits = len(shape) >= 2 and shape[-1] == self.features and len(labels) == len(shape) - 1
        if not fits or any(len({*sizes} - {None}) > 1 for sizes in zip(shape, labels, strict=False)):
            raise ValueError(
                f"{self} got x of shape {shape} and labels of shape {labels}; expected x (..., {self.features}), with "
                "at least one axis before features, and a label for each vector"
            )
        if self.reduction == "batch_mean" and self.batch_axis % len(shape) == len(shape) - 1:
            raise ValueError(f"{self} has the feature axis as batch axis; name another: batch_axis=...")

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        away, _, share = self._away(xp, x, params, mask)
        return xp.sum(away * away) * (0.5 * share)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        away, chosen, share = self._away(xp, x, params, mask)
        dx = away * share
        chosen, rows = xp.reshape(chosen, (-1, self.classes)), xp.reshape(dx, (-1, self.features))
        return dx, {"centers": -xp.matmul(xp.matrix_transpose(chosen), rows)}

    def _away(self, xp: Any, x: Array, params: Params, mask: Array) -> "tuple[Array, Array, float | Array]":
        """Each sample minus its center, 0 where masked; which center that is, one-hot; what each sample counts for."""
        if mask is not None and len(mask.shape) == len(x.shape):
            raise ValueError(
                f"{self} got a mask with {len(mask.shape)} axes, which covers features; it hides whole samples: "
                "pass one over axes of the labels"
            )
        centers = params["centers"]
        first = xp.astype(xp.ones_like(centers[:, 0]), xp.int32)
        index = xp.astype(xp.cumulative_sum(first, axis=0) - 1, x.dtype)
        chosen = xp.astype(xp.astype(params["labels"], x.dtype)[..., None] == index, x.dtype)
        unknown = xp.max(chosen, axis=-1, keepdims=True) == 0
        away = xp.where(unknown, math.nan * xp.ones_like(x), x - xp.matmul(chosen, centers))
        return kept(xp, away, mask), chosen, self.share(xp, x, mask, x[..., :1], mask)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        labels = np.asarray([0, 2, 2, 1, 0], dtype=np.int32)
        yield Example(cls(classes=3, features=2), (5, 2), inputs={"labels": labels})
        yield Example(cls(classes=3, features=2), (5, 2), mask_ndim=1, inputs={"labels": labels, "centers": (3, 2)})
        yield Example(
            cls(classes=4, features=3, reduction="batch_mean"),
            (4, 2, 3),
            mask_ndim=2,
            inputs={"labels": np.asarray([[3, 0], [0, 0], [1, 1], [0, 3]], dtype=np.int32), "centers": (4, 3)},
        )
        yield Example(
            cls(classes=2, features=3, reduction="sum"), (4, 3), inputs={"labels": labels[:4] // 2, "centers": (2, 3)}
        )
        yield Example(cls(classes=1, features=1), (1, 1), inputs={"labels": labels[:1]})

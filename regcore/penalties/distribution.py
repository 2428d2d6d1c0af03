"""Penalties on logits, the inputs of a softmax over classes."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ..counting import kept, positive_axis
from ..logits import check_mask, softmax
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..reduction import Reduced

__all__ = ["ConfidencePenalty", "ZLoss"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfLogits(Reduced):
    """`mean(term(z))` over positions, which are all axes but `feature_axis`; a mask over leading axes hides some."""

    maskable: ClassVar[bool] = True

    feature_axis: int = -1

    @abc.abstractmethod
    def term(self, xp: Any, z: Array) -> Array:
        """The penalty of each position, with an axis of length one for features."""

    @abc.abstractmethod
    def slope(self, xp: Any, z: Array) -> Array:
        """The derivative of each position's `term` by its logits."""

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        feature = positive_axis("feature_axis", self.feature_axis, len(shape))
        if self.reduction == "batch_mean" and feature == self.batch_axis % len(shape):
            raise ValueError(
                f"{self} has axis {feature} for both features and batch; name the batch axis: batch_axis=..."
            )

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        check_mask(self, self.feature_axis, x, mask)
        terms = kept(xp, self.term(xp, x), mask)
        return xp.sum(terms) * self.share(xp, x, mask, terms, mask)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        check_mask(self, self.feature_axis, x, mask)
        share = self.share(xp, x, mask, xp.max(x, axis=self.feature_axis, keepdims=True), mask)
        return kept(xp, self.slope(xp, kept(xp, x, mask)), mask) * share, {}

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (3, 2, 3), mask_ndim=2)
        yield Example(cls(feature_axis=1, reduction="batch_mean"), (4, 3, 2), mask_ndim=1)
        yield Example(cls(feature_axis=0, reduction="sum"), (3, 2))
        yield Example(cls(), (2, 1))


class ZLoss(OfLogits):
    """`mean(log(sum(exp(z)))**2)` over positions: the z-loss, which keeps the normalizer of a softmax near 1.

    The derivative is 2 log(Z) softmax(z)/n, with Z = sum(exp(z)) and n positions. It fixes the free constant of the
    logits, so that they stay small enough for half precision. Use it on the logits of a large vocabulary or of a
    router; where only the softmax's sharpness matters use `ConfidencePenalty`. Published use: 1e-4 for a language
    model's logits, 1e-3 for a router's.

    Shapes: any; softmax over `feature_axis`, every other axis counts positions. A mask over leading axes, before the
    feature axis, leaves out padding. A logit of -inf is a class that is not there. Scales as the square of log(Z).
    Unchanged by: order of samples, order of units.

    Raises ValueError if `x` has no such axis, it is the batch axis of a batch mean, or the mask covers it.

    Source: B. Zoph et al., "ST-MoE: designing stable and transferable sparse expert models" (2022), arXiv:2202.08906,
    for routers; for vocabularies A. Chowdhery et al., "PaLM: scaling language modeling with pathways" (2022),
    arXiv:2204.02311.

    >>> round(float(ZLoss()(np.log(np.asarray([[1.0, 1.0], [2.0, 6.0]])))), 4)  # (log(2)**2 + log(8)**2)/2
    2.4023
    """

    def term(self, xp: Any, z: Array) -> Array:
        _, _, largest, log_total = softmax(xp, z, self.feature_axis)
        return (largest + log_total) * (largest + log_total)

    def slope(self, xp: Any, z: Array) -> Array:
        p, _, largest, log_total = softmax(xp, z, self.feature_axis)
        return 2.0 * (largest + log_total) * p


class ConfidencePenalty(OfLogits):
    """`mean(sum(p * log(p)))` for `p = softmax(z)`: minus the entropy, in nats, of what is predicted.

    The derivative is p (log(p) + H)/n, with H the entropy of the position and n positions; it fades as p becomes
    one-hot. From -log(classes), uniform, to 0, certain. A weight of 0.1 is a common start. Use it against
    overconfidence where labels are hard; label smoothing is the same with the divergence reversed. Not as a measure of
    calibration.

    Shapes: any; softmax over `feature_axis`, every other axis counts positions. A mask over leading axes, before the
    feature axis, leaves out padding. A logit of -inf is a class that is not there: p = 0 adds nothing, and has gradient
    0. Unchanged by: order of samples, order of units, a constant for each sample.

    Raises ValueError if `x` has no such axis, it is the batch axis of a batch mean, or the mask covers it.

    Source: G. Pereyra, G. Tucker, J. Chorowski, L. Kaiser, G. Hinton, "Regularizing neural networks by penalizing
    confident output distributions" (2017), arXiv:1701.06548.

    >>> round(float(ConfidencePenalty()(np.log(np.asarray([[1.0, 1.0], [1.0, 3.0]])))), 4)  # -(.6931 + .5623)/2
    -0.6277
    """

    def term(self, xp: Any, z: Array) -> Array:
        p, shifted, _, log_total = softmax(xp, z, self.feature_axis)
        return self._mean_shift(xp, p, shifted) - log_total

    def slope(self, xp: Any, z: Array) -> Array:
        p, shifted, _, _ = softmax(xp, z, self.feature_axis)
        away = shifted - self._mean_shift(xp, p, shifted)  # log(p) + H: log_total is in both, and goes
        return xp.where(p == 0, xp.zeros_like(p), p * away)

    def _mean_shift(self, xp: Any, p: Array, shifted: Array) -> Array:
        return xp.sum(xp.where(p == 0, xp.zeros_like(p), p * shifted), axis=self.feature_axis, keepdims=True)

"""Penalties on the logits of a router, which chooses experts for each token."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

from ..counting import count, kept, positive_axis, reciprocal
from ..logits import check_mask, softmax
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape

__all__ = ["LoadBalance"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadBalance(Penalty):
    """`experts * sum(f * P)`, f the fractions of choices and P the mean of softmax(z): no expert is left without work.

    A token chooses the `top_k` experts of its largest logits; f_i is the fraction of all choices that fall on expert i,
    and P_i the mean probability of expert i over the tokens. 1 if either is uniform, and the number of experts if one
    takes all. f is regarded as constant, so the derivative is experts/n p (f - sum(f * p)) for each of n tokens. Where
    logits are equal, those that tie for the last places of `top_k` share them evenly. f has jumps there, and nothing
    else happens: the derivative goes through P alone. Use it on the logits of a router, before any noise that is not
    part of the choice. Published use: 1e-2. In code where f sums to `top_k` the penalty is `top_k` times this one.

    Shapes: any; experts along `feature_axis`, every other axis counts tokens. A mask over leading axes, before the
    feature axis, leaves out padding; nothing left gives 0. It is a statistic of the batch: the mean over shards is not
    that of the whole. A logit of -inf is an expert that is not there. Unchanged by: order of samples, order of units,
    a constant for each sample.

    Raises ValueError if `x` has no such axis, its size is not known or below `top_k`, or the mask covers it.

    Source: W. Fedus, B. Zoph, N. Shazeer, "Switch transformers: scaling to trillion parameter models with simple and
    efficient sparsity", JMLR 23 (2022), arXiv:2101.03961, for top_k=1.

    >>> z = np.log(np.asarray([[1.0, 3.0], [1.0, 3.0], [3.0, 1.0], [1.0, 1.0]]))  # f = 3/8, 5/8; P = 7/16, 9/16
    >>> round(float(LoadBalance()(z)), 6)  # 2 (21 + 45)/128
    1.03125
    """

    additive: ClassVar[bool] = False
    maskable: ClassVar[bool] = True

    top_k: int = 1
    feature_axis: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}; a token chooses one expert or more")

    def check(self, shape: Shape, **inputs: Shape) -> None:
        experts = shape[positive_axis("feature_axis", self.feature_axis, len(shape))]
        if experts is None or experts < self.top_k:
            raise ValueError(
                f"{self} got shape {shape}, where feature_axis={self.feature_axis} has size {experts}; "
                f"expected a known number of experts, {self.top_k} or more"
            )

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        return self._value(xp, x, x, mask, across)

    def value_holding(self, xp: Any, x: Array, params: Params, held: Params, *, mask: Array = None) -> Array:
        return self._value(xp, x, held["x"], mask, Alone)

    def _value(self, xp: Any, x: Array, held: Array, mask: Array, across: Any) -> Array:
        p = softmax(xp, x, self.feature_axis).p
        return x.shape[self.feature_axis] * xp.sum(
            self._mean(xp, self._chosen(xp, held), mask, across) * self._mean(xp, p, mask, across)
        )

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        p = softmax(xp, kept(xp, x, mask), self.feature_axis).p
        f = self._mean(xp, self._chosen(xp, x), mask, across)
        slope = p * (f - xp.sum(f * p, axis=self.feature_axis, keepdims=True))
        share = self._per_token(xp, x, mask, across) * (x.shape[self.feature_axis] * across.size)
        return kept(xp, slope, mask) * share, {}

    def _chosen(self, xp: Any, z: Array) -> Array:
        """What part of its choices each token gives to each expert."""
        axis = self.feature_axis % len(z.shape)
        if self.top_k == 1:
            last = xp.max(z, axis=axis, keepdims=True)
        else:
            place = z.shape[axis] - self.top_k
            last = xp.sort(z, axis=axis)[(*(slice(None),) * axis, slice(place, place + 1), ...)]
        above, level = xp.astype(z > last, z.dtype), xp.astype(z == last, z.dtype)
        left = self.top_k - xp.sum(above, axis=axis, keepdims=True)
        return (above + level * (left / xp.sum(level, axis=axis, keepdims=True))) * (1.0 / self.top_k)

    def _mean(self, xp: Any, each: Array, mask: Array, across: Any) -> Array:
        """Over all tokens that count, with axes of length one for them."""
        tokens = self._tokens(each)
        total = across.sum(xp.sum(kept(xp, each, mask), axis=tuple(tokens), keepdims=True))
        return total * self._per_token(xp, each, mask, across)

    def _per_token(self, xp: Any, x: Array, mask: Array, across: Any) -> "float | Array":
        check_mask(self, self.feature_axis, x, mask)
        return reciprocal(xp, across.sum(count(xp, x, self._tokens(x), mask)))

    def _tokens(self, x: Array) -> list[int]:
        return [axis for axis in range(len(x.shape)) if axis != self.feature_axis % len(x.shape)]

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (4, 2, 3), mask_ndim=2)
        yield Example(cls(top_k=3), (3, 4))
        yield Example(cls(top_k=2), (2, 2, 3))
        yield Example(cls(top_k=2, feature_axis=1), (4, 3, 2), mask_ndim=1)
        yield Example(cls(), (1, 2))

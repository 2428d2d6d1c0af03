"""How the terms of a penalty become one number: their mean, their sum, or their sum for each sample of the batch."""

import dataclasses
from typing import Any, Literal

from .counting import count, positive_axis, reciprocal
from .penalty import Array, Penalty, Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reduced(Penalty):
    """A penalty that adds up terms, such as one for each entry, and divides by what `reduction` says.

    "mean" divides by the number of terms, so that neither the size of the batch nor that of the layer changes the
    strength; "batch_mean" divides by the number of samples, those of `batch_axis` of which a mask lets anything
    through; "sum" does not divide, and then it is the sum over shards that equals the whole.
    """

    reduction: Literal["mean", "sum", "batch_mean"] = "mean"
    batch_axis: int = 0

    def check(self, shape: Shape, **inputs: Shape) -> None:
        if self.reduction == "batch_mean":
            positive_axis("batch_axis", self.batch_axis, len(shape))

    def share(self, xp: Any, x: Array, mask: Array, terms: Array = None, terms_mask: Array = None) -> "float | Array":
        """What each term counts for: one over the divisor, and 0 where a mask lets nothing through.

        There is a term for each entry of `x`, unless there is one for each entry of `terms`, masked by `terms_mask`.
        """
        if self.reduction == "sum":
            return 1.0
        if self.reduction == "batch_mean":
            return _per_sample(xp, x, mask, self.batch_axis % len(x.shape))
        if terms is not None:
            return reciprocal(xp, count(xp, terms, range(len(terms.shape)), terms_mask))
        n = count(xp, x, range(len(x.shape)), mask)
        return 1.0 / n if mask is None else reciprocal(xp, n)


def _per_sample(xp: Any, x: Array, mask: Array, batch: int) -> "float | Array":
    if mask is None or len(mask.shape) <= batch:
        return 1.0 / count(xp, x, [batch])
    others = tuple(axis for axis in range(len(mask.shape)) if axis != batch)
    samples = xp.max(xp.astype(mask, xp.int32), axis=others) if others else xp.astype(mask, xp.int32)
    return reciprocal(xp, xp.astype(xp.sum(samples), x.dtype))

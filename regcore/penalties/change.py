"""Penalties on change along a time axis that let it jump, or only keep its size: beside `TAR`, which makes it slow."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..counting import kept, positive_axis
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Shape
from ..stepping import Stepped
from ..vectors import directions

__all__ = ["NormStabilizer", "TotalVariation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TotalVariation(Stepped):
    """`mean(abs(x[:, 1:] - x[:, :-1]))`: total variation, few changes along `time_axis`.

    The mean is over the differences; the anisotropic form. With D the differences, 0 beyond both ends, and n of them,
    the derivative is (sign(D_t) - sign(D_(t+1)))/n, where sign(0) is 0. Use it where a sequence should be piecewise
    constant: a jump costs its height, however fast it is. Where it should be smooth use `TAR`. For images add one for
    each of their axes: `TotalVariation(time_axis=-2) + TotalVariation(time_axis=-1)`, with names of their own.

    Shapes: any with a time axis; (batch, time, feature) by default. A mask over leading axes, which must include time,
    counts pairs of valid steps. Where nothing is left to compare (one time step, no valid pair) value and gradient are
    0. Scales as |x|. Unchanged by: order of samples, order of units, sign of each row, a constant for each unit, a
    constant for each sample, reversal of time.

    Raises ValueError if `x` has no such axis, the mask does not reach it, or it is the batch axis of a batch mean.

    Source: L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 60
    (1992), there isotropic, over the two axes of an image.

    >>> x = np.asarray([[[1.0], [2.0], [0.0]]])  # steps of 1 and -2
    >>> float(TotalVariation()(x)), float(TotalVariation(reduction="sum")(x))
    (1.5, 3.0)
    """

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        step, share = self.steps(xp, x, mask)
        return xp.sum(xp.abs(step)) * share

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        step, share = self.steps(xp, x, mask)
        return self.back(xp, sign(xp, step) * share, x), {}

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (2, 4, 3))
        yield Example(cls(), (4, 3, 2), mask_ndim=2)
        yield Example(cls(time_axis=0, reduction="batch_mean", batch_axis=1), (5, 2, 2), mask_ndim=1)
        yield Example(cls(time_axis=-1, reduction="sum"), (3, 4))
        yield Example(cls(), (2, 1, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormStabilizer(Stepped):
    """`mean((norm(h[:, 1:]) - norm(h[:, :-1]))**2)`, norms over `feature_axis`: the size of a state stays what it is.

    The mean is over the differences of norms along `time_axis`. With D the differences, 0 beyond both ends, n of them,
    and the unit vector u_t = h_t/norm(h_t), the derivative is (2/n) (D_t - D_(t+1)) u_t; at a zero vector, where the
    norm has a kink, it is 0. Use it on the hidden states of recurrent networks without a bound of their own, such as
    ReLU ones; unlike `TAR` it lets states turn freely. Not where a state should fade or grow, as in a memory cell.

    Shapes: any with a time and a feature axis; (batch, time, feature) by default. A mask over leading axes, which must
    include time and not features, counts pairs of valid steps. Where nothing is left to compare (one time step, no
    valid pair) value and gradient are 0. The paper divides by T and compares the first of T states with the one before
    it, which is not in `h` unless you prepend it. Scales as h**2. Unchanged by: order of samples, signs of entries,
    reversal of time, rotation of units.

    Raises ValueError if `x` has no such axes, two of them are the same, or the mask does not fit them.

    Source: D. Krueger, R. Memisevic, "Regularizing RNNs by stabilizing activations", ICLR (2016), arXiv:1511.08400.

    >>> h = np.asarray([[[3.0, 4.0], [0.0, 5.0], [0.0, 8.0]]])  # of size 5, 5 and 8
    >>> float(NormStabilizer()(h))
    4.5
    """

    feature_axis: int = -1

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        feature = positive_axis("feature_axis", self.feature_axis, len(shape))
        taken = [self.time_axis % len(shape)]
        if self.reduction == "batch_mean":
            taken.append(self.batch_axis % len(shape))
        if feature in taken:
            raise ValueError(
                f"{self} got shape {shape}, where axis {feature} is that of features and of time or batch; name axes "
                "of their own: feature_axis=..., time_axis=..., batch_axis=..."
            )

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        norm, _ = self._norms(xp, x, mask)
        step, share = self.steps(xp, norm, mask)
        return xp.sum(step * step) * share

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        norm, unit = self._norms(xp, kept(xp, x, mask), mask)  # what is hidden may be NaN
        step, share = self.steps(xp, norm, mask)
        return self.back(xp, 2.0 * step * share, norm) * unit, {}

    def _norms(self, xp: Any, x: Array, mask: Array) -> tuple[Array, Array]:
        """Norms, with an axis of length one for features, and unit vectors; both 0 for a zero vector."""
        axis = self.feature_axis % len(x.shape)
        if mask is not None and len(mask.shape) > axis:
            raise ValueError(
                f"{self} got a mask with {len(mask.shape)} axes, which covers the feature axis {axis}; it hides whole "
                "steps: pass one over the axes before, with time among them"
            )
        swap = [{1: axis, axis: 1}.get(each, each) for each in range(len(x.shape))]
        unit, _ = directions(xp, xp.permute_dims(x, tuple(swap)))
        unit = xp.permute_dims(unit, tuple(swap))
        return xp.sum(x * unit, axis=axis, keepdims=True), unit

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (2, 3, 3))
        yield Example(cls(), (4, 3, 2), mask_ndim=2)
        yield Example(cls(time_axis=0, reduction="batch_mean", batch_axis=1), (3, 2, 2))
        yield Example(cls(time_axis=0, feature_axis=1, reduction="sum"), (2, 3))
        yield Example(cls(time_axis=2, feature_axis=1, reduction="batch_mean"), (2, 2, 3))
        yield Example(cls(), (2, 1, 3))

"""Penalties that make whole vectors, or the entries of a vector relative to each other, sparse."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from ..counting import count, kept, positive_axis
from ..kinks import sign
from ..penalty import Alone, Array, Example, Gradient, Params, Penalty, Shape
from ..reduction import Reduced

__all__ = ["GroupLasso", "HoyerSquare"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HoyerSquare(Reduced):
    """`mean(sum(abs(x))**2 / sum(x**2))`: the Hoyer-square measure, from 1 to n for a vector of n entries.

    It is the number of entries that are not zero if they are equal, and has no scale: what is large grows, what is
    small goes to 0. By default the whole array is one vector; `vector_axis`, one axis or several, counts vectors, the
    other axes are their entries, and `reduction` says whether their measures are averaged. With S = sum |x| and
    Q = sum x**2 the derivative is (2 S/Q) (sign(x) - (S/Q) x) for each vector, 0 for entries that are 0. A zero vector
    has value 0, the number of its entries that are not zero (there is no limit), and gradient 0.

    Use it on weights, and on activations of which a few should dominate; not near zero vectors, where the derivative
    grows as 1/|x|. A mask over leading axes hides entries, or vectors if `vector_axis` is given.
    Unchanged by: order of entries, signs of entries, scale of x.

    Raises ValueError for axes that do not exist, or that leave a single entry to a vector, and for a mask beyond them.

    Source: P. O. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5 (2004), for the ratio;
    H. Yang, W. Wen, H. Li, "DeepHoyer", ICLR (2020), arXiv:1908.09979, for its square, a sum over layers.

    >>> float(HoyerSquare()(np.asarray([3.0, -4.0, 0.0]))), float(HoyerSquare()(np.asarray([0.0, 0.0, 7.0])))
    (1.96, 1.0)
    """

    additive: ClassVar[bool] = False
    maskable: ClassVar[bool] = True

    vector_axis: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vector_axis is None and self.reduction == "batch_mean":
            raise ValueError(
                f"{self} is one number for the whole array; name the axes that count vectors: vector_axis=0"
            )

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        self._entry_axes(len(shape))

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        _, _, total, square = self._parts(xp, x, mask, across)
        ratios = total * total / square
        return xp.sum(ratios) * self._share(xp, x, mask, ratios)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        scaled, scale, total, square = self._parts(xp, x, mask, across)
        ratio = total / square
        by_entry = (sign(xp, scaled) - ratio * scaled) * (2.0 * ratio / scale)
        share = self._share(xp, x, mask, ratio) * (across.size if self.vector_axis is None else 1)
        return kept(xp, by_entry * share, mask), {}

    def _parts(self, xp: Any, x: Array, mask: Array, across: Any) -> tuple[Array, Array, Array, Array]:
        """Vectors over their largest entries, these entries, and the sums of sizes and of squares of the former."""
        axes = self._entry_axes(len(x.shape))
        if self.vector_axis is not None:
            _check_mask(self, axes, mask)
            across = Alone  # each vector is whole
        scaled, scale, zero = _scaled(xp, kept(xp, x, mask), axes, across)
        sizes = sign(xp, scaled) * scaled  # and not abs, whose derivative at 0 is 1 in JAX
        total = across.sum(xp.sum(sizes, axis=axes, keepdims=True))
        square = across.sum(xp.sum(scaled * scaled, axis=axes, keepdims=True))
        return scaled, scale, total, xp.where(zero, xp.ones_like(square), square)

    def _share(self, xp: Any, x: Array, mask: Array, terms: Array) -> "float | Array":
        return 1.0 if self.vector_axis is None else _share(self, xp, x, mask, terms)

    def _entry_axes(self, ndim: int) -> tuple[int, ...]:
        if self.vector_axis is None:
            return tuple(range(ndim))
        return _entry_axes(self, "vector_axis", self.vector_axis, ndim)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(), (2, 3, 2), mask_ndim=2)
        yield Example(cls(vector_axis=0), (4, 3), mask_ndim=1)
        yield Example(cls(vector_axis=(0, -1), reduction="batch_mean"), (2, 3, 2))
        yield Example(cls(), (1, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupLasso(Reduced):
    """`mean(sqrt(group_size) * norm(x_g))`: the group lasso, groups of entries that are zero together.

    `group_axis`, one axis or several, counts the groups, the other axes are their entries: the rows of a matrix by
    default, and with `group_axis=-1` the columns, which are the inputs of a torch.nn.Linear. The root of the number of
    entries makes groups of different arrays comparable. The derivative is sqrt(group_size) x_g / norm(x_g) / groups,
    and 0 for a zero group. As published groups are summed: `reduction="sum"`. Use it to prune units, channels or
    heads; not for single entries, where it is `L1`. A mask over leading axes, all of them axes of groups, hides groups.
    Scales as |x|.
    Unchanged by: order of samples, signs of entries, rotation of units.

    Raises ValueError for axes that do not exist, or that leave no axis to the entries, and for a mask beyond them.

    Source: M. Yuan, Y. Lin, "Model selection and estimation in regression with grouped variables", J. R. Stat. Soc. B
    68 (2006).

    >>> round(float(GroupLasso()(np.asarray([[3.0, -4.0], [0.0, 0.0]]))), 4)  # (sqrt(2) * 5 + 0) / 2
    3.5355
    """

    maskable: ClassVar[bool] = True

    group_axis: int | tuple[int, ...] = 0

    def check(self, shape: Shape, **inputs: Shape) -> None:
        super().check(shape, **inputs)
        _entry_axes(self, "group_axis", self.group_axis, len(shape))

    def value(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Array:
        _, length, scale, root = self._parts(xp, x, mask)
        return root * xp.sum(scale * length) * _share(self, xp, x, mask, length)

    def grad(self, xp: Any, x: Array, params: Params, *, mask: Array = None, across: Any = Alone) -> Gradient:
        unit, length, _, root = self._parts(xp, x, mask)
        return kept(xp, unit * (root * _share(self, xp, x, mask, length)), mask), {}

    def _parts(self, xp: Any, x: Array, mask: Array) -> "tuple[Array, Array, Array, float | Array]":
        """Directions of the groups; their lengths over their largest entries; these; the root of the group size."""
        axes = _entry_axes(self, "group_axis", self.group_axis, len(x.shape))
        _check_mask(self, axes, mask)
        size = count(xp, x, axes)
        root = math.sqrt(size) if isinstance(size, int) else xp.sqrt(size)
        return *_directions(xp, kept(xp, x, mask), axes), root

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(group_axis=-1, reduction="sum"), (3, 4))
        yield Example(cls(group_axis=(0, 1)), (2, 4, 3), mask_ndim=2)
        yield Example(cls(group_axis=(0, 2), reduction="batch_mean"), (3, 2, 2), mask_ndim=1)
        yield Example(cls(), (1, 1))


def _entry_axes(spec: Penalty, field: str, counting: "int | tuple[int, ...]", ndim: int) -> tuple[int, ...]:
    """The axes that are not in `counting`."""
    given = counting if isinstance(counting, tuple) else (counting,)
    counted = {positive_axis(field, axis, ndim) for axis in given}
    axes = tuple(axis for axis in range(ndim) if axis not in counted)
    if not axes or len(counted) < len(given):
        raise ValueError(
            f"{spec} got an array with {ndim} axes; {field} names distinct axes and leaves one for entries"
        )
    return axes


def _check_mask(spec: Penalty, entry_axes: tuple[int, ...], mask: Array) -> None:
    if mask is not None and entry_axes[0] < len(mask.shape):
        raise ValueError(
            f"{spec} got a mask with {len(mask.shape)} axes, and axis {entry_axes[0]} is of entries; it hides whole "
            "vectors: pass one over the axes before"
        )


def _share(spec: Reduced, xp: Any, x: Array, mask: Array, terms: Array) -> "float | Array":
    """What each vector counts for."""
    if mask is None and spec.reduction == "mean":
        return 1.0 / count(xp, terms, range(len(terms.shape)))  # inf for none, and 0 * inf is NaN
    return spec.share(xp, x, mask, terms, mask)


def _scaled(xp: Any, x: Array, axes: tuple[int, ...], across: Any) -> tuple[Array, Array, Array]:
    """Vectors over their largest entries, so no square overflows; these, 1 for a zero vector; where it is zero."""
    largest = across.max(xp.max(xp.abs(x), axis=axes, keepdims=True))
    zero = largest == 0
    scale = xp.where(zero, xp.ones_like(largest), largest)
    return x / scale, scale, zero


def _directions(xp: Any, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Unit vectors; their lengths over their largest entries; these entries. Of a zero vector the first two are 0."""
    scaled, scale, zero = _scaled(xp, x, axes, Alone)
    square = xp.sum(scaled * scaled, axis=axes, keepdims=True)
    length = xp.sqrt(xp.where(zero, xp.ones_like(square), square))
    return scaled / length, xp.where(zero, xp.zeros_like(length), length), scale

"""Penalties that stand in for the number of entries that are not zero, and have a slope."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from ..kinks import sign
from ..penalty import Array, Example
from .magnitude import Elementwise

__all__ = ["LogSum", "Lp", "SmoothedL0", "TanhL0"]

SMALLEST = 2.0**-126  # normal number of float32; with less, 1/number may be inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lp(Elementwise):
    """`mean((x**2 + eps)**(p / 2))`: the p-th power of |x|, smooth at 0.

    For p < 1 closer to counting than |x| is, and `eps` keeps the slope finite: it is 0 at 0, greatest near sqrt(eps),
    and small for large entries, which hardly shrink. For p > 1 it is bridge regression. A zero entry costs
    eps**(p / 2). The derivative is p (x**2 + eps)**(p / 2 - 1) x / n. Use it, with eps falling during training, where
    |x| shrinks too much; not from a cold start, since for p < 1 it has many local minima.
    Shapes: any. A mask covers leading axes. Scales as |x|**p, and eps as x**2.
    Unchanged by: order of entries, signs of entries.

    Raises ValueError for p or eps that are not positive; eps must be a normal float32.

    Source: R. Chartrand, W. Yin, "Iteratively reweighted algorithms for compressive sensing", ICASSP (2008).

    >>> float(Lp(p=1.0, eps=9.0)(np.asarray([4.0, -4.0, 0.0, 0.0])))  # (5 + 5 + 3 + 3) / 4
    4.0
    """

    p: float = 0.5
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("p", self.p)
        _check_positive("eps", self.eps)

    def phi(self, xp: Any, x: Array) -> Array:
        return (x * x + self.eps) ** (0.5 * self.p)

    def slope(self, xp: Any, x: Array) -> Array:
        return self.p * self.phi(xp, x) * (x / (x * x + self.eps))  # inf * 0 is NaN where x * x overflows

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(p=1.0, eps=0.25), (2, 3, 2), mask_ndim=2)
        yield Example(cls(p=3.0, reduction="sum"), (3, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSum(Elementwise):
    """`mean(log(1 + abs(x) / eps))`: the log-sum penalty, whose slope fades as the entry grows.

    It is log(|x| + eps) less its value at 0, so a zero entry costs nothing. Its majorizer at the present x is L1 with
    weights 1/(|x| + eps), so it is reweighted L1. The derivative is sign(x) / (|x| + eps) / n, and 0 at 0. Use it where
    |x| shrinks large entries too much; not with an `eps` far below them, where small entries are trapped at 0.
    Shapes: any. A mask covers leading axes. Depends on x/eps only. Unchanged by: order of entries, signs of entries.

    Raises ValueError for an `eps` that is not positive; it must be a normal float32.

    Source: E. J. Candes, M. B. Wakin, S. P. Boyd, "Enhancing sparsity by reweighted l1 minimization", J. Fourier Anal.
    Appl. 14 (2008), arXiv:0711.1612.

    >>> float(LogSum(eps=1.0)(np.asarray([3.0, -1.0, 0.0, 0.0]))) / math.log(2.0)  # (2 + 1) / 4 bits
    0.75
    """

    eps: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("eps", self.eps)

    def phi(self, xp: Any, x: Array) -> Array:
        return xp.log1p(xp.abs(x) * (1.0 / self.eps))

    def slope(self, xp: Any, x: Array) -> Array:
        return sign(xp, x) / (xp.abs(x) + self.eps)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(eps=2.0), (2, 3, 2), mask_ndim=2)
        yield Example(cls(eps=1e-3, reduction="sum"), (3, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TanhL0(Elementwise):
    """`mean(tanh(scale * abs(x)))`: the share of entries that are not zero, for entries well above 1/scale.

    Like `scale * L1` for small entries and constant for large ones, which it does not shrink. The derivative is
    scale sign(x) / cosh(scale x)**2 / n, and 0 at 0; it is computed from exp(-2 scale |x|), because 1 - tanh**2 has no
    digits left in the tails. Use it on the features of sparse autoencoders; not where large entries need a slope: they
    get none, and features that are on too often stay on. Shapes: any. A mask covers leading axes. Between 0 and 1.
    Unchanged by: order of entries, signs of entries.

    Raises ValueError for a `scale` that is not positive.

    Source: A. Jermyn, A. Templeton, J. Batson, T. Bricken, "Tanh penalty in dictionary learning", Circuits Updates,
    February 2024, Transformer Circuits Thread; with a scale in "Dictionary learning optimization techniques", Circuits
    Updates, January 2025.

    >>> float(TanhL0()(np.asarray([30.0, 0.0, -50.0, 0.0])))
    0.5
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("scale", self.scale)

    def phi(self, xp: Any, x: Array) -> Array:
        return xp.tanh(self.scale * xp.abs(x))

    def slope(self, xp: Any, x: Array) -> Array:
        decay = xp.exp((-2.0 * self.scale) * xp.abs(x))
        cosh = 1.0 + decay  # times exp(scale |x|) / 2
        return (4.0 * self.scale) * sign(xp, x) * (decay / (cosh * cosh))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(scale=4.0), (2, 3, 2), mask_ndim=2)
        yield Example(cls(scale=0.25, reduction="sum"), (3, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothedL0(Elementwise):
    """`mean(1 - exp(-x**2 / (2 * sigma**2)))`: the smoothed l0 norm, SL0, as a share of the entries.

    It counts entries well above `sigma`, is x**2 / (2 sigma**2) well below, and has no kink. The derivative is
    x exp(-x**2 / (2 sigma**2)) / sigma**2 / n. Use it with sigma falling during training, as published; not with a
    small one from the start, because entries beyond a few sigma have no slope. Shapes: any. A mask covers leading axes.
    Between 0 and 1; depends on x/sigma only. Unchanged by: order of entries, signs of entries.

    Raises ValueError for a `sigma` that is not positive; it must be a normal float32.

    Source: H. Mohimani, M. Babaie-Zadeh, C. Jutten, "A fast approach for overcomplete sparse decomposition based on
    smoothed l0 norm", IEEE Trans. Signal Process. 57 (2009), arXiv:0809.2508.

    >>> float(SmoothedL0(sigma=0.25)(np.asarray([30.0, 0.0, -50.0, 0.0])))
    0.5
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive("sigma", self.sigma)

    def phi(self, xp: Any, x: Array) -> Array:
        ratio = x * (1.0 / self.sigma)
        half = xp.tanh(0.25 * (ratio * ratio))  # and not expm1, which is exp - 1 under torch.compile
        return 2.0 * half / (1.0 + half)

    def slope(self, xp: Any, x: Array) -> Array:
        ratio = x * (1.0 / self.sigma)
        return (1.0 / self.sigma) * ratio * xp.exp(-0.5 * (ratio * ratio))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), (4, 3))
        yield Example(cls(sigma=0.25), (2, 3, 2), mask_ndim=2)
        yield Example(cls(sigma=4.0, reduction="sum"), (3, 2))


def _check_positive(field: str, number: float) -> None:
    if not SMALLEST <= number < math.inf:
        raise ValueError(f"{field}={number}; it is positive, and at least {SMALLEST:.3g} so that float32 has it")

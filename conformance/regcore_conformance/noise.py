"""How large rounding errors of a formula can be: the formula itself, run with a random error after every operation."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from .svd import SVD, svd

SIZE = 2.0**-36  # of one random relative error: far above the rounding of long double, far below the data
SMALLER = 2.0**-44  # of others, which tell a jump from a slope: it does not shrink with them
ROUGH = 2.0**-24  # of those of float32 itself: larger ones may throw a result where small ones only push it
STEEP = 2.0**-12  # deviation relative to the largest number of a result from which on it may be a jump
SAMPLES = 48
FEW = 16  # samples that tell whether anything is thrown
SEED = 20261122
EXACT = {"negative", "absolute", "maximum", "minimum", "sign", "copysign"}  # every other function rounds


class _Noisy(np.ndarray):
    """Long double whose operations, and each term of whose sums, are off by a relative error of either sign."""

    rng: np.random.Generator | None = None
    factors = np.ones(2, dtype=np.longdouble)
    longest = 1  # sum so far, in terms

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul:
            a, b = inputs
            return (a[..., :, :, None] * b[..., None, :, :]).sum(axis=-2)
        summing = ufunc is np.add and method == "reduce"
        plain = [_disturbed(i, self.rng) if summing else _plain(i) for i in inputs]
        result = np.asarray(getattr(ufunc, method)(*plain, **kwargs))
        if summing:
            _Noisy.longest = max(_Noisy.longest, plain[0].size // max(1, result.size))
        return _noisy(result if ufunc.__name__ in EXACT else _disturbed(result, self.rng))


class _Namespace:
    """NumPy, whose results are noisy and whose float dtypes are all long double."""

    float32 = float64 = np.longdouble
    int32 = np.int64

    @property
    def linalg(self) -> SimpleNamespace:
        return SimpleNamespace(svd=_svd)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(np, name)
        return lambda *args, **kwargs: _noisy(function(*args, **kwargs))


Formula = Callable[[Any, Callable[[Any], Any]], list[Any]]  # (xp, convert to its arrays) -> results


class Run(NamedTuple):
    """Results without noise, their noise scales (RMS deviation over `SIZE`), and the longest sum on the way.

    `jumps` is the deviation itself where it is that of a jump, as at a kink that rounding falls to either side of, and
    0 elsewhere. `rough` is the deviation by errors as large as those of float32 where it is far from proportional, as
    where two numbers differ by less than these, and 0 elsewhere.
    """

    results: list[np.ndarray]
    scales: list[np.ndarray]
    longest: int
    jumps: list[np.ndarray]
    rough: list[np.ndarray]


def run(formula: Formula) -> Run:
    """A formula as it is, and what noise does to it."""
    _Noisy.rng, _Noisy.longest = None, 1
    with np.errstate(all="ignore"):
        clean = [_plain(result) for result in formula(_Namespace(), _noisy)]
        large = _deviations(formula, clean, SIZE)
        longest, jumps = _Noisy.longest, [np.zeros_like(deviation) for deviation in large]
        if any((off > STEEP * abs(exact).max(initial=0.0)).any() for off, exact in zip(large, clean, strict=True)):
            small = _deviations(formula, clean, SMALLER)
            jumps = [np.where(off > before / 16, before, 0) for off, before in zip(small, large, strict=True)]
        thrown = _deviations(formula, clean, ROUGH, FEW)
    scales = [deviation / SIZE for deviation in large]
    rough = [np.where(off > 16 * ROUGH * scale, off, 0) for off, scale in zip(thrown, scales, strict=True)]
    return Run(clean, scales, longest, jumps, rough)


def _deviations(formula: Formula, clean: list[np.ndarray], size: float, samples: int = SAMPLES) -> list[np.ndarray]:
    """How far noise of this size moves results, RMS."""
    _Noisy.rng, _Noisy.factors = np.random.default_rng(SEED), 1 + np.longdouble(size) * np.asarray([-1, 1])
    squares = [np.zeros_like(result) for result in clean]
    for _ in range(samples):
        for square, result, exact in zip(squares, formula(_Namespace(), _noisy), clean, strict=True):
            square += (_plain(result) - exact) ** 2
    return [np.sqrt(square / samples) for square in squares]


def _svd(matrix: Any, *, full_matrices: bool) -> SVD:
    """What LAPACK promises: off by errors of the size of the whole, in the matrix, and in the vectors it gives."""
    matrix = _plain(matrix)
    U, S, Vh = svd(_off(matrix, np.sqrt((matrix * matrix).sum())), np.finfo(np.longdouble).eps)
    return SVD(_noisy(_off(U, 1)), _noisy(S), _noisy(_off(Vh, 1)))


def _off(array: np.ndarray, size: Any) -> np.ndarray:
    """With an error in each entry that is relative to this size, and not to the entry."""
    if _Noisy.rng is None:
        return array
    signs = _Noisy.rng.choice(np.asarray([-1, 1], dtype=np.longdouble), size=array.shape)
    return array + (_Noisy.factors[1] - 1) * signs * size


def _noisy(array: Any) -> Any:
    array = np.asarray(array)
    return (array.astype(np.longdouble) if array.dtype.kind == "f" else array).view(_Noisy)


def _plain(array: Any) -> np.ndarray:
    return np.asarray(array).view(np.ndarray)


def _disturbed(array: Any, rng: np.random.Generator | None) -> np.ndarray:
    array = _plain(array)
    if rng is None or array.dtype.kind != "f":
        return array
    return array * _Noisy.factors[rng.integers(2, size=array.shape)]

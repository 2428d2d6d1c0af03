"""`conform(torch=f, tensorflow=g, examples=[...])`: whether plain functions of several frameworks are the same one."""

import importlib.util
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from .cases import PATTERNS
from .generator import bell
from .plain import RUN, NoResult, Result

RTOL = {"float64": 2.0**-20, "float32": 2.0**-10}  # far above rounding: it is other functions that are looked for


class Difference(NamedTuple):
    """Two functions that differ on an example, in value or gradient, and where."""

    pair: tuple[str, str]
    what: str  # "value" or "gradient"
    example: str
    numbers: tuple[float, float]
    relative: float  # to the larger of the two; of a gradient, to its largest entry. Infinite if one of them is NaN
    at: tuple[int, ...] = ()  # the entry of the gradient

    def __str__(self) -> str:
        where = f" at {list(self.at)}" if self.at else ""
        first, second = (f"{name} {number:.6g}" for name, number in zip(self.pair, self.numbers, strict=True))
        size = "NaN in one of them" if np.isinf(self.relative) else f"{100 * self.relative:.3g} % of the larger"
        return f"on {self.example}{where}: {first}, {second} ({size})"


class Comparison(NamedTuple):
    """What functions gave on each example, where they differ, and which gave nothing, with the reason."""

    values: Mapping[str, Mapping[str, float]]  # by example and framework
    differences: tuple[Difference, ...]
    errors: Mapping[str, str]  # by framework and example

    @property
    def agree(self) -> bool:
        """Whether every function gave something on every example, and all of them gave the same."""
        return not self.differences and not self.errors

    def check(self) -> None:
        """Raise AssertionError, with the report, unless they agree."""
        if not self.agree:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [f"{len(self.values)} examples: {'the same' if self.agree else 'NOT the same'}"]
        groups: dict[tuple[tuple[str, str], str], list[Difference]] = {}
        for each in self.differences:
            groups.setdefault((each.pair, each.what), []).append(each)
        for (pair, what), group in groups.items():
            worst = max(group, key=lambda difference: difference.relative)
            lines.append(f"{' and '.join(pair)} differ in {what} on {len(group)} of them, most {worst}")
        return "\n".join([*lines, *(f"{where}: {reason}" for where, reason in self.errors.items())])


def conform(
    *,
    examples: Iterable[Any],
    numpy: Callable[[Any], Any] | None = None,
    torch: Callable[[Any], Any] | None = None,
    jax: Callable[[Any], Any] | None = None,
    tensorflow: Callable[[Any], Any] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    rtol: float | None = None,
) -> Comparison:
    """Compare functions from an array to a 0-d array, each written in its framework, in value and gradient.

    Each framework differentiates its own; for NumPy differences do, in float64, which leave out entries at a kink.
    `examples` are arrays, and shapes to fill with each pattern of the suite: zeros, ties, a constant column and more.
    Two functions differ if they are further apart than `rtol` times the larger, by default 2**-20 in float64 and 2**-10
    in float32. A spec of regcore is such a function for every framework.

    Raises ValueError unless there are two functions and an example, and ImportError for a framework that is missing.
    What a function raises is part of the report.

        conform(torch=penalty_of_a_paper, tensorflow=penalty_of_another, examples=[(8, 4)]).check()
    """
    given = {"numpy": numpy, "torch": torch, "jax": jax, "tensorflow": tensorflow}
    functions = {name: function for name, function in given.items() if function is not None}
    _require(functions, dtype)
    arrays = {name: array.astype(dtype) for name, array in _arrays(examples)}
    if not arrays:
        raise ValueError("conform got no examples: pass arrays, or shapes such as (8, 4)")
    results: dict[str, dict[str, Result]] = {example: {} for example in arrays}
    errors: dict[str, str] = {}
    for (name, function), (example, x) in itertools.product(functions.items(), arrays.items()):
        try:
            results[example][name] = RUN[name](function, x)
        except NoResult as reason:
            errors[f"{name} on {example}"] = str(reason)
        except Exception as error:  # whatever someone's function raises
            errors[f"{name} on {example}"] = f"{type(error).__name__}: {error}"
    pairs = itertools.combinations(functions, 2)
    tolerance = RTOL[dtype] if rtol is None else rtol
    differences = [each for pair in pairs for each in _differences(pair, results, tolerance)]
    values = {example: {name: result.value for name, result in of.items()} for example, of in results.items()}
    return Comparison(values, tuple(differences), errors)


def _differences(
    pair: tuple[str, str], results: Mapping[str, Mapping[str, Result]], rtol: float
) -> Iterator[Difference]:
    both = {name: [of[side] for side in pair] for name, of in results.items() if all(side in of for side in pair)}
    for what in ("value", "gradient"):
        sizes = {name: max(_size(getattr(side, what)) for side in two) for name, two in both.items()}
        least = rtol * max(sizes.values(), default=0.0)  # anything below is 0 but for rounding
        for name, two in both.items():
            a, b = (np.asarray(getattr(side, what)) for side in two)
            slack = sum(side.slack for side in two) if what == "gradient" else 0.0
            scale = max(sizes[name], least)
            off = _distance(a, b)
            excess = np.where(slack < np.inf, off, 0.0) - np.where(slack < np.inf, slack, 0.0)
            if excess.max() > rtol * scale:
                at = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
                yield Difference(pair, what, name, (float(a[at]), float(b[at])), float(off[at] / scale), at)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far apart, where NaN is far from anything else."""
    with np.errstate(invalid="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, abs(a - b))
    return np.where(np.isnan(off), np.inf, off)


def _size(array: np.ndarray) -> float:
    return float(np.where(np.isfinite(array), abs(array), 0.0).max(initial=0.0))


def _require(functions: Mapping[str, Any], dtype: str) -> None:
    if len(functions) < 2:
        raise ValueError(f"conform got {list(functions) or 'no functions'}; expected two or more of {list(RUN)}")
    if dtype not in RTOL:
        raise ValueError(f"conform got dtype={dtype!r}; expected one of {list(RTOL)}")
    if absent := [name for name in functions if importlib.util.find_spec(name) is None]:
        raise ImportError(f"conform got functions of {absent}, not installed here: install it, or leave them out")


def _arrays(examples: Iterable[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Each array as it is, and for each shape an array of every pattern of the suite."""
    for number, example in enumerate(examples):
        if isinstance(example, tuple):
            for name, pattern in PATTERNS.items():
                yield f"{example} {name}", pattern(bell(zlib.crc32(f"{example} {name}".encode()), example))
        else:
            yield f"example {number}", np.asarray(example)

"""Mutants of the gradients: right results, of which that by x or by a parameter was corrupted afterwards."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..cases import UPSTREAM
from ..runners import floating
from .trial import GRADES, NUMPY, Case, Mutant, Planted, cases_of

Array = np.ndarray
Corrupt = Callable[[Array, Array], Array]  # (gradient, what it is by) -> another


def _at(index: Callable[[Array], Any], change: Callable[[Array], Any]) -> Corrupt:
    """A change of one entry."""

    def corrupt(g: Array, x: Array) -> Array:
        flat = g.copy().reshape(-1)
        flat[index(flat)] = change(flat[index(flat)])
        return flat.reshape(g.shape)

    return corrupt


def _largest(flat: Array) -> Any:
    return np.argmax(np.where(np.isnan(flat), 0, abs(flat)))


SLIGHT = "scaled by 1 + 2^-20"  # which may be within the bound of float32
ANY: dict[str, Corrupt] = {
    "scaled by 1 + 2^-16": lambda g, x: g * g.dtype.type(1 + 2.0**-16),
    SLIGHT: lambda g, x: g * g.dtype.type(1 + 2.0**-20),
    "without the upstream gradient": lambda g, x: g / UPSTREAM,
    "times the upstream gradient once more": lambda g, x: g * UPSTREAM,
    "of the other sign": lambda g, x: -g,
    "doubled": lambda g, x: 2 * g,
    "zero": lambda g, x: 0 * g,
    "without its sign": lambda g, x: abs(g),
    "1 where it was 0": lambda g, x: np.where(g == 0, g.dtype.type(UPSTREAM), g),
    "NaN where it was 0": lambda g, x: np.where(g == 0, g.dtype.type(np.nan), g),
    "its largest entry zero": _at(_largest, lambda entry: 0 * entry),
    "its largest entry off by 2^-12": _at(_largest, lambda entry: entry * (1 + 2.0**-12)),
    "its last entry zero": _at(lambda flat: -1, lambda entry: 0 * entry),
    "rounded to float16": lambda g, x: g.astype(np.float16).astype(g.dtype),
    "rounded to bfloat16": lambda g, x: (
        (g * 1.0).astype(np.float32).view(np.uint32).__and__(0xFFFF0000).view(np.float32).astype(g.dtype)
    ),
}
ARRAY: dict[str, Corrupt] = {
    "transposed": lambda g, x: g.T if g.T.shape == g.shape else g,
    "rolled by one entry": lambda g, x: np.roll(g, 1),
    "rolled by one sample": lambda g, x: np.roll(g, 1, axis=0),
    "its samples in reverse": lambda g, x: g[::-1],
    "its mean subtracted": lambda g, x: g - g.mean(dtype=g.dtype),
    "its mean over samples subtracted": lambda g, x: g - g.mean(axis=0, keepdims=True, dtype=g.dtype),
    "a radial part added": lambda g, x: g + g.dtype.type(2.0**-12) * x.astype(g.dtype),
    "where x is 0, that of 1": lambda g, x: np.where(x == 0, g.max(), g),
}


def mutants(penalties: Iterable[str]) -> Iterator[Mutant]:
    """Every corruption of every gradient of each penalty."""
    for name in penalties:
        params = list(dict.fromkeys(p for case in cases_of(name) for p in floating(case.params)))
        for by in ["x", *params]:
            for what, corrupt in {**ANY, **ARRAY}.items():
                if by == "x" or what in ANY:
                    plant = functools.partial(_plant, by, corrupt)
                    grades = GRADES if what != SLIGHT else ("exact", "float64") if by == "x" else ("exact",)
                    yield Mutant(name, "gradient", f"by {by}: {what}", (name,), plant, grades)


def _plant(by: str, corrupt: Corrupt, case: Case) -> Planted:
    def evaluate(spec: Any, x: Array, params: Any, mask: Any) -> dict[str, Array]:
        results = NUMPY(spec, x, params, mask)
        if by not in results:
            return results
        return {**results, by: np.asarray(corrupt(results[by], x if by == "x" else params[by]))}

    return case, evaluate

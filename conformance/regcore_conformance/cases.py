"""What is run: every example of every penalty, on data of every pattern that is known to tell frameworks apart."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

import regcore
from regcore.config import catalogue

from .generator import bell, coin

UPSTREAM = -1.625  # the derivative of the loss by the penalty: not 1, and exact in every dtype


class Case(NamedTuple):
    """A penalty and the data to evaluate it on; every number is exact in float64, float32, float16 and bfloat16."""

    id: str
    spec: regcore.Penalty
    x: np.ndarray
    params: dict[str, np.ndarray]  # learned parameters, and inputs beside x
    mask: np.ndarray | None
    plain: bool = False  # to be evaluated by the plain formulas; see `regcore.plain`


def _column(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(np.arange(x.shape[-1]) == 0, factor, x)


def _twins(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[-1] = x[0] if len(x) < 3 else -x[0]
    x[len(x) // 2] = x[0]
    return x


PATTERNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dense": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),  # exact zeros, where |x| has its kink
    "ties": np.trunc,  # few distinct numbers
    "constant": _column(0.5),  # a unit without variance
    "dead": _column(0.0),  # a unit that is always zero
    "zero row": lambda x: x * (np.arange(len(x)) > 0).reshape(-1, *(1,) * (x.ndim - 1)),  # a vector without direction
    "twins": _twins,  # equal and opposite vectors, constant sequences
    "offset": lambda x: x + 64.0,  # cancellation
    "small": lambda x: x * 2.0**-6,
    "scales": lambda x: x * 8.0 ** (2 - np.arange(x.shape[-1]) % 4),  # columns of different size, the first saturates
}


def all_cases(
    penalties: Iterable[type[regcore.Penalty]] = (), patterns: Iterable[str] = (), seed: int = 0
) -> Iterator[Case]:
    """The cases of these penalties (those of regcore, if none are given) with these patterns (all, if none).

    The Philox key of a case is the CRC-32 of its id, and of a seed that is not 0: "L2/0/dense", "L2/0/dense 7".
    """
    for kind in tuple(penalties) or catalogue().values():
        for number, example in enumerate(kind.examples()):
            for pattern in tuple(patterns) or PATTERNS:
                name = f"{kind.__name__}/{number}/{pattern}"
                yield _case(name, f"{name} {seed}" if seed else name, example, PATTERNS[pattern])


def _case(name: str, key: str, example: regcore.Example, pattern: Callable[[np.ndarray], np.ndarray]) -> Case:
    seed = philox_key(key)
    mask = None
    if example.mask_ndim:
        mask = coin(seed, example.shape[: example.mask_ndim])
        mask.flat[:2] = True  # enough samples for a variance
        mask.flat[max(2, mask.size - 1) :] = False  # and something that is hidden
    params = {
        **example.spec.init(),
        **{extra: _input(f"{key}/{extra}", given) for extra, given in example.inputs.items()},
    }
    return Case(name, example.spec, pattern(bell(seed, example.shape)), params, mask)


def philox_key(key: str) -> int:
    return zlib.crc32(key.encode())


def _input(key: str, given: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """An input beside `x`: as the example gives it, or dense data of its shape."""
    return bell(philox_key(key), given).astype(np.float32) if isinstance(given, tuple) else given

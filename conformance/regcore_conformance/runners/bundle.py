"""Modes that compile, where most time goes by: several problems in one program, and one program for all their data."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

Results = dict[str, np.ndarray]
SIZE = 12  # problems in one program: more gain little, and would make an error of one of them costly


class Problem(NamedTuple):
    """A penalty and its data, as arrays of NumPy."""

    spec: Any
    x: np.ndarray
    params: dict[str, np.ndarray]
    mask: Any


class Bundle:
    """An evaluate function that also takes several problems at once, in one program that `build(specs)` makes.

    A program is used as long as specs, shapes and dtypes stay what they are. Each problem has its own inputs and its
    own results, so that none can hide what became of another.
    """

    def __init__(self, build: Callable[[tuple[Any, ...]], Callable[[Sequence[Problem]], list[Results]]]) -> None:
        self.build = build
        self.key: Any = None

    def __call__(self, spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> Results:
        (results,) = self.together([Problem(spec, x, params, mask)])
        return results

    def together(self, problems: Sequence[Problem]) -> list[Results]:
        key = tuple((p.spec, p.x.shape, p.x.dtype, p.mask is None) for p in problems)
        if self.key != key:
            self.key = None  # if this fails, the last program is not that of these problems either
            self.program = self.build(tuple(problem.spec for problem in problems))
            self.key = key
        return self.program(problems)


class Mapped:
    """An evaluate function that takes all data of a spec as one batch, and several such groups at once."""

    def __init__(self, together: Callable[[Sequence[Sequence[Problem]]], list[list[Results]]]) -> None:
        self.together = together

    def __call__(self, spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> Results:
        ((results,),) = self.together([[Problem(spec, x, params, mask)]])
        return results


def in_bundles(groups: Iterable[Sequence[Any]]) -> list[list[tuple[Any, ...]]]:
    """Groups of items that differ in their data only, as bundles of rounds: one item of each of a few groups.

    >>> in_bundles([["a1", "a2"], ["b1", "b2"]])
    [[('a1', 'b1'), ('a2', 'b2')]]
    """
    by_length: dict[int, list[Sequence[Any]]] = {}
    for group in groups:
        by_length.setdefault(len(group), []).append(group)
    parts = [same[i : i + SIZE] for same in by_length.values() for i in range(0, len(same), SIZE)]
    return [list(zip(*part, strict=True)) for part in parts]

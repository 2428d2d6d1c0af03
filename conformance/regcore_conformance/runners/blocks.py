"""What saves time and memory on large arrays, with blocks and pieces so small that small data have several."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import regcore
from regcore import Alone, blocks, pieces
from regcore.backends import array_api

from ..cases import UPSTREAM
from . import Evaluate
from .bundle import Problem, Results

Build = Callable[[tuple[Any, ...]], Callable[[Sequence[Problem]], list[Results]]]

ROWS, ENTRIES = 2, 2


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Blocks of two rows, pieces of two entries where a penalty comes apart so far."""
    before = blocks.ROWS, pieces.CACHED
    blocks.ROWS, pieces.CACHED = ROWS, ENTRIES
    try:
        yield
    finally:
        blocks.ROWS, pieces.CACHED = before


def divides(spec: Any, shape: tuple[int, ...]) -> bool:
    """Whether small blocks or pieces make a difference to the penalty of such an array."""
    with small():
        apart = [term.penalty.apart(shape, Alone) for term in spec.terms()]
        return bool(spec.one_pass(shape, Alone)) or (None not in apart and int(np.prod(shape)) > ENTRIES)


def panelled(spec: Any, shape: tuple[int, ...]) -> bool:
    """Whether small blocks make a difference where nothing is written in pieces, as in compiled code."""
    with small():
        return bool(spec.one_pass(shape, Alone))


def apart(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> dict[str, np.ndarray]:
    """Value and gradient in two calls, by NumPy in small blocks: each may have a way of its own."""
    with small():
        value = regcore.value(spec, x, params, mask=mask)
        dx, dparams = array_api.grad(spec, x, params, mask, Alone, UPSTREAM)
    return {"value": np.asarray(value), "x": dx, **dparams}


def within(build: Build) -> Build:
    """Programs that are traced, and so made, in small blocks."""

    def built(specs: tuple[Any, ...]) -> Any:
        program = build(specs)

        def run(problems: Sequence[Problem]) -> list[Results]:
            if whole := [str(p.spec) for p in problems if not panelled(p.spec, p.x.shape)]:
                raise RuntimeError(f"{whole} were to be in panels and are not")
            with small():
                return program(problems)

        return run

    return built


def evaluator(eager: Evaluate) -> Evaluate:
    def evaluate(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> dict[str, np.ndarray]:
        if not divides(spec, x.shape):
            raise RuntimeError(f"{spec} was to be divided and is not")
        with small():
            return eager(spec, x, params, mask)

    return evaluate

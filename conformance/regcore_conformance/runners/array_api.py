"""Libraries without differentiation: the closed form itself, through the front door."""

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device

import regcore
from regcore import Alone

from ..cases import UPSTREAM
from . import Evaluate, Unsupported, blocks, shards
from .bundle import Problem, Results


def evaluators(xp: types.ModuleType, asnumpy: Callable[[Any], np.ndarray] = np.asarray) -> dict[str, Evaluate]:
    """Of any namespace of the array API standard; `asnumpy` brings its arrays back."""
    call = functools.partial(_call, xp, asnumpy)

    def eager(*problem: Any) -> Results:
        return call(Problem(*problem), Alone)

    return {"eager": eager, "blocks": blocks.evaluator(eager), "shards": shards.evaluator(call)}


def _call(xp: types.ModuleType, asnumpy: Callable[[Any], np.ndarray], problem: Problem, across: Any) -> Results:
    spec, x, params, mask = problem
    if getattr(xp, x.dtype.name, None) is None:
        raise Unsupported(f"{xp.__name__} has no {x.dtype}")
    x = xp.asarray(x)
    value, (dx, dparams) = regcore.value_and_grad(
        spec,
        x,
        {name: xp.asarray(param) for name, param in params.items()},
        mask=None if mask is None else xp.asarray(mask),
        across=across,
        upstream=UPSTREAM,
    )
    results = {"value": value, "x": dx, **dparams}
    if wrong := {str(device(array)) for array in results.values() if device(array) != device(x)}:
        raise RuntimeError(f"results are on {wrong} and were to be on {device(x)}")
    return {name: asnumpy(array) for name, array in results.items()}

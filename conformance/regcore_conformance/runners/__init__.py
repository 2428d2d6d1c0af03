"""How each library evaluates a penalty: by calling the spec on its own arrays and differentiating as its users do.

A runner module has `evaluators(...)`, {mode: evaluate}; `backends` enters it, with its precision policy. An evaluate
function takes `(spec, x, params, mask)` of NumPy arrays and returns {"value": ..., "x": ..., parameter: ...}, the
gradients by what is floating times `cases.UPSTREAM`; it raises if the mode it stands for was not really entered.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cases import philox_key
from ..generator import bell

if TYPE_CHECKING:
    from .bundle import Problem

Evaluate = Callable[[Any, np.ndarray, dict[str, np.ndarray], Any], dict[str, np.ndarray]]


class Unsupported(Exception):
    """The library cannot do this at all, for the reason given."""


def directions(shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """v and w of second derivatives v H w, in float64, for all inputs of these shapes: the same in every library."""
    v, w = ({name: bell(philox_key(f"{d}/{name}"), shape) for name, shape in shapes.items()} for d in "vw")
    return v, w


def in_float64(problem: "Problem") -> "Problem":
    """The same with all that is floating in float64, so that derivatives by it are not rounded to float32."""
    wide = {name: problem.params[name].astype(np.float64) for name in floating(problem.params)}
    return problem._replace(params={**problem.params, **wide})


def floating(params: dict[str, np.ndarray]) -> list[str]:
    """Which of the parameters and inputs have a gradient: labels have none."""
    return [name for name, param in params.items() if param.dtype.kind == "f"]

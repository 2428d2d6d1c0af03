"""How each library evaluates a penalty: by calling the spec on its own arrays and differentiating as its users do.

A runner module has `evaluators(...)`, {mode: evaluate}; `backends` enters it, with its precision policy. An evaluate
function takes `(spec, x, params, mask)` of NumPy arrays and returns {"value": ..., "x": ..., parameter: ...}, the
gradients by what is floating times `cases.UPSTREAM`; it raises if the mode it stands for was not really entered.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Evaluate = Callable[[Any, np.ndarray, dict[str, np.ndarray], Any], dict[str, np.ndarray]]


class Unsupported(Exception):
    """The library cannot do this at all, for the reason given."""


def floating(params: dict[str, np.ndarray]) -> list[str]:
    """Which of the parameters and inputs have a gradient: labels have none."""
    return [name for name, param in params.items() if param.dtype.kind == "f"]

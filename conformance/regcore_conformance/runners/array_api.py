"""Libraries without differentiation: the closed form itself, through the front door."""

import types
from typing import Any

import numpy as np

import regcore

from ..cases import UPSTREAM
from . import Evaluate


def evaluators(xp: types.ModuleType) -> dict[str, Evaluate]:
    def eager(spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> dict[str, np.ndarray]:
        params = {name: xp.asarray(param) for name, param in params.items()}
        mask = None if mask is None else xp.asarray(mask)
        value, (dx, dparams) = regcore.value_and_grad(spec, xp.asarray(x), params, mask=mask, upstream=UPSTREAM)
        return {name: np.asarray(array) for name, array in {"value": value, "x": dx, **dparams}.items()}

    return {"eager": eager}

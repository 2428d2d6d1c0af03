"""The variables of a penalty layer: what it learns, coefficients, and what there is to report."""

import math
from typing import Any

import keras
import numpy as np

from regcore.penalty import Penalty

from .losses import Tensor


class State:
    """Weights that `layer` holds for `spec`, so that Keras trains those that learn and saves them all."""

    def __init__(self, layer: keras.Layer, spec: Penalty) -> None:
        self._layer = layer
        self._params = {name: self._add(name, initial, trainable=True) for name, initial in spec.init().items()}
        self._coefficients = {term.name: self._add(f"coefficient_{term.name}", term.weight) for term in spec.terms()}
        self._last = {term.name: self._add(f"last_{term.name}", math.nan) for term in spec.terms()}
        self._calls = self._add("calls", 0.0)

    def params(self) -> dict[str, Tensor]:
        return {name: param.value for name, param in self._params.items()}

    def coefficient(self, term: str, dtype: Any) -> Tensor:
        return keras.ops.cast(self._coefficients[term].value, dtype)

    def count(self) -> Tensor:
        """Count a call; how many there were, with it."""
        calls = self._calls.value + 1.0
        self._calls.assign(calls)
        return calls

    def note(self, term: str, value: Tensor, due: Tensor = True) -> None:
        last = self._last[term]
        value = keras.ops.cast(keras.ops.stop_gradient(value), last.dtype)
        last.assign(value if due is True else keras.ops.where(due, value, last.value))

    def set_coefficient(self, term: str, coefficient: float) -> None:
        if term not in self._coefficients:
            raise ValueError(f"{self._layer.name} has no term {term!r}; it has {sorted(self._coefficients)}")
        if not math.isfinite(coefficient):
            raise ValueError(
                f"{self._layer.name} got the coefficient {coefficient} for {term}; it must be a finite number"
            )
        self._coefficients[term].assign(coefficient)

    def report(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "calls": int(_number(self._calls)),
                "value": _number(self._last[name]),
                "coefficient": _number(coefficient),
            }
            for name, coefficient in self._coefficients.items()
        }

    def _add(self, name: str, initial: Any, trainable: bool = False) -> keras.Variable:
        return self._layer.add_weight(
            name=name,
            shape=np.shape(initial),
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(initial, dtype),
            dtype="float64" if self._layer.variable_dtype == "float64" else "float32",  # never half precision
            trainable=trainable,
            autocast=False,
        )


def _number(variable: keras.Variable) -> float:
    return float(keras.ops.convert_to_numpy(variable.value))

"""The layer that penalizes what passes through it, and keeps what a penalty needs where Keras trains and saves it."""

import math
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.stateless_scope import get_stateless_scope  # Keras exports it under no public name

import regcore
from regcore.penalty import Penalty

from .losses import Tensor, apart


@keras.saving.register_keras_serializable(package="regcore")
class Regularize(keras.layers.Layer):
    """Identity layer that makes the penalty of what passes through it a loss, in training.

    Each term of `spec` becomes a loss of the layer, times its coefficient; terms that multiply the task loss need a
    `RegularizedModel`. The mask that comes with the input goes to the penalty. The input is neither cast nor changed.
    `train_only=False` counts the penalty in evaluation as well. What it needs beside `x`, such as labels, is passed by
    keyword. A layer called twice in a step has the losses of both.

    Its weights are saved with the model: the learned parameters of the penalty, which train; and for each term, not
    trained, a coefficient, which starts as the weight in the spec, and the value of the latest call, which starts as
    NaN. They are float32, or float64 if that is the layer's variable dtype.

    Raises TypeError for a spec that is no penalty; what `regcore.value` raises for input on which the penalty is not
    defined, and at once where the shape of a `keras.Input` tells; RuntimeError where a loss that multiplies the task
    loss would be added to it.

        inputs = keras.Input((20,))
        x = keras.layers.Dense(64, activation="relu")(inputs)
        x = Regularize(0.01 * regcore.L1())(x)
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
    """

    def __init__(self, spec: Penalty, *, train_only: bool = True, **kwargs: Any) -> None:
        if not isinstance(spec, Penalty):
            raise TypeError(f"Regularize got {spec!r}; expected a penalty, such as 0.01 * regcore.L2()")
        super().__init__(autocast=False, **kwargs)
        self.spec, self.train_only, self.supports_masking = spec, train_only, True
        self._params = {name: self._weight(name, initial, trainable=True) for name, initial in spec.init().items()}
        self._coefficients = {term.name: self._weight(f"coefficient_{term.name}", term.weight) for term in spec.terms()}
        self._last = {term.name: self._weight(f"last_{term.name}", math.nan) for term in spec.terms()}
        self._coupled: list[bool] = []  # of each loss that Keras holds, whether it multiplies the task loss
        self._scope: weakref.ref[keras.StatelessScope] | None = None  # in which Keras recorded them

    def call(self, x: Tensor, mask: Tensor = None, training: bool | None = None, **inputs: Tensor) -> Tensor:
        if training or not self.train_only:
            params = {**{name: param.value for name, param in self._params.items()}, **inputs}
            for term in self.spec.terms():
                value = regcore.value(term.spec, x, term.select(params), mask=mask)
                self._last[term.name].assign(keras.ops.stop_gradient(value))
                coefficient = keras.ops.cast(self._coefficients[term.name].value, value.dtype)
                loss = keras.ops.cast(coefficient * value, keras.config.floatx())  # the dtype of the total
                self.add_loss(loss, coupled=term.coupled)
        return x

    def add_loss(self, loss: Tensor, coupled: bool = False) -> None:
        super().add_loss(loss)
        self._coupled.extend([coupled] * len(keras.tree.flatten(loss)))

    def set_coefficient(self, term: str, coefficient: float) -> None:
        """Weigh a term anew from the next step on, after compile too. ValueError for an unknown term, inf and NaN."""
        if term not in self._coefficients:
            raise ValueError(f"{self.name} has no term {term!r}; it has {sorted(self._coefficients)}")
        if not math.isfinite(coefficient):
            raise ValueError(f"{self.name} got the coefficient {coefficient} for {term}; it must be a finite number")
        self._coefficients[term].assign(coefficient)

    def report(self) -> dict[str, dict[str, float]]:
        """For each term the unweighted `value` of the latest call, NaN before the first, and its `coefficient`."""
        return {
            name: {"value": _number(self._last[name]), "coefficient": _number(coefficient)}
            for name, coefficient in self._coefficients.items()
        }

    def compute_output_spec(
        self, x: Any, mask: Any = None, training: bool | None = None, **inputs: Any
    ) -> keras.KerasTensor:
        if not isinstance(x, keras.KerasTensor):
            raise TypeError(f"{self.name} got a {type(x).__name__}; it takes one tensor: give each a layer of its own")
        if missing := sorted(self.spec.inputs().keys() - inputs.keys()):
            raise ValueError(f"{self.spec} needs {missing} beside x: pass them to the layer by keyword")
        self.spec.check(tuple(x.shape), **{name: tuple(inputs[name].shape) for name in self.spec.inputs()})
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "spec": regcore.to_config(self.spec), "train_only": self.train_only}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Regularize":
        return cls(**{**config, "spec": regcore.from_config(config["spec"])})

    def _weight(self, name: str, initial: Any, trainable: bool = False) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=np.shape(initial),
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(initial, dtype),
            dtype="float64" if self.variable_dtype == "float64" else "float32",  # never half precision
            trainable=trainable,
            autocast=False,
        )

    def _clear_losses(self) -> None:
        """On JAX Keras clears the losses of a layer whenever it is called, but those of one step belong together."""
        scope = get_stateless_scope()
        if scope is None or self._scope is None or self._scope() is not scope:
            super()._clear_losses()
            self._coupled.clear()
        self._scope = None if scope is None else weakref.ref(scope)

    def _get_own_losses(self) -> list[Tensor]:
        """Where Keras collects losses to add them up."""
        held = super()._get_own_losses()  # none at all in a scope that keeps no losses
        losses = list(zip(held, self._coupled, strict=False))
        coupled = [loss for loss, multiplies in losses if multiplies]
        if (taken := apart.get()) is not None:
            taken.extend(coupled)
        elif coupled:
            raise RuntimeError(
                f"{self.name} has a loss that multiplies the task loss, of {self.spec}, and here it would be added: "
                "train a regcore_keras.RegularizedModel, by fit or with its compute_loss, or use regcore.added(...)"
            )
        return [loss for loss, multiplies in losses if not multiplies]


def _number(variable: keras.Variable) -> float:
    return float(keras.ops.convert_to_numpy(variable.value))

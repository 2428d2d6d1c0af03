"""Penalties at the doors of Keras itself, `activity_regularizer=`, `kernel_regularizer=` and their like."""

import abc
import concurrent.futures
import functools
from collections.abc import Mapping
from typing import Any

import keras

import regcore
from regcore.penalty import Penalty

from .losses import Tensor


class StatelessRegularizer(keras.regularizers.Regularizer, abc.ABC):
    """A penalty where Keras trains and saves no parameters, and adds every loss."""

    def __init__(self, spec: Penalty) -> None:
        name = type(self).__name__
        if not isinstance(spec, Penalty):
            raise TypeError(f"{name} got {spec!r}; expected a penalty, such as 0.01 * regcore.L2()")
        if learned := sorted(spec.init()):
            raise ValueError(
                f"{name} got {spec}, which learns {learned}; Keras saves no parameters of a regularizer: "
                "put the layer regcore_keras.Regularize behind the layer instead"
            )
        if coupled := [term.name for term in spec.terms() if term.coupled]:
            raise ValueError(
                f"{name} got {spec}, where {coupled} multiply the task loss; Keras adds the loss of a regularizer: "
                "put the layer regcore_keras.Regularize into a RegularizedModel, or use regcore.added(...)"
            )
        self.spec = spec

    @abc.abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The loss."""

    def get_config(self) -> dict[str, Any]:
        return {"spec": regcore.to_config(self.spec)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "StatelessRegularizer":
        return cls(regcore.from_config(config["spec"]))

    def _value(self, x: Tensor) -> Tensor:
        value = regcore.value(self.spec, x.value if isinstance(x, keras.Variable) else x)
        return keras.ops.cast(value, keras.config.floatx())  # the dtype of the total


@keras.saving.register_keras_serializable(package="regcore")
class ActivityRegularizer(StatelessRegularizer):
    """The penalty of what a layer gives out, as `activity_regularizer=`, whatever the batch size.

    Keras counts it in training and in evaluation, once for each tensor that the layer gives out, and shows it no mask;
    on JAX it forgets all but the last call of a layer that is called several times in a step. With `ndim` only tensors
    of so many axes are penalized: 3 for the sequence of an LSTM that gives out its states as well. `Regularize` has
    none of these limits. Raises TypeError for a spec that is no penalty, and ValueError for one that learns parameters
    or multiplies the task loss.

        keras.layers.Dense(64, activation="relu", activity_regularizer=ActivityRegularizer(0.01 * regcore.L1()))
    """

    def __init__(self, spec: Penalty, *, ndim: int | None = None) -> None:
        super().__init__(spec)
        self.ndim, self._divided = ndim, _keras_divides_by_batch_size()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ndim": self.ndim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ActivityRegularizer":
        return cls(regcore.from_config(config["spec"]), ndim=config.get("ndim"))

    def __call__(self, x: Tensor) -> Tensor:
        if self.ndim is not None and len(x.shape) != self.ndim:
            return keras.ops.zeros((), keras.config.floatx())
        value = self._value(x)
        if not self._divided or len(x.shape) == 0:
            return value
        return value * keras.ops.cast(keras.ops.shape(x)[0], value.dtype)


@keras.saving.register_keras_serializable(package="regcore")
class WeightRegularizer(StatelessRegularizer):
    """The penalty of a weight, as `kernel_regularizer=`, `bias_regularizer=`, `embeddings_regularizer=` and so on.

    Keras counts it in training and in evaluation. Raises TypeError for a spec that is no penalty, and ValueError for
    one that learns parameters or multiplies the task loss.

        keras.layers.Dense(64, kernel_regularizer=WeightRegularizer(0.01 * regcore.Orthogonality(vector_axis=1)))
    """

    def __call__(self, x: Tensor) -> Tensor:
        return self._value(x)


@functools.cache
def _keras_divides_by_batch_size() -> bool:
    """Whether Keras divides the loss of an activity regularizer: from 3.14 on it does, but we ask, not its version."""

    def loss_of_one() -> float:
        layer = keras.layers.Identity(name="probe", activity_regularizer=lambda x: keras.ops.ones(()))
        layer(keras.ops.ones((4, 1)))
        return float(layer.losses[0])

    with concurrent.futures.ThreadPoolExecutor(1) as elsewhere:  # Keras may be tracing a model here, and not there
        loss = elsewhere.submit(loss_of_one).result()
    if loss not in (1.0, 0.25):
        raise RuntimeError(
            f"Keras {keras.__version__} makes {loss} of an activity penalty of 1.0 for a batch of 4; expected 1.0 or "
            "0.25: use the layer regcore_keras.Regularize instead"
        )
    return loss == 0.25

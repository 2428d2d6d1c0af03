"""The model whose task loss coupled penalties multiply, and the report of what every penalty was."""

from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models.functional import Functional  # Keras exports it under no public name

import regcore

from .layer import Regularize
from .losses import Tensor, all_hidden, coupled_apart, hidden


@keras.saving.register_keras_serializable(package="regcore")
class RegularizedModel(keras.Model):
    """A `keras.Model` with the total loss `task * (1 + sum(coupled)) + sum(added)`.

    `coupled` are the losses of `Regularize` layers, in nested models and layers too, whose penalties multiply the task
    loss, such as BatchEntropy; `added` are all others that Keras collects. Build it from inputs and outputs, or derive
    from it as from `keras.Model`. A training loop written by hand calls `compute_loss`: reading `losses` to add them up
    raises RuntimeError, because that would be another function.

    Raises TypeError for a derived class that is given inputs and outputs: derive it from `RegularizedFunctional`.

        inputs = keras.Input((20,))
        x = keras.layers.Dense(64, activation="relu")(inputs)
        x = Regularize(regcore.BatchEntropy())(x)
        model = RegularizedModel(inputs, keras.layers.Dense(1)(x))
        model.compile("adam", "mse")
    """

    _handed_over: tuple[Tensor, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> "RegularizedModel":
        kind = RegularizedFunctional if cls is RegularizedModel and _functional(args, kwargs) else cls
        return super().__new__(kind, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _functional(args, kwargs) and not isinstance(self, RegularizedFunctional):
            raise TypeError(
                f"{type(self).__name__} derives from RegularizedModel and got inputs and outputs; "
                "to build it from them, derive it from regcore_keras.RegularizedFunctional"
            )
        super().__init__(*args, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        with coupled_apart() as coupled:
            added = self.losses
        coupled.extend(self._handed_over)
        self._handed_over = ()
        if not coupled:
            return super().compute_loss(x, y, y_pred, sample_weight, training=training)
        with all_hidden():
            task = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        terms = [(1.0, loss, True) for loss in coupled]
        return regcore.combine(task, terms + [(1.0, self._aggregate_additional_loss(loss), False) for loss in added])

    def stateless_call(self, *args: Any, **kwargs: Any) -> Any:
        with coupled_apart() as coupled:
            result = super().stateless_call(*args, **kwargs)
        self._handed_over = tuple(coupled)  # on JAX, where Keras reads the losses here and hands them to compute_loss
        return result

    @property
    def losses(self) -> list[Tensor]:
        return [] if hidden.get() else super().losses


@keras.saving.register_keras_serializable(package="regcore")
class RegularizedFunctional(RegularizedModel, Functional):
    """What `RegularizedModel(inputs, outputs)` is.

    Left to itself, Keras would make RegularizedModel a functional model for good, and break every other class that
    derives from it.
    """


def _functional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) == 2 or "outputs" in kwargs


def report(model: keras.Model) -> dict[str, dict[str, float]]:
    """The latest value and the coefficient of every term of every `Regularize` layer, by `<path of the layer>/<term>`.

    `value` is unweighted, and NaN before the first training step. A path names the layers from the model down, joined
    by dots; a layer with several parents is reported under the first. Raises ValueError where two layers share a path.

        {"encoder.regularize/L2": {"value": 0.25, "coefficient": 0.01}}
    """
    paths: dict[Regularize, str] = {}
    for path, layer in _walk(model, ""):
        paths.setdefault(layer, path)
    if len(set(paths.values())) < len(paths):
        raise ValueError(f"{model.name} has Regularize layers at {list(paths.values())}; give each a name of its own")
    return {f"{path}/{term}": entry for layer, path in paths.items() for term, entry in layer.report().items()}


def _walk(parent: keras.Layer, prefix: str) -> Iterator[tuple[str, Regularize]]:
    for child in parent._flatten_layers(include_self=False, recursive=False):
        if isinstance(child, Regularize):
            yield prefix + child.name, child
        yield from _walk(child, f"{prefix}{child.name}.")

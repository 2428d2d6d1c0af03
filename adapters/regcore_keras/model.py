"""The model whose task loss coupled penalties multiply, and in which no penalty is lost unnoticed."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras.src.models.functional import Functional  # Keras exports it under no public name

import regcore
from regcore.sites import WEIGHT

from . import running
from .checks import refuse_what_is_lost, silent_sites
from .layer import Regularize
from .losses import Collected, Tensor, all_hidden, apart, coupled_apart, hidden
from .sites import weight_sites


@keras.saving.register_keras_serializable(package="regcore")
class RegularizedModel(keras.Model):
    """A `keras.Model` with the total loss `task * (1 + sum(coupled)) + sum(added)`.

    `coupled` are the losses of `Regularize` layers, in nested models and layers too, whose penalties multiply the task
    loss, such as BatchEntropy; `added` are all others that Keras collects, and the penalties of weights. Build it from
    inputs and outputs, or derive from it as from `keras.Model`. A training loop written by hand calls `compute_loss`:
    reading `losses` to add them up raises RuntimeError, because that would be another function.

    Set `on_missing = "ignore"` where layers with a penalty are skipped on purpose in some steps.

    Raises TypeError for a derived class that is given inputs and outputs: derive it from `RegularizedFunctional`.
    A training step raises ValueError for a penalty whose value cannot leave where it is, and RuntimeError for one that
    recorded nothing; both name the site.

        inputs = keras.Input((20,))
        x = keras.layers.Dense(64, activation="relu")(inputs)
        x = Regularize(regcore.BatchEntropy())(x)
        model = RegularizedModel(inputs, keras.layers.Dense(1)(x))
        model.compile("adam", "mse")
    """

    on_missing = "error"
    weight_penalties: tuple[Regularize, ...] = ()  # whose site is the path of a weight
    _collected: Collected | None = None  # on JAX, where Keras reads the losses before it calls compute_loss
    _weights_at: Mapping[str, tuple[int, Callable[[], Tensor]]] | None = None

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with running.within(self._run(kwargs.get("training"))):
            return super().__call__(*args, **kwargs)

    def compute_loss_and_updates(
        self, *args: Any, training: bool = False, optimizer_variables: Any = None, **kwargs: Any
    ) -> Any:
        """What Keras differentiates on JAX, where only here the state of the optimizer is known."""
        with running.within(self._run(training, optimizer_variables)):
            return super().compute_loss_and_updates(
                *args, training=training, optimizer_variables=optimizer_variables, **kwargs
            )

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        with coupled_apart() as collected:
            added = [self._aggregate_additional_loss(loss) for loss in self.losses]
        if self._collected is not None:
            collected, self._collected = self._collected, None
        if training and collected.silent and self.on_missing == "error":
            raise RuntimeError(
                f"{self.name} trains, and nothing was recorded at {list(collected.silent)}, so these penalties would "
                "be lost: is the layer called, by its __call__, and does the call of the model take training and pass "
                'it on? Where layers are skipped on purpose, set on_missing = "ignore"'
            )
        terms = [(1.0, loss, coupled) for loss, coupled in self._weight_losses(training)]
        terms += [(1.0, loss, True) for loss in collected.coupled]
        if not any(coupled for _, _, coupled in terms):
            return regcore.combine(super().compute_loss(x, y, y_pred, sample_weight, training=training), terms)
        with all_hidden():
            task = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        return regcore.combine(task, terms + [(1.0, loss, False) for loss in added])

    def stateless_call(self, *args: Any, **kwargs: Any) -> Any:
        self._clear_losses()
        with coupled_apart() as collected:
            result = super().stateless_call(*args, **kwargs)
        self._collected = collected
        return result

    @property
    def losses(self) -> list[Tensor]:
        if hidden.get():
            return []
        if (collected := apart.get()) is not None:
            collected.silent = silent_sites(self)
        return super().losses

    def _weight_losses(self, training: bool) -> list[tuple[Tensor, bool]]:
        counted = [penalty for penalty in self.weight_penalties if training or not penalty.train_only]
        if not counted:
            return []
        if self._weights_at is None:
            self._weights_at = weight_sites(self)
        weights = [self._weights_at[str(penalty.site).removeprefix(WEIGHT)][1]() for penalty in counted]
        return [loss for penalty, weight in zip(counted, weights, strict=True) for loss in penalty.penalties(weight)]

    def _run(self, training: bool | None, optimizer_variables: Any = None) -> running.Run:
        if training:
            refuse_what_is_lost(self)

        def scale(layer: Regularize) -> Tensor:
            if not self.compiled or self.optimizer is None:
                return 1.0
            if optimizer_variables is None:
                return self.optimizer.scale_loss(1.0)
            with keras.StatelessScope(list(zip(self.optimizer.variables, optimizer_variables, strict=True))):
                return self.optimizer.scale_loss(1.0)

        return running.Run(scale, self)


@keras.saving.register_keras_serializable(package="regcore")
class RegularizedFunctional(RegularizedModel, Functional):
    """What `RegularizedModel(inputs, outputs)` is.

    Left to itself, Keras would make RegularizedModel a functional model for good, and break every other class that
    derives from it.
    """

    def get_config(self) -> dict[str, Any]:
        penalties = [keras.saving.serialize_keras_object(penalty) for penalty in self.weight_penalties]
        return {**super().get_config(), **({"weight_penalties": penalties} if penalties else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "RegularizedFunctional":
        penalties = config.pop("weight_penalties", ())
        model = super().from_config(config, custom_objects)
        model.weight_penalties = tuple(keras.saving.deserialize_keras_object(penalty) for penalty in penalties)
        return model


def _functional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) == 2 or "outputs" in kwargs

"""Whether the gradient of every penalty of a model arrives at what trains."""

import math
import warnings
from typing import Any

import keras

from regcore.sites import WEIGHT

from . import running
from .layer import Regularize
from .losses import Tensor, coupled_apart
from .regularizers import ActivityRegularizer
from .report import report
from .sites import penalty_sites, walk, weight_sites


def verify(model: keras.Model, x: Any) -> dict[str, dict[str, float]]:
    """`report`, after a pass over the batch `x`, with the `gradient` at every site: by all weights but its own, a norm.

    Each site is differentiated alone, in training and not compiled, so it takes a pass per site; it works for every
    Keras model and on every backend, and leaves weights, states and what was compiled as they were. For a site with
    several terms the gradient is that of their sum. An ActivityRegularizer is reported as `activity_regularizer` of the
    path of its layer.

    Raises RuntimeError that names every site which is never called in training, whose gradient arrives at no weight, or
    whose coefficients are zero.

        regcore_keras.verify(model, x_train[:32])
    """
    activities = {
        f"{path}/activity_regularizer": layer
        for path, layer, _ in walk(model)
        if isinstance(layer.activity_regularizer, ActivityRegularizer)
    }
    sites: dict[str, keras.Layer] = {**penalty_sites(model), **activities}
    before = [(variable, keras.ops.copy(variable.value)) for variable in model.non_trainable_variables]
    found = {path: _Probe(model, path, layer).run(x) for path, layer in sites.items()}
    result = {key: {**entry, "gradient": found[key.rpartition("/")[0]][0]} for key, entry in report(model).items()}
    result |= {path: {"value": found[path][1], "gradient": found[path][0]} for path in activities}
    for variable, value in before:
        variable.assign(value)
    if wrong := {path: reason for path, layer in sites.items() if (reason := _wrong(layer, *found[path]))}:
        raise RuntimeError(
            f"{model.name} would lose penalties: " + "; ".join(f"{path} {reason}" for path, reason in wrong.items())
        )
    return result


def _wrong(layer: keras.Layer, gradient: float, value: float) -> str:
    if isinstance(layer, Regularize) and not any(entry["coefficient"] for entry in layer.report().values()):
        return "has coefficients of zero: give it a weight, or leave the rule out"
    if math.isnan(value):
        return "recorded nothing in a call with training=True: is the layer called, by its __call__?"
    if gradient == 0.0 and value != 0.0:
        return "has a gradient that arrives at no weight: is its input detached, or are the layers before it frozen?"
    return ""


class _Gradients(keras.optimizers.Optimizer):
    """Keeps the gradients, and changes nothing."""

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        self.kept = [(variable, self.add_variable_from_reference(variable, "gradient")) for variable in variables]

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Any) -> None:
        self.assign(self.kept[self._get_variable_index(variable)][1], keras.ops.cast(gradient, variable.dtype))


class _Probe(keras.Model):
    """The model with the penalty of one site as its loss."""

    def __init__(self, model: keras.Model, path: str, layer: keras.Layer) -> None:
        super().__init__(name="probe")
        self.model, self._at, self._site, self._recorded = model, path, layer, False

    def run(self, x: Any) -> tuple[float, float]:
        """The norm of the gradient, and the value, NaN if there was none."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")  # that is what we are here for
            self.compile(_Gradients(learning_rate=0.0), run_eagerly=True)
            value = float(self.train_on_batch(x))
        own = {id(weight) for weight in self._site.trainable_weights} if isinstance(self._site, Regularize) else set()
        kept = [slot for variable, slot in self.optimizer.kept if id(variable) not in own]
        total = sum(float(keras.ops.sum(keras.ops.square(keras.ops.cast(slot.value, "float32")))) for slot in kept)
        if isinstance(self._site, Regularize) and self._site.mode == "attach":
            value = max((abs(entry["value"]) for entry in self._site.report().values()), default=value)
            return math.sqrt(total), value if not self._site.closed else math.inf
        return math.sqrt(total), value if self._recorded else math.nan

    def call(self, x: Any) -> Tensor:
        with running.within(running.Run(lambda layer: 1.0 if layer is self._site else 0.0)):
            outputs = self.model(x, training=True)
        with coupled_apart() as collected:
            losses = [*self._losses_of_site(), *collected.coupled]
        self._recorded = bool(losses)
        floating = [y for y in keras.tree.flatten(outputs) if keras.backend.is_float_dtype(y.dtype)]
        return sum([0.0 * keras.ops.sum(keras.ops.cast(y, "float32")) for y in floating] + losses)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        return y_pred

    def _losses_of_site(self) -> list[Tensor]:
        if self._at.startswith(WEIGHT):
            weight = weight_sites(self.model)[self._at.removeprefix(WEIGHT)][1]()
            return [loss for loss, _ in self._site.penalties(weight)]
        return self._site._get_own_losses()

"""Keras, on the backend of the process: one training step of a `RegularizedModel`, as `fit` makes it.

All data is in the batch, and to each of its floating arrays the model adds a weight that is 0: the gradient by that
weight is the gradient by the array, and Keras itself takes it. So the case goes the way of a user's model: through the
mask of Keras, the layer, its losses, their sum, and the differentiation of the backend, eager or as `compile` has it by
default.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

import regcore
import regcore_keras

from ..cases import UPSTREAM
from . import Evaluate, Unsupported, floating
from .bundle import Problem, Results

COMPILED = {"eager": {"run_eagerly": True}, "compiled": {}}  # modes, and what they are to `compile`


def evaluators() -> dict[str, Evaluate]:
    if keras.backend.backend() == "torch":  # which Keras compiles only when it is told to
        return {"eager": Mode("eager", lambda tensor: False)}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return {mode: Mode(mode, lambda tensor: not tf.executing_eagerly()) for mode in COMPILED}
    import jax

    return {mode: Mode(mode, lambda tensor: isinstance(tensor, jax.core.Tracer), jax.enable_x64) for mode in COMPILED}


class Mode:
    """Evaluates in one mode. A model is used as long as specs, shapes and dtypes stay what they are.

    `is_compiled` tells from a tensor of the batch where it is; `x64` is entered with whether there are float64 arrays.
    """

    def __init__(
        self, mode: str, is_compiled: Callable[[Any], bool], x64: Callable[[bool], Any] = contextlib.nullcontext
    ) -> None:
        self.mode, self.is_compiled, self.x64 = mode, is_compiled, x64
        self.key: Any = None

    def __call__(self, spec: Any, x: np.ndarray, params: dict[str, np.ndarray], mask: Any) -> Results:
        _refuse(spec)
        problem, double = Problem(spec, x, params, mask), x.dtype == np.float64
        with _dtype("float64" if double else "float32"), self.x64(double):
            shapes = [(name, array.shape, array.dtype) for name, array in {**params, "x": x}.items()]
            key = (spec, *shapes, None if mask is None else mask.shape)
            if self.key != key:
                self.key = None  # if this fails, the last model is not that of this problem either
                self.model = Step(problem, self._prove)
                self.model.compile(Keep(), **COMPILED[self.mode])
                self.key = key
            return self.model.run(problem)

    def _prove(self, tensor: Any) -> None:
        if self.is_compiled(tensor) != (self.mode != "eager"):
            raise RuntimeError(f"this was to be {self.mode}, and was not")


class Step(regcore_keras.RegularizedModel):
    """A model that is nothing but the penalty of its batch, and keeps its loss."""

    def __init__(self, problem: Problem, prove: Callable[[Any], None]) -> None:
        super().__init__(autocast=False)
        self.prove, self.masked = prove, Masked()
        self.site = regcore_keras.Regularize(regcore.added(problem.spec))
        self.learned = {weight.name: weight for weight in self.site.trainable_weights}
        floats = {name: problem.params[name] for name in floating(problem.params) if name not in self.learned}
        self.shifts = {name: self._zeros(name, array) for name, array in {"x": problem.x, **floats}.items()}
        self.total = self._zeros("total", np.zeros((), keras.config.floatx()), trainable=False)
        self.built = True

    def _zeros(self, name: str, like: np.ndarray, trainable: bool = True) -> keras.Variable:
        options: dict[str, Any] = {"dtype": str(like.dtype), "trainable": trainable, "autocast": False}
        return self.add_weight(name=name, shape=like.shape, initializer="zeros", **options)

    def run(self, problem: Problem) -> Results:
        """One step; after it, weights are gradients."""
        for shift in self.shifts.values():
            shift.assign(keras.ops.zeros(shift.shape, shift.dtype))
        for name, weight in self.learned.items():
            weight.assign(problem.params[name])
        batch = {name: array for name, array in problem.params.items() if name not in self.learned}
        batch |= {"x": problem.x} if problem.mask is None else {"x": problem.x, "mask": problem.mask}
        self.train_on_batch(batch)
        held = {"value": self.total, **self.shifts, **self.learned}
        if wrong := {
            str(held[name].value.device) for name in held if "cpu" not in str(held[name].value.device).lower()
        }:
            raise RuntimeError(f"results are on {wrong} and were to be on cpu")
        results = {name: keras.ops.convert_to_numpy(variable) for name, variable in held.items()}
        return results | {name: results[name].astype(problem.params[name].dtype) for name in self.learned}

    def call(self, batch: dict[str, Any], training: bool | None = None) -> Any:
        self.prove(batch["x"])
        given = {name: a + self.shifts[name].value if name in self.shifts else a for name, a in batch.items()}
        x, mask = given.pop("x"), given.pop("mask", None)
        return self.site(x if mask is None else self.masked((x, mask)), training=training, **given)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        total = super().compute_loss(*args, **kwargs)
        self.total.assign(total)
        return total


class Masked(keras.layers.Layer):
    """Its input, which from here on has a mask, as behind an Embedding."""

    def __init__(self) -> None:
        super().__init__(autocast=False)
        self.supports_masking = self.built = True

    def call(self, given: tuple[Any, Any]) -> Any:
        return given[0]

    def compute_mask(self, given: tuple[Any, Any], previous_mask: Any = None) -> Any:
        return given[1]


class Keep(keras.optimizers.Optimizer):
    """Puts gradients where weights were; the loss is scaled, as for half precision, by a number that is not 1."""

    def __init__(self) -> None:
        super().__init__(learning_rate=1.0, name="keep")

    def scale_loss(self, loss: Any) -> Any:
        return UPSTREAM * loss

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        self.assign(variable, gradient)


@contextlib.contextmanager
def _dtype(name: str) -> Iterator[None]:
    """The dtype of Keras, in which its users say that they want float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def _refuse(spec: Any) -> None:
    if spec.exact and (len(spec.terms()) > 1 or spec.terms()[0].weight != 1.0):
        raise Unsupported("Keras weighs and adds up terms after they are rounded, so only one without weight is exact")

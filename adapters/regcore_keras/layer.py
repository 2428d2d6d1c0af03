"""The layer that penalizes what passes through it, and keeps what a penalty needs where Keras trains and saves it."""

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras.src.backend.common.stateless_scope import get_stateless_scope  # Keras exports it under no public name

import regcore
from regcore.functional import refuse_coupled
from regcore.penalty import Penalty

from . import running
from .losses import Tensor, apart
from .state import State


@keras.saving.register_keras_serializable(package="regcore")
class Regularize(keras.layers.Layer):
    """Identity layer that makes the penalty of what passes through it a loss, in training.

    Each term of `spec` becomes a loss of the layer, times its coefficient; terms that multiply the task loss need a
    `RegularizedModel`. The mask that comes with the input goes to the penalty. The input is neither cast nor changed.
    `train_only=False` counts the penalty in evaluation as well. What it needs beside `x`, such as labels, is passed by
    keyword. A layer called twice in a step has the losses of both. `site` is its name in reports.

    `mode="attach"` has no losses: it adds the gradient of the penalty to what comes back through the layer, which works
    where losses cannot leave, such as RematScope and the cell of an RNN. It needs a `RegularizedModel`, or
    `loss_scale`, because it must know what the loss is multiplied by.

    Its weights are saved with the model: the learned parameters of the penalty, which train; and, not trained, how many
    calls counted, and for each term a coefficient, which starts as the weight in the spec, and the value of the latest
    call, which starts as NaN. They are float32, or float64 if that is the layer's variable dtype.

    Raises TypeError for a spec that is no penalty; what `regcore.value` raises for input on which the penalty is not
    defined, and at once where the shape of a `keras.Input` tells; ValueError for a mode that is none, and for "attach"
    with a term that multiplies the task loss or outside training; RuntimeError where a penalty would be lost.

        inputs = keras.Input((20,))
        x = keras.layers.Dense(64, activation="relu")(inputs)
        x = Regularize(0.01 * regcore.L1())(x)
        model = keras.Model(inputs, keras.layers.Dense(1)(x))
    """

    def __init__(
        self,
        spec: Penalty,
        *,
        mode: str = "collect",
        train_only: bool = True,
        site: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check(spec, mode, train_only)
        super().__init__(autocast=False, **kwargs)
        self.spec, self.mode, self.train_only, self.site = spec, mode, train_only, site
        self.supports_masking = True
        self.state = State(self, spec)
        self._remat_mode = None  # of RematScope: there is nothing to recompute
        self.built = True  # a spec is complete, so nothing depends on the shape of the input
        self.closed = ""  # the layer around from which values cannot leave, if there is one
        self._run: running.Run | None = None  # the latest, for PyTorch and TensorFlow to recompute in
        self._coupled: list[bool] = []  # of each loss that Keras holds, whether it multiplies the task loss
        self._fired = False  # in the step that Keras holds losses of
        self._scope: weakref.ref[keras.StatelessScope] | None = None  # in which Keras recorded them

    def call(
        self, x: Tensor, mask: Tensor = None, training: bool | None = None, x_mask: Tensor = None, **inputs: Tensor
    ) -> Tensor:
        mask = x_mask if mask is None else mask  # which is where Keras puts it if there are inputs beside x
        run, recomputing = running.current.get(), False
        if run is None and self.closed:  # in backward, on PyTorch and TensorFlow, where Keras knows of no phase
            run, recomputing = self._run, self._run is not None
        if not (training or recomputing) and self.train_only:
            return x
        if run is not None:
            run.check(self)
        self._fired = True
        if self.mode == "attach":
            return self._attach(run, x, mask, inputs)
        for loss, coupled in self.penalties(x, mask, **inputs):
            self.add_loss(loss, coupled=coupled)
        return x

    def penalties(self, x: Tensor, mask: Tensor = None, **inputs: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """For each term its weighted value, and whether it multiplies the task loss; they are noted for the report."""
        calls = self.state.count()
        for term in self.spec.terms():
            params = term.select({**self.state.params(), **inputs})
            compute = functools.partial(regcore.value, term.spec, x, params, mask=mask)
            if term.every == 1:
                value = compute()
                self.state.note(term.name, value)
            else:
                value = self._when_due(term, calls, compute, x)
            weighted = self.state.coefficient(term.name, value.dtype) * value * term.every
            yield keras.ops.cast(weighted, keras.config.floatx()), term.coupled  # the dtype of the total

    def _when_due(self, term: regcore.Term, calls: Tensor, compute: Callable[[], Tensor], x: Tensor) -> Tensor:
        """The value on the steps on which a term counts, and 0 in between, where it costs nothing."""
        due = (calls - 1.0) % term.every == 0
        dtype = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
        value = keras.ops.cond(due, compute, lambda: keras.ops.zeros((), dtype))
        self.state.note(term.name, value, due)
        return value

    def _attach(self, run: running.Run | None, x: Tensor, mask: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        if run is None:
            raise RuntimeError(
                f'{self.name} has mode="attach" and is not told what the loss is multiplied by: train it within a '
                "regcore_keras.RegularizedModel, or within regcore_keras.loss_scale(1.0) in a loop by hand"
            )
        if self.closed and keras.backend.backend() != "jax":  # which recomputes what it traced
            self._run = run
        if not self.closed:
            for _ in self.penalties(keras.ops.stop_gradient(x), mask, **inputs):
                pass  # for the report
        scale, params = run.scale(self), {**self.state.params(), **inputs}
        for term in self.spec.terms():
            weight = scale * self.state.coefficient(term.name, "float64" if self.dtype == "float64" else "float32")
            x = regcore.attach(regcore.added(term.spec), x, term.select(params), scale=weight, mask=mask)
        return x

    def add_loss(self, loss: Tensor, coupled: bool = False) -> None:
        super().add_loss(loss)
        self._coupled.extend([coupled] * len(keras.tree.flatten(loss)))

    def set_coefficient(self, term: str, coefficient: float) -> None:
        """Weigh a term anew from the next step on, after compile too. ValueError for an unknown term, inf and NaN."""
        self.state.set_coefficient(term, coefficient)

    def report(self) -> dict[str, dict[str, float]]:
        """For each term how many `calls` counted, the unweighted `value` of the latest, and its `coefficient`."""
        return self.state.report()

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
        own = {"mode": self.mode, "train_only": self.train_only, "site": self.site}
        return {**super().get_config(), "spec": regcore.to_config(self.spec), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Regularize":
        return cls(**{**config, "spec": regcore.from_config(config["spec"])})

    def _clear_losses(self) -> None:
        """On JAX Keras clears the losses of a layer whenever it is called, but those of one step belong together."""
        scope = get_stateless_scope()
        if scope is None or self._scope is None or self._scope() is not scope:
            super()._clear_losses()
            self._coupled.clear()
            self._fired = False
        self._scope = None if scope is None else weakref.ref(scope)

    def _get_own_losses(self) -> list[Tensor]:
        """Where Keras collects losses to add them up."""
        held = super()._get_own_losses()  # none at all in a scope that keeps no losses
        losses = list(zip(held, self._coupled, strict=False))
        coupled = [loss for loss, multiplies in losses if multiplies]
        if (taken := apart.get()) is not None:
            taken.coupled.extend(coupled)
        elif coupled:
            raise RuntimeError(
                f"{self.name} has a loss that multiplies the task loss, of {self.spec}, and here it would be added: "
                "train a regcore_keras.RegularizedModel, by fit or with its compute_loss, or use regcore.added(...)"
            )
        return [loss for loss, multiplies in losses if not multiplies]


def _check(spec: Penalty, mode: str, train_only: bool) -> None:
    if not isinstance(spec, Penalty):
        raise TypeError(f"Regularize got {spec!r}; expected a penalty, such as 0.01 * regcore.L2()")
    if mode not in ("collect", "attach"):
        raise ValueError(f'Regularize got mode={mode!r}; expected "collect" or "attach"')
    if mode == "collect":
        return
    refuse_coupled(spec)
    if not train_only:
        raise ValueError('mode="attach" adds gradients, and evaluation has none: use mode="collect" to count it there')

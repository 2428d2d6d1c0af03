"""`Regularize` for NNX: an identity module with the penalty of what passes."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import regcore

from .capture import sow
from .linen import Mode, check_mode
from .recorded import attach, attached, record
from .scales import Scales


class Regularize(nnx.Module):
    """Identity; each term of `spec` is recorded for what passes, or its gradient is attached to it.

    It records in the call of a `Regularizer`, see `regularize`; any other call is evaluation. In the mode "attach" it
    acts wherever its output is differentiated, times `loss_scale`. Learned parameters are `nnx.Param`s of the module.
    Arguments and errors are those of the Linen module, `regcore_flax.Regularize`.

        self.reg = Regularize(0.1 * regcore.L1())
    """

    def __init__(self, spec: regcore.Penalty, *, mode: Mode = "collect", across: Any = regcore.Alone) -> None:
        check_mode(mode, None)
        self.spec, self.mode, self.across, self.recording = spec, mode, across, False
        for name, initial in spec.init().items():
            setattr(self, name, nnx.Param(jnp.asarray(initial)))

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, *, loss_scale: Any = None, **inputs: jax.Array
    ) -> jax.Array:
        check_mode(self.mode, loss_scale)
        params = {name: getattr(self, name).get_value() for name in self.spec.shapes()} | inputs
        options = {"mask": mask, "across": self.across}
        if self.recording:
            recorded = record(self.spec, x, params, **options)
            for name, one in (attached(recorded) if self.mode == "attach" else recorded).items():
                sow(self, name, one)
        if self.mode == "attach":
            scales = Scales(None, loss_scale)("", self.spec)
            return attach(self.spec, jnp.asarray(x), params, scales, **options)
        return x


@contextlib.contextmanager
def recording(layer: Regularize) -> Iterator[None]:
    """The module records: whether it does is part of the graph, and so of what is traced."""
    layer.recording = True
    try:
        yield
    finally:
        layer.recording = False

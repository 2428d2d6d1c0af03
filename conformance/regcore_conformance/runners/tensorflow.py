"""TensorFlow: GradientTape in eager mode, in tf.function, and compiled by XLA."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from ..cases import UPSTREAM
from . import Evaluate


def describe() -> str:
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return f"tensorflow {tf.__version__}, TF32 off"


def evaluators() -> dict[str, Evaluate]:
    return {
        "eager": functools.partial(_evaluate, _differentiate),
        "function": functools.partial(_evaluate, _Compiled(jit_compile=False)),
        "xla": functools.partial(_evaluate, _Compiled(jit_compile=True)),
    }


class _Compiled:
    """The last traced function, for the cases in a row that differ only in their data."""

    def __init__(self, *, jit_compile: bool) -> None:
        self.key: Any = None
        self.jit_compile = jit_compile

    def __call__(self, spec: Any, x: tf.Tensor, params: Any, mask: Any) -> Any:
        key = (spec, x.shape, x.dtype)
        if self.key != key:
            self.key = key
            self.function = tf.function(functools.partial(_trace_and_prove, spec), jit_compile=self.jit_compile)
        return self.function(x, params, mask)


def _trace_and_prove(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    if tf.executing_eagerly():
        raise RuntimeError("this was to be traced by tf.function and ran in eager mode")
    return _differentiate(spec, x, params, mask)


def _differentiate(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch((x, params))
        value = spec(x, params, mask=mask)
    dx, dparams = tape.gradient(value, (x, params), tf.constant(UPSTREAM, value.dtype))
    return {"value": value, "x": dx, **dparams}


def _evaluate(function: Any, spec: Any, x: np.ndarray, params: Any, mask: Any) -> dict[str, np.ndarray]:
    tensors = {name: tf.constant(param) for name, param in params.items()}
    results = function(spec, tf.constant(x), tensors, None if mask is None else tf.constant(mask))
    return {name: tensor.numpy() for name, tensor in results.items()}

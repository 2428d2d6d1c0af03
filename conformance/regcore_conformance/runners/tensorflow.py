"""TensorFlow: GradientTape in eager mode, in tf.function, and compiled by XLA."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..cases import UPSTREAM
from . import Evaluate
from .bundle import Bundle, Problem, Results


def evaluators() -> dict[str, Evaluate]:
    return {
        "eager": _eager,
        "function": Bundle(functools.partial(_compile, jit_compile=False)),
        "xla": Bundle(functools.partial(_compile, jit_compile=True)),
    }


def _eager(spec: Any, x: np.ndarray, params: Any, mask: Any) -> Results:
    (results,) = _run(functools.partial(_call, (spec,)), [Problem(spec, x, params, mask)])
    return results


def _compile(specs: tuple[Any, ...], *, jit_compile: bool) -> Any:
    def trace_and_prove(inputs: Any) -> list[Any]:
        if tf.executing_eagerly():
            raise RuntimeError("this was to be traced by tf.function and ran in eager mode")
        return _call(specs, inputs)

    return functools.partial(_run, tf.function(trace_and_prove, jit_compile=jit_compile))


def _call(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return [_differentiate(spec, *tensors) for spec, tensors in zip(specs, inputs, strict=True)]


def _differentiate(spec: Any, x: Any, params: Any, mask: Any) -> dict[str, Any]:
    by = {name: param for name, param in params.items() if param.dtype.is_floating}
    with tf.GradientTape() as tape:
        tape.watch((x, by))
        value = spec(x, params, mask=mask)
    dx, dparams = tape.gradient(value, (x, by), tf.constant(UPSTREAM, value.dtype))
    return {"value": value, "x": dx, **dparams}


def _run(function: Any, problems: Sequence[Problem]) -> list[Results]:
    inputs = [
        (
            tf.constant(x),
            {name: tf.constant(param) for name, param in params.items()},
            None if mask is None else tf.constant(mask),
        )
        for _, x, params, mask in problems
    ]
    return [{name: tensor.numpy() for name, tensor in results.items()} for results in function(inputs)]

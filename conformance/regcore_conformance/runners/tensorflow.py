"""TensorFlow: GradientTape in eager mode, in tf.function, compiled by XLA, under vectorized_map, and twice."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..cases import UPSTREAM
from . import Evaluate, blocks, directions, in_float64
from .bundle import Bundle, Mapped, Problem, Results


def evaluators() -> dict[str, Evaluate]:
    return {
        "eager": _eager,
        "function": Bundle(functools.partial(_compile, jit_compile=False)),
        "xla": Bundle(functools.partial(_compile, jit_compile=True)),
        "panels": Bundle(blocks.within(functools.partial(_compile, jit_compile=False))),
        "vmap": Mapped(_vmap),
        "second": Bundle(_compile_twice),
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


def _compile_twice(specs: tuple[Any, ...]) -> Any:
    run = functools.partial(_run, tf.function(functools.partial(_twice, specs)))
    return lambda problems: run([*map(in_float64, problems)])


def _twice(specs: tuple[Any, ...], inputs: Any) -> list[Any]:
    return [{"second": _second(spec, *tensors)} for spec, tensors in zip(specs, inputs, strict=True)]


def _second(spec: Any, x: Any, params: Any, mask: Any) -> Any:
    """v H w, by differentiating the gradient times v."""
    by = {"x": x, **{name: param for name, param in params.items() if param.dtype.is_floating}}
    v, w = directions({name: tuple(tensor.shape) for name, tensor in by.items()})
    with tf.GradientTape() as tape:
        tape.watch(by)
        gradient = _differentiate(spec, by["x"], {**params, **{n: p for n, p in by.items() if n != "x"}}, mask)
        along = tf.add_n([tf.reduce_sum(gradient[name] * v[name]) for name in v])
    second = tape.gradient(along, by, unconnected_gradients="zero")
    return tf.add_n([tf.reduce_sum(second[name] * w[name]) for name in w])


def _vmap(groups: Sequence[Sequence[Problem]]) -> list[list[Results]]:
    """All data of each spec as one batch, each with derivatives of its own."""
    return [_vmap_one(group) for group in groups]


def _vmap_one(problems: Sequence[Problem]) -> list[Results]:
    params = {name: np.stack([problem.params[name] for problem in problems]) for name in problems[0].params}
    mask = None if problems[0].mask is None else np.stack([problem.mask for problem in problems])
    spec = problems[0].spec

    def one(tensors: Any) -> dict[str, Any]:
        x, params, *mask = tensors
        return _differentiate(spec, x, params, mask[0] if mask else None)

    def program(inputs: Any) -> list[Any]:
        return [
            tf.vectorized_map(one, tuple(part for part in inputs[0] if part is not None), fallback_to_while_loop=False)
        ]

    (results,) = _run(
        tf.function(program), [Problem(spec, np.stack([problem.x for problem in problems]), params, mask)]
    )
    return [{name: array[i] for name, array in results.items()} for i in range(len(problems))]


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

"""Forward and backward in a tf.function, beside the natural expressions."""

import functools
from typing import Any

import tensorflow as tf

import regcore

from .row import Row, Shape, Step, arrays


def tar(x: Any) -> Any:
    return tf.reduce_mean((x[:, 1:] - x[:, :-1]) ** 2)


def covariance(x: Any) -> Any:
    """The term c(Z) of VICReg."""
    n, d = x.shape
    centred = x - tf.reduce_mean(x, axis=0)
    matrix = tf.matmul(centred, centred, transpose_a=True) / (n - 1)
    return (tf.reduce_sum(matrix**2) - tf.reduce_sum(tf.linalg.diag_part(matrix) ** 2)) / d


def _unlike(x: Any) -> Any:
    u = tf.math.l2_normalize(x, axis=1)
    return tf.matmul(u, u, transpose_b=True) * (1.0 - tf.eye(len(x)))


def mean_abs(x: Any) -> Any:
    """keras.regularizers.OrthogonalRegularizer with mode "rows" and factor 1."""
    return 0.5 * tf.reduce_sum(tf.abs(_unlike(x))) / (len(x) * (len(x) - 1) / 2)


def mean_square(x: Any) -> Any:
    return tf.reduce_sum(_unlike(x) ** 2) / (len(x) * (len(x) - 1))


def array(row: Row, spec: regcore.Penalty, shape: Shape, setting: str, device: str) -> dict[str, Step]:
    named = {name: tf.convert_to_tensor(a) for name, a in arrays(spec, shape).items()}

    def ours(x: Any, **params: Any) -> Any:
        return regcore.value(spec, x, params)

    found: dict[str, Step] = {}
    for name, function in {"peer": globals()[row.peer], "ours": ours}.items():
        found[name] = functools.partial(_step, tf.function(_differentiated(function)), named)
    return found


def _differentiated(function: Any) -> Any:
    def both(named: dict[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(named)
            value = function(**named)
        return value, tape.gradient(value, list(named.values()))

    return both


def _step(function: Any, named: dict[str, Any]) -> tuple[Any, list[Any]]:
    value, gradients = function(named)
    return value, gradients

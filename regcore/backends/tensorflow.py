"""TensorFlow: the part of the array API that penalties use, over `tf.*`, and `custom_gradient` for the closed form."""

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import tensorflow as tf

from .. import precision

try:
    from tensorflow.python.eager.record import should_record_backprop as _is_watched
except ImportError:  # a private name: without it gradients are computed with every value

    def _is_watched(tensors: Any) -> bool:
        return True


def namespace(x: Any) -> Any:
    return xp


def shape(x: Any) -> tuple[int | None, ...]:
    if x.shape.rank is None:
        raise ValueError("got a TensorFlow tensor of unknown rank; set it with tensor.set_shape or an input signature")
    return tuple(x.shape)


def kind(x: Any) -> Any:
    return None


def asarray(constant: Any, x: Any) -> tf.Tensor:
    return tf.convert_to_tensor(constant)


def value(spec: Any, x: Any, params: Any, mask: Any, across: Any) -> tf.Tensor:
    @tf.custom_gradient
    def penalty(x: tf.Tensor, *params: tf.Tensor) -> Any:
        def backward(upstream: tf.Tensor) -> Any:
            dx, dparams = precision.grad(xp, spec, x, dict(zip(names, params, strict=True)), mask, across, upstream)
            return dx, *(dparams.get(name) for name in names)  # labels have none

        return precision.value(xp, spec, *_unwatched(names, x, params), mask, across), backward

    names, tensors = tuple(params), [tf.convert_to_tensor(tensor) for tensor in (x, *params.values())]
    if precision.one_pass(spec, tensors[0], across) and _is_watched(tensors):
        return _one_pass(spec, names, mask, across, tensors)
    return penalty(*tensors)


def _one_pass(spec: Any, names: tuple[str, ...], mask: Any, across: Any, tensors: list[tf.Tensor]) -> tf.Tensor:
    """The gradient comes with the value and waits for backward, which takes it again only to be differentiated."""

    @tf.custom_gradient
    def penalty(x: tf.Tensor, *params: tf.Tensor) -> Any:
        alone, named = _unwatched(names, x, params)
        result, gradient = precision.wide_value_and_grad(xp, spec, alone, named, mask, across)

        @tf.custom_gradient
        def scaled(upstream: tf.Tensor, x: tf.Tensor, *params: tf.Tensor) -> Any:
            def twice(*upstreams: tf.Tensor) -> Any:
                by = [tensor for tensor in (upstream, x, *params) if tensor.dtype.is_floating]
                with tf.GradientTape() as tape:
                    tape.watch(by)
                    again = precision.grad(xp, spec, x, dict(zip(names, params, strict=True)), mask, across, upstream)
                second = iter(tape.gradient(_flat(again), by, upstreams))
                return [next(second) if tensor.dtype.is_floating else None for tensor in (upstream, x, *params)]

            return _flat(precision.scaled(xp, gradient, alone, named, upstream)), twice

        def backward(upstream: tf.Tensor) -> Any:
            dx, *by_params = scaled(upstream, x, *params)
            dparams = dict(zip(gradient[1], by_params, strict=True))
            return dx, *(dparams.get(name) for name in names)

        return result, backward

    return penalty(*tensors)


def _unwatched(names: tuple[str, ...], x: tf.Tensor, params: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The same numbers, of which no tape keeps what is made of them."""
    return tf.stop_gradient(x), dict(zip(names, [tf.stop_gradient(param) for param in params], strict=True))


def _flat(gradient: Any) -> list[tf.Tensor]:
    return [gradient[0], *gradient[1].values()]


def value_and_grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: float) -> Any:
    return value(spec, x, params, mask, across), grad(spec, x, params, mask, across, upstream)


def attach(spec: Any, x: Any, params: Any, mask: Any, across: Any, factors: Any) -> tf.Tensor:
    @tf.custom_gradient
    def attached(x: tf.Tensor, *params: tf.Tensor) -> Any:
        def backward(upstream: tf.Tensor) -> Any:
            dx, dparams = precision.grad(xp, spec, x, dict(zip(names, params, strict=True)), mask, across, scale)
            return upstream + dx, *(dparams.get(name) for name in names)

        return tf.identity(x), backward

    names, scale = tuple(params), math.prod(factors)
    return attached(tf.convert_to_tensor(x), *(tf.convert_to_tensor(param) for param in params.values()))


def grad(spec: Any, x: Any, params: Any, mask: Any, across: Any, upstream: Any) -> Any:
    params = {name: tf.convert_to_tensor(param) for name, param in params.items()}
    return precision.grad(xp, spec, tf.convert_to_tensor(x), params, mask, across, upstream)


def _isdtype(dtype: tf.DType, kind: str) -> bool:
    return {"bool": dtype.is_bool, "integral": dtype.is_integer, "real floating": dtype.is_floating}[kind]


def _reduction(reduce: Any) -> Any:
    return lambda x, *, axis=None, keepdims=False: reduce(x, axis=axis, keepdims=keepdims)


def _where(condition: tf.Tensor, x: Any, y: Any) -> tf.Tensor:
    dtype = x.dtype if tf.is_tensor(x) else y.dtype
    return tf.where(condition, tf.convert_to_tensor(x, dtype), tf.convert_to_tensor(y, dtype))


def _triu(x: tf.Tensor, *, k: int = 0) -> tf.Tensor:
    return x - tf.linalg.band_part(x, -1, 0) if k == 1 else tf.linalg.band_part(x, 0, -1)


class _SVD(NamedTuple):
    U: tf.Tensor
    S: tf.Tensor
    Vh: tf.Tensor


def _svd(x: tf.Tensor, *, full_matrices: bool = True) -> _SVD:
    s, u, v = tf.linalg.svd(x, full_matrices=full_matrices)
    return _SVD(u, s, tf.linalg.matrix_transpose(v))


xp = SimpleNamespace(
    float32=tf.float32,
    float64=tf.float64,
    int32=tf.int32,
    isdtype=_isdtype,
    astype=tf.cast,
    sum=_reduction(tf.reduce_sum),
    max=_reduction(tf.reduce_max),
    where=_where,
    abs=tf.abs,
    log1p=tf.math.log1p,
    sqrt=tf.sqrt,
    logical_and=tf.logical_and,
    ones_like=tf.ones_like,
    zeros_like=tf.zeros_like,
    concat=lambda arrays, *, axis=0: tf.concat(arrays, axis),
    matmul=tf.matmul,
    matrix_transpose=tf.linalg.matrix_transpose,
    permute_dims=tf.transpose,
    reshape=tf.reshape,
    triu=_triu,
    exp=tf.exp,
    log=tf.math.log,
    asinh=tf.asinh,
    sinh=tf.sinh,
    squeeze=lambda x, *, axis: tf.squeeze(x, axis),
    expm1=tf.math.expm1,
    tanh=tf.tanh,
    atanh=tf.atanh,
    logical_not=tf.logical_not,
    logical_or=tf.logical_or,
    any=_reduction(tf.reduce_any),
    argmax=lambda x, *, axis=None: tf.argmax(tf.reshape(x, [-1]) if axis is None else x, axis or 0),
    argsort=lambda x, *, axis=-1, descending=False: tf.argsort(x, axis, "DESCENDING" if descending else "ASCENDING"),
    sign=tf.sign,
    bfloat16=tf.bfloat16,
    take=lambda x, indices, *, axis: tf.gather(x, indices, axis=axis),
    index_add=lambda x, dim, index, source: tf.tensor_scatter_nd_add(x, index[:, None], source),
    cos=tf.cos,
    cumulative_sum=lambda x, *, axis=None: tf.cumsum(x, axis or 0),
    sort=lambda x, *, axis=-1, descending=False: tf.sort(x, axis, "DESCENDING" if descending else "ASCENDING"),
    linalg=SimpleNamespace(svd=_svd),
)

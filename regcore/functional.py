"""The front door for bare arrays: input is checked, precision decided, the array's own library does the rest."""

import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import backends, precision
from .replicas import Alone

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    from .penalty import Array, Gradient, Params, Penalty, Shape


def _as_written(function: F) -> F:
    """Keep away TensorFlow's AutoGraph, which rewrites what a tf.function calls: there is nothing to rewrite."""
    vars(function)["autograph_info__"] = {}
    return function


@_as_written
def value(
    spec: "Penalty",
    x: "Array",
    params: "Params | None" = None,
    *,
    mask: "Array" = None,
    across: Any = Alone,
    **inputs: "Array",
) -> "Array":
    """The penalty of `x`: a 0-d array of its library, float64 for float64 input and float32 otherwise.

    On arrays of PyTorch, JAX and TensorFlow it is differentiable in `x`, `params` and `inputs`, and its derivative is
    the penalty's closed form. `mask` is a boolean array over the leading axes of `x`: True counts. `inputs` are arrays
    that the penalty needs beside `x`, such as labels; see `spec.inputs()`. `across` sums over replicas that share a
    batch; see `regcore.Alone`.

    Raises TypeError for what is no real floating-point array, and ValueError for an empty array, a shape on which the
    penalty is not defined, a mask that does not fit, and parameters and inputs that are missing, unknown or of another
    shape. NaN in gives NaN out.

    >>> float(value(TAR(), np.asarray([[[1.0], [2.0], [4.0]]])))
    2.5
    """
    backend, params, mask = _enter(spec, x, {**(params or {}), **inputs}, mask)
    return backend.value(spec, x, params, mask, across)


@_as_written
def attach(
    spec: "Penalty",
    x: "Array",
    params: "Params | None" = None,
    *,
    scale: Any = 1.0,
    mask: "Array" = None,
    across: Any = Alone,
    **inputs: "Array",
) -> "Array":
    """`x`, with `scale` times the gradient of the penalty added to whatever gradient comes back through it.

    Gradients are those of a loss to which `scale` times the penalty was added, and there is nothing to collect: so it
    works where values cannot leave, as in reentrant checkpointing and in a scan. `scale` is the weight of the penalty
    times what the loss is multiplied by before it is differentiated, a number, a 0-d array or a tuple of factors; none
    is differentiated by, and PyTorch reads them in backward. The value is not computed. Nothing comes back through an
    `x` that has no part in the loss, so the penalty is then lost.

    Raises what `value` raises, ValueError for a penalty that multiplies the task loss, and TypeError for arrays of a
    library that does not differentiate, such as NumPy.

        h = regcore.attach(regcore.L1(), h, scale=0.1)
    """
    refuse_coupled(spec)
    backend, params, mask = _enter(spec, x, {**(params or {}), **inputs}, mask)
    return backend.attach(spec, x, params, mask, across, scale if isinstance(scale, tuple) else (scale,))


@_as_written
def value_and_grad(
    spec: "Penalty",
    x: "Array",
    params: "Params | None" = None,
    *,
    mask: "Array" = None,
    across: Any = Alone,
    upstream: float = 1.0,
    **inputs: "Array",
) -> tuple["Array", "Gradient"]:
    """The penalty and `upstream` times its closed-form gradient, as (value, (d/dx, {name: d/dparameter})).

    Works on every library, NumPy included. Gradients have the dtype of what they are taken by; beside those by learned
    parameters there are those by floating `inputs`.

    >>> value, (dx, _) = value_and_grad(L2(), np.asarray([1.0, 3.0]))
    >>> dx
    array([1., 3.])
    """
    backend, params, mask = _enter(spec, x, {**(params or {}), **inputs}, mask)
    both: tuple[Array, Gradient] = backend.value_and_grad(spec, x, params, mask, across, float(upstream))
    return both


def combine(task: "Array", terms: Iterable[tuple["Array", "Array", bool]]) -> "Array":
    """`task * (1 + sum(weight * coupled value)) + sum(weight * added value)` over `(weight, value, coupled)`.

    >>> float(combine(2.0, [(0.5, 3.0, False)]))
    3.5
    """
    factor, added = None, None
    for weight, penalty, coupled in terms:
        term = weight * penalty
        if coupled:
            factor = term if factor is None else factor + term
        else:
            added = term if added is None else added + term
    total = task if factor is None else task * (1.0 + factor)
    return total if added is None else total + added


def refuse_coupled(spec: "Penalty") -> None:
    """Raise ValueError for a penalty whose gradient cannot be attached, because it multiplies the task loss."""
    if coupled := [term.name for term in spec.terms() if term.coupled]:
        raise ValueError(
            f"{coupled} of {spec} multiplies the task loss, which is not known where its gradient would be attached: "
            "collect its value, or add it with regcore.added(...)"
        )


def check(spec: "Penalty", x: "Array", params: "Params") -> None:
    """Raise what `value` raises for such an array and such parameters, without computing anything."""
    _enter(spec, x, params, None)


def _enter(spec: "Penalty", x: "Array", params: "Params", mask: "Array") -> tuple[Any, "Params", "Array"]:
    """Check everything that can be checked without looking at values; give constants the library of `x`."""
    backend = backends.of(x)
    kind = None if params or mask is not None else backend.kind(x)
    if kind is not None and _checked.get((id(spec), kind)) is spec:
        return backend, params, mask
    xp = backend.namespace(x)
    precision.check_dtype(xp, spec, x)
    shape = backend.shape(x)
    if 0 in shape:
        raise ValueError(f"{spec} got an empty array of shape {shape}; a penalty of nothing is not defined")
    params = {name: _native(backend, param, x) for name, param in params.items()}
    shapes = {name: backend.shape(param) for name, param in params.items()}
    learned, inputs = spec.shapes(), spec.inputs()
    if params or learned or inputs:
        _check_names(spec, params, learned, inputs)
        _check_params(spec, shapes, learned)
    for name, kind in inputs.items():
        if not xp.isdtype(params[name].dtype, kind):
            raise TypeError(f"{spec} got {name} of dtype {params[name].dtype}; expected {kind}: convert it first")
    spec.check(shape, **{name: shapes[name] for name in inputs})
    if mask is not None:
        mask = _native(backend, mask, x)
        _check_mask(spec, shape, backend.shape(mask), xp.isdtype(mask.dtype, "bool"))
    if kind is not None:
        _remember(spec, kind)
    return backend, params, mask


_checked: dict[Any, "Penalty"] = {}  # which spec was found right for which kind of array, with nothing beside it
MOST = 4096  # of these, because specs that are made for one call fill it


def _remember(spec: "Penalty", kind: Any) -> None:
    if len(_checked) >= MOST:
        _checked.clear()
    _checked[(id(spec), kind)] = spec


def _native(backend: Any, constant: Any, x: "Array") -> "Array":
    return backend.asarray(constant, x) if isinstance(constant, (numbers.Real, np.ndarray, list)) else constant


def _check_names(spec: "Penalty", params: "Params", learned: Mapping[str, "Shape"], inputs: Mapping[str, str]) -> None:
    if missing := sorted(learned.keys() - params.keys()):
        raise ValueError(
            f"{spec} has learned parameters and got none named {missing}: "
            "pass params=, which starts as spec.init() and is trained with the model"
        )
    if missing := sorted(inputs.keys() - params.keys()):
        raise ValueError(
            f"{spec} needs {missing} beside x: pass them by keyword, as in spec(x, {missing[0]}=...); at a hooked site "
            "no one can, so put a Regularize layer where they are"
        )
    if unknown := sorted(params.keys() - learned.keys() - inputs.keys()):
        raise ValueError(f"{spec} got unknown parameters {unknown}; it has {sorted([*learned, *inputs])}")


def _check_params(spec: "Penalty", shapes: Mapping[str, "Shape"], learned: Mapping[str, "Shape"]) -> None:
    for name, expected in learned.items():
        if shapes[name] != expected:
            raise ValueError(
                f"{spec}: parameter {name!r} has shape {shapes[name]}; expected {expected}, as spec.init() gives"
            )


def _check_mask(spec: "Penalty", shape: "Shape", mask_shape: "Shape", boolean: bool) -> None:
    if refusing := [term.name for term in spec.terms() if not term.penalty.maskable]:
        raise ValueError(f"{spec} got a mask, but {refusing} takes none: leave it out")
    if not boolean:
        raise TypeError(f"{spec} got a mask that is not boolean; True counts: pass `mask != 0`")
    leading = shape[: len(mask_shape)]
    fits = len(mask_shape) == len(leading) and all(
        None in (size, expected) or size == expected for size, expected in zip(mask_shape, leading, strict=True)
    )
    if not fits or not mask_shape:
        raise ValueError(
            f"{spec} got a mask of shape {mask_shape} for x of shape {shape}; "
            f"expected the leading axes of x, such as {shape[:1]} or {shape[:2]}"
        )

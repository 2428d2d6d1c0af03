"""Which dtype a penalty is computed in, in which form, and where it is rounded: once, at the end."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .penalty import Array, Gradient, Params, Penalty


def check_dtype(xp: Any, spec: "Penalty", x: "Array") -> None:
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{spec} got an array of dtype {x.dtype}; penalties are defined for real floating-point arrays: "
            "convert it first"
        )


def bfloat16(xp: Any, spec: "Penalty") -> Any:
    """The dtype, or TypeError."""
    if (dtype := getattr(xp, "bfloat16", None)) is None:
        raise TypeError(
            f"{spec} got an array of a library without bfloat16: leave out what asks for it, or use another library"
        )
    return dtype


def one_pass(spec: "Penalty", x: "Array", across: Any) -> bool:
    """Whether value and gradient are best computed together."""
    return spec.one_pass(tuple(x.shape), across)


def value(xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any) -> "Array":
    """The value, rounded to float64 for float64 input and to float32 for every other."""
    formula = spec.value_alone if one_pass(spec, x, across) else spec.value
    return rounded(xp, x, formula(xp, *wide(xp, spec, x, params), mask=mask, across=across))


def grad(
    xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any, upstream: "Array"
) -> "Gradient":
    """`upstream` times the gradient, each part rounded to the dtype of what it is taken by."""
    return scaled(xp, wide_grad(xp, spec, x, params, mask, across), x, params, upstream)


def value_and_grad(
    xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any, upstream: "Array"
) -> "tuple[Array, Gradient]":
    """Both, as `value` and `grad` give them."""
    result, gradient = wide_value_and_grad(xp, spec, x, params, mask, across)
    return result, scaled(xp, gradient, x, params, upstream)


def wide_grad(xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any) -> "Gradient":
    """The gradient before rounding."""
    if one_pass(spec, x, across):
        return wide_value_and_grad(xp, spec, x, params, mask, across)[1]
    return spec.grad(xp, *wide(xp, spec, x, params), mask=mask, across=across)


def wide_value_and_grad(
    xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any
) -> "tuple[Array, Gradient]":
    """The value, and the gradient before rounding."""
    args = wide(xp, spec, x, params)
    if one_pass(spec, x, across):
        result, gradient = spec.value_and_grad(xp, *args, mask=mask, across=across)
    else:
        result = spec.value(xp, *args, mask=mask, across=across)
        gradient = spec.grad(xp, *args, mask=mask, across=across)
    return rounded(xp, x, result), gradient


def scaled(xp: Any, gradient: "Gradient", x: "Array", params: "Params", upstream: "Array") -> "Gradient":
    """`upstream` times a gradient that is not rounded yet."""
    dx, dparams = gradient
    if not isinstance(upstream, float):
        upstream = cast(xp, upstream, dx.dtype)
    return (
        round_once(xp, upstream * dx, x.dtype),
        {name: round_once(xp, upstream * d, params[name].dtype) for name, d in dparams.items()},
    )


def round_once(xp: Any, array: "Array", dtype: Any) -> "Array":
    """From float64 to half precision by way of float32, as most libraries do without saying so."""
    return array if dtype == xp.float64 else cast(xp, cast(xp, array, xp.float32), dtype)


def rounded(xp: Any, x: "Array", result: "Array") -> "Array":
    """A value, in the dtype in which it leaves."""
    return cast(xp, result, xp.float64 if x.dtype == xp.float64 else xp.float32)


def wide_dtype(xp: Any, spec: "Penalty", x: "Array") -> Any:
    """The dtype to compute in."""
    return xp.float64 if spec.exact or x.dtype == xp.float64 else xp.float32


def wide(xp: Any, spec: "Penalty", x: "Array", params: "Params") -> "tuple[Array, Params]":
    """In the dtype to compute in: x, and all parameters that are floating; labels stay what they are."""
    dtype = wide_dtype(xp, spec, x)
    return cast(xp, x, dtype), {
        name: cast(xp, param, dtype) if xp.isdtype(param.dtype, "real floating") else param
        for name, param in params.items()
    }


def cast(xp: Any, array: "Array", dtype: Any) -> "Array":
    """`array` itself if it has that dtype."""
    return array if array.dtype == dtype else xp.astype(array, dtype)

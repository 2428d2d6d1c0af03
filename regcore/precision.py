"""Which dtype a penalty is computed in, and where it is rounded: once, at the end."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .penalty import Array, Gradient, Params, Penalty


def check_dtype(xp: Any, spec: "Penalty", x: "Array") -> None:
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{spec} got an array of dtype {x.dtype}; penalties are defined for real floating-point arrays: "
            "convert it first"
        )


def value(xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any) -> "Array":
    """The value, rounded to float64 for float64 input and to float32 for every other."""
    wide = _compute_dtype(xp, spec, x)
    result = spec.value(xp, _cast(xp, x, wide), _cast_all(xp, params, wide), mask=mask, across=across)
    return _cast(xp, result, xp.float64 if x.dtype == xp.float64 else xp.float32)


def grad(
    xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any, upstream: "Array"
) -> "Gradient":
    """`upstream` times the gradient, each part rounded to the dtype of what it is taken by."""
    dx, dparams = wide_grad(xp, spec, x, params, mask, across)
    if not isinstance(upstream, float):
        upstream = _cast(xp, upstream, dx.dtype)
    return (
        round_once(xp, upstream * dx, x.dtype),
        {name: round_once(xp, upstream * d, params[name].dtype) for name, d in dparams.items()},
    )


def wide_grad(xp: Any, spec: "Penalty", x: "Array", params: "Params", mask: "Array", across: Any) -> "Gradient":
    """The gradient before rounding."""
    wide = _compute_dtype(xp, spec, x)
    return spec.grad(xp, _cast(xp, x, wide), _cast_all(xp, params, wide), mask=mask, across=across)


def round_once(xp: Any, array: "Array", dtype: Any) -> "Array":
    """From float64 to half precision by way of float32, as most libraries do without saying so."""
    return array if dtype == xp.float64 else _cast(xp, _cast(xp, array, xp.float32), dtype)


def _compute_dtype(xp: Any, spec: "Penalty", x: "Array") -> Any:
    return xp.float64 if spec.exact or x.dtype == xp.float64 else xp.float32


def _cast_all(xp: Any, params: "Params", dtype: Any) -> dict[str, "Array"]:
    """All that are floating; labels stay what they are."""
    return {
        name: _cast(xp, param, dtype) if xp.isdtype(param.dtype, "real floating") else param
        for name, param in params.items()
    }


def _cast(xp: Any, array: "Array", dtype: Any) -> "Array":
    return array if array.dtype == dtype else xp.astype(array, dtype)

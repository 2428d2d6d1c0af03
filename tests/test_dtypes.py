"""Every penalty on every floating dtype, and on NaN: half precision is computed in float32 and rounded once."""

import functools

import numpy as np
import pytest

import regcore
from regcore import L2
from regcore.config import own
from regcore_conformance.cases import all_cases

HALVES = {
    "numpy": ["float16"],
    "torch": ["float16", "bfloat16"],
    "jax": ["float16", "bfloat16"],
    "tensorflow": ["float16", "bfloat16"],
}
KINDS = pytest.mark.parametrize("kind", own().values(), ids=lambda kind: kind.__name__)


def evaluate(library, spec, x, params, mask):
    """Value and gradient by x, as arrays of the library."""
    params = {name: library.asarray(param) for name, param in params.items()}

    def call(x):
        value, (dx, _) = regcore.value_and_grad(spec, x, params, mask=mask)
        return value, dx

    if library.name == "jax":
        import jax

        call = jax.jit(call)  # otherwise each operation is compiled
    return call(x)


@functools.cache
def case(kind):
    """The first example, on data that half precision holds exactly."""
    return next(all_cases([kind], ["dense"]))


def wide(library, array):
    """A NumPy array of float64, from any dtype."""
    if library.name == "torch":
        return array.double().numpy()
    return np.asarray(array).astype(np.float64)


def cast(library, array, dtype):
    if library.name == "torch":
        return array.to(getattr(__import__("torch"), dtype))
    if library.name == "tensorflow":
        return __import__("tensorflow").cast(array, dtype)
    return array.astype(dtype)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "tensorflow"], indirect=True)
@KINDS
def test_half_precision_is_float32_rounded_once(library, kind):
    _, spec, x, params, *_ = case(kind)
    single = library.asarray(x.astype(np.float32))
    value, dx = evaluate(library, spec, single, params, None)
    for half in HALVES[library.name]:
        half_value, half_dx = evaluate(library, spec, cast(library, single, half), params, None)
        assert str(half_value.dtype).split(".")[-1].strip("'> ") == str(value.dtype).split(".")[-1].strip("'> ")
        assert half in str(half_dx.dtype)
        np.testing.assert_array_equal(wide(library, half_value), wide(library, value))
        np.testing.assert_array_equal(wide(library, half_dx), wide(library, cast(library, dx, half)))


@KINDS
def test_the_value_is_float32_or_float64_and_the_gradient_as_the_input(kind):
    _, spec, x, params, *_ = case(kind)
    for given, result in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        value, (dx, dparams) = regcore.value_and_grad(spec, x.astype(given), params)
        assert (value.dtype, value.shape, dx.dtype, dx.shape) == (result, (), given, x.shape)
        assert {name: d.dtype for name, d in dparams.items()} == {name: params[name].dtype for name in dparams}


@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "tensorflow"], indirect=True)
@KINDS
def test_nan_in_is_nan_out(library, kind):
    _, spec, x, params, *_ = case(kind)
    x = x.astype(np.float32)
    x[1, 1] = np.nan
    value, dx = evaluate(library, spec, library.asarray(x), params, None)
    assert np.isnan(wide(library, value))
    assert np.isnan(wide(library, dx)).any()


@KINDS
def test_complex_numbers_and_integers_are_refused(kind):
    _, spec, x, params, *_ = case(kind)
    for wrong in (np.complex64, np.complex128, np.int32):
        with pytest.raises(TypeError, match="real floating-point"):
            spec(x.astype(wrong), params)


def test_a_sum_that_half_precision_cannot_hold(library):
    if library.name == "array_api_strict":
        pytest.skip("array-api-strict has no half precision")
    x = cast(library, library.asarray(np.full(2**17, 0.75, dtype=np.float32)), "float16")
    value, dx = evaluate(library, L2(reduction="sum"), x, {}, None)
    assert wide(library, value) == 0.5625 * 2**17
    assert (wide(library, dx) == 1.5).all()

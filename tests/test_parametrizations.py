"""Parametrizations against their formulas in extended precision: value, way back, and derivative, in every library."""

import contextlib
import functools

import numpy as np
import pytest

from regcore.parametrizations import (
    Cube,
    Difference,
    DoubleExp,
    DoubleExpm1,
    Elementwise,
    Exp,
    FixedSign,
    Identity,
    Log,
    Positive,
    Reciprocal,
    SignedExpm1,
    SignedSquare,
    Sinh,
    Softmax,
    Softplus,
    SoftSign,
    Square,
    catalogue,
)

Wide = np.longdouble  # 64 bits of mantissa where the machine has them; oracles only need more than the dtype under test
DTYPES = ["float32", "float64"]

# f and f' as plain formulas, and weights over the whole domain: in float32, and further out in float64
FORMULAS = {
    Identity(): (lambda w: w, lambda w: w**0),
    Exp(): (np.exp, np.exp),
    Square(): (lambda w: w**2, lambda w: 2 * w),
    Log(): (np.log, lambda w: 1 / w),
    Reciprocal(): (lambda w: 1 / w, lambda w: -1 / w**2),
    DoubleExp(): (lambda w: np.exp(np.exp(w)), lambda w: np.exp(np.exp(w)) * np.exp(w)),
    DoubleExpm1(): (lambda w: np.expm1(np.exp(w)), lambda w: np.exp(np.exp(w)) * np.exp(w)),
    Cube(): (lambda w: w**3, lambda w: 3 * w**2),
    Softplus(): (lambda w: np.logaddexp(0, w), lambda w: 1 / (1 + np.exp(-w))),
    Sinh(): (np.sinh, np.cosh),
    SignedExpm1(): (lambda w: np.sign(w) * np.expm1(abs(w)), lambda w: np.exp(abs(w))),
    SignedSquare(): (lambda w: w * abs(w), lambda w: 2 * abs(w)),
}
RAW = {
    Square(): [0.0, 1e-3, 0.5, 3.0, -2.0, 1e15],
    Log(): [1e-30, 0.5, 1.0, 7.0, 1e30],
    Reciprocal(): [1e-15, -0.5, 1.0, 7.0, -1e15],
    DoubleExp(): [-10.0, -1.0, 0.0, 1.0, 4.0],
    DoubleExpm1(): [-30.0, -1.0, 0.0, 1.0, 4.0],
    Cube(): [0.0, 1e-9, -0.5, 3.0, -1e9],
}
RAW_ANYWHERE = [-80.0, -2.5, -1e-6, 0.0, 1e-6, 0.5, 20.0, 80.0]
POSITIVE = {"float32": [1e-30, 1e-10, 0.1, 1.0, 3.0, 1e5, 1e30], "float64": [1e-300, 1e-10, 0.1, 1.0, 1e5, 1e300]}
WEIGHTS = {
    DoubleExp(): {"float32": [1.001, 1.5, 2.0, 100.0, 1e30], "float64": [1 + 1e-12, 1.5, 100.0, 1e300]},
    Log(): {"float32": [-86.0, -1.0, 0.0, 1.5, 87.0], "float64": [-700.0, -1.0, 0.0, 1.5, 700.0]},
}
PAIRS = [Difference(), Difference(inner=Square(), delta=0.5), SoftSign(), SoftSign(inner=Softplus(), sharpness=2.0)]
SPECS = [*FORMULAS, *PAIRS, FixedSign(), FixedSign(inner=DoubleExpm1()), Softmax(), Softmax(axis=0)]
DIFFERENTIATE = ["torch", "jax", "tensorflow"]
for_each_formula = pytest.mark.parametrize("spec", FORMULAS, ids=repr)
for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=repr)


def weights_of(spec, dtype):
    if spec in WEIGHTS:
        return np.asarray(WEIGHTS[spec][dtype], dtype)
    if isinstance(spec, Positive):
        return np.asarray(POSITIVE[dtype], dtype)
    zero = [] if spec in (Cube(), SignedSquare(), Reciprocal()) else [0.0]
    return np.asarray([-a for a in POSITIVE[dtype]] + zero + POSITIVE[dtype], dtype)


def raw_of(spec):
    return np.asarray(RAW.get(spec, RAW_ANYWHERE))


def weights_for(spec):
    """Some ordinary weights in the domain of any parametrization."""
    if isinstance(spec, Softmax):
        w = np.asarray([[0.5, 0.25, 0.25], [0.5, 0.75, 0.75]])
        return w / w.sum(axis=spec.axis, keepdims=True)
    return np.asarray([1.25, 2.0, 7.5] if isinstance(spec, Positive) else [-2.0, 1.25, 0.03])


def each(function, raw):
    return {name: function(array) for name, array in raw.items()} if isinstance(raw, dict) else function(raw)


def wide_precision(library):
    if library.name != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


@functools.cache
def gradients(name):
    """(f, raw) -> the derivative of sum(f(raw)) by the autodiff of a library."""
    if name == "torch":
        import torch

        def gradient(f, raw):
            raw = each(lambda array: array.clone().requires_grad_(), raw)
            leaves = list(raw.values()) if isinstance(raw, dict) else [raw]
            found = torch.autograd.grad(f(raw).sum(), leaves, materialize_grads=True)
            return dict(zip(raw, found, strict=True)) if isinstance(raw, dict) else found[0]

    elif name == "jax":
        import jax

        def gradient(f, raw):
            return jax.grad(lambda raw: f(raw).sum())(raw)

    else:
        import tensorflow as tf

        def gradient(f, raw):
            with tf.GradientTape() as tape:
                tape.watch(raw)
                total = tf.reduce_sum(f(raw))
            return tape.gradient(total, raw, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return gradient


def close(actual, expected, dtype, scale=0.0):
    """Within 16 roundings of the result and of `scale`, what a rounding of W or of an intermediate does to it."""
    actual, expected = np.asarray(actual, Wide), np.asarray(expected, Wide)
    assert np.isfinite(actual).all()
    bound = 16 * np.finfo(dtype).eps * (abs(expected) + scale) + 4 * np.finfo(dtype).tiny
    assert (abs(actual - expected) <= bound).all(), (actual, expected)


@for_each_formula
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_value_is_the_formula(library, spec, dtype):
    f, slope = FORMULAS[spec]
    with wide_precision(library):
        raw = raw_of(spec).astype(dtype)
        weight = library.asnumpy(spec(library.asarray(raw)))
    assert weight.dtype == dtype
    wide = raw.astype(Wide)
    close(weight, f(wide), dtype, abs(wide * slope(wide)))


@for_each_formula
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", DIFFERENTIATE, indirect=True)
def test_the_librarys_derivative_is_the_formula(library, spec, dtype):
    _, slope = FORMULAS[spec]
    with wide_precision(library):
        raw = raw_of(spec).astype(dtype)
        by_library = library.asnumpy(gradients(library.name)(spec, library.asarray(raw)))
    by_hand = spec.pullback(raw, np.ones_like(raw))
    wide = raw.astype(Wide)
    noise = abs(slope(wide)) * np.maximum(abs(wide), np.exp(np.minimum(wide, 5)))
    close(by_library, slope(wide), dtype, noise)
    close(by_hand, slope(wide), dtype, noise)


@for_each_formula
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_way_back_leads_to_the_weight(library, spec, dtype):
    weight = weights_of(spec, dtype)
    with wide_precision(library):
        raw = spec.right_inverse(library.asarray(weight))
        back, raw = library.asnumpy(spec(raw)), library.asnumpy(raw)
    assert raw.dtype == dtype
    wide = raw.astype(Wide)
    close(back, weight, dtype, abs(wide * FORMULAS[spec][1](wide)))


@for_each_formula
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slope_in_terms_of_the_weight_is_that_at_the_raw_one(spec, dtype):
    f, slope = FORMULAS[spec]
    raw = {Square(): [0.5, 3.0], Log(): [0.5, 3.0], Reciprocal(): [-0.5, 3.0]}.get(spec, [-0.5, 0.25, 1.0])
    weight = f(np.asarray(raw, Wide)).astype(dtype)
    close(spec.slope(weight), slope(np.asarray(raw, Wide)), dtype, 4 * abs(slope(np.asarray(raw, Wide))))


@pytest.mark.parametrize("spec", [s for s in SPECS if s not in FORMULAS], ids=repr)
def test_of_several_entries_the_way_back_and_the_derivative(library, spec):
    weight = np.asarray([-30.0, -2.0, 1e-3, 0.5, 40.0])
    if isinstance(spec, Softmax):
        weight = weights_for(spec)
    elif not isinstance(spec, FixedSign):
        weight = np.concatenate([weight, [0.0]])
    upstream = np.linspace(-1.0, 2.0, weight.size).reshape(weight.shape)
    with wide_precision(library):
        raw = spec.right_inverse(library.asarray(weight))
        close(library.asnumpy(spec(raw)), weight, "float64", 1.0 if spec.parts == ("plus", "minus") else 0.0)
        closed = each(library.asnumpy, spec.pullback(raw, library.asarray(upstream)))
        if library.name in DIFFERENTIATE:
            by_library = gradients(library.name)(lambda raw: spec(raw) * library.asarray(upstream), raw)
            for part in spec.parts or [...]:
                got = library.asnumpy(by_library if part is ... else by_library[part])
                close(got, closed if part is ... else closed[part], "float64", 1.0)
        raw = each(library.asnumpy, raw)
    for part in (part for part in spec.parts if part not in spec.fixed):
        close(closed[part], upstream * numeric_slope(spec, raw, part), np.float32, 1.0)
    for part in spec.fixed:
        assert (closed[part] == 0).all()


def numeric_slope(spec, raw, part, step=2.0**-20):
    up, down = (spec({**raw, part: raw[part] + sign * step}) for sign in (1, -1))
    return (up - down) / (2 * step)


def test_softmax_is_the_formula_and_its_jacobian():
    raw = np.asarray([[1000.0, 1001.0, 999.5], [0.0, -1.0, 2.0]])
    e = np.exp(raw - raw.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    close(Softmax()(raw), a, "float64")
    upstream = np.asarray([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    for row, weight, up in zip(Softmax().pullback(raw, upstream), a, upstream, strict=True):
        close(row, (np.diag(weight) - np.outer(weight, weight)) @ up, "float64", 1.0)


@for_every_spec
def test_a_step_of_the_raw_weight_moves_the_weight_by_the_slope_squared(spec):
    weight, rate = weights_for(spec), 2.0**-20
    by_weight = np.linspace(0.5, 1.5, weight.size).reshape(weight.shape)
    raw = spec.right_inverse(weight)
    by_raw = spec.pullback(raw, by_weight)
    moved = spec({n: raw[n] - rate * by_raw[n] for n in raw} if spec.parts else raw - rate * by_raw)
    if isinstance(spec, Elementwise):
        expected = -rate * spec.slope(weight) ** 2 * by_weight
        np.testing.assert_allclose(moved - weight, expected, rtol=1e-2)
    descent = ((moved - weight) * by_weight).sum()
    squared = sum((g**2).sum() for g in (by_raw.values() if spec.parts else [by_raw]))
    np.testing.assert_allclose(descent, -rate * squared, rtol=1e-2)


@pytest.mark.parametrize("library", DIFFERENTIATE, indirect=True)
@pytest.mark.parametrize("spec", [Softplus(), SignedExpm1(), Log(), Sinh(), Softmax()], ids=repr)
def test_a_branch_that_overflows_leaves_no_nan(library, spec):
    raw = np.asarray([-1000.0, 1000.0] if spec in (Softplus(), Softmax()) else [-60.0, 0.0, 60.0], np.float32)
    gradient = library.asnumpy(gradients(library.name)(spec, library.asarray(raw)))
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, spec.pullback(raw, np.ones_like(raw)), rtol=1e-5, atol=1e-6)


def test_a_logarithm_stays_where_the_raw_weight_left_its_domain(library):
    raw = np.asarray([0.0, -3.0, 2.0], np.float32)
    expected = np.asarray([np.log(np.finfo(np.float32).tiny)] * 2 + [np.log(2.0)], np.float32)
    np.testing.assert_allclose(library.asnumpy(Log()(library.asarray(raw))), expected, rtol=1e-6)
    np.testing.assert_array_equal(Log().pullback(raw, np.ones_like(raw)), np.asarray([0.0, 0.0, 0.5], np.float32))
    if library.name in DIFFERENTIATE:
        gradient = library.asnumpy(gradients(library.name)(Log(), library.asarray(raw)))
        np.testing.assert_allclose(gradient, [0.0, 0.0, 0.5], rtol=1e-6)


@for_every_spec
def test_nan_gives_nan(spec):
    raw = each(np.array, spec.right_inverse(weights_for(spec)))
    (raw[spec.parts[0]] if spec.parts else raw)[..., 0] = np.nan
    assert np.isnan(spec(raw)[..., 0]).all()


@for_every_spec
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32_and_rounded_once(spec, dtype):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    weight = torch.tensor(weights_for(spec)).to(getattr(torch, dtype))
    raw = spec.right_inverse(weight)
    for array in raw.values() if spec.parts else [raw]:
        assert array.dtype == weight.dtype
    back = spec(raw)
    assert back.dtype == weight.dtype
    wide = spec(each(lambda array: array.to(torch.float32), raw))
    assert torch.equal(back, wide.to(weight.dtype))
    torch.testing.assert_close(
        back, weight, rtol=8 * torch.finfo(weight.dtype).eps, atol=4 * torch.finfo(weight.dtype).eps
    )


@pytest.mark.parametrize("library", ["jax", "tensorflow"], indirect=True)
@for_every_spec
def test_traced_functions_give_the_same(library, spec):
    raw = each(lambda array: library.asarray(array.astype(np.float32)), spec.right_inverse(weights_for(spec)))
    if library.name == "jax":
        import jax as tracer

        traced = tracer.jit(spec)
    else:
        import tensorflow as tracer

        traced = tracer.function(lambda raw: spec(raw), reduce_retracing=True)
    np.testing.assert_allclose(library.asnumpy(traced(raw)), library.asnumpy(spec(raw)), rtol=1e-5, atol=1e-6)


def test_every_parametrization_is_tested():
    assert {type(spec) for spec in SPECS} == set(catalogue().values())

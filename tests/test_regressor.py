"""The universal regressor against its formulas at high precision, and in every library's own differentiation."""

import math

import numpy as np
import pytest
from derivatives import derivative
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regcore.regressor import DecisionList, QuasiArithmeticMean

mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed")
EPS = float(np.finfo(np.float32).eps)
SQUASHES = {
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), lambda y: mpmath.log(y / (1 - y))),
    "tanh": (mpmath.tanh, mpmath.atanh),
    "algebraic": (lambda x: x / mpmath.sqrt(1 + x * x), lambda y: y / mpmath.sqrt((1 - y) * (1 + y))),
}
ROWS = {
    "ordinary": [0.5, -1.25, 2.0, 0.125],
    "zeros, as after a ReLU": [0.0, 0.0, 3.0, 1.0],
    "all at the kinks": [0.0, 0.0, 0.0, 0.0],
    "tied": [-2.0, 1.5, 1.5, -2.0],
    "overflow of the formula as written": [30.0, 29.0, 28.0, 31.0],
    "the other side": [-90.0, -90.0, -88.0, -89.0],
    "both ends": [50.0, -50.0, 0.0, 1.0],
}
for_every_squash = pytest.mark.parametrize("squash", SQUASHES)
for_every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
entries = st.floats(-1e4, 1e4, width=32) | st.floats(-4, 4, width=32) | st.just(0.0)
vectors = arrays(np.float32, st.integers(1, 6), elements=entries)


def true_mean(squash, row):
    """The formula as it is written, and its derivatives, at 200 digits."""
    there, back = SQUASHES[squash]
    with mpmath.workdps(200):
        row = [mpmath.mpf(float(a)) for a in row]
        u = back(sum(map(there, row)) / len(row))
        slope = mpmath.diff(there, u)
        return float(u), [float(mpmath.diff(there, a) / slope / len(row)) for a in row]


def slack(squash, row, u=None):
    """The error that the docstring promises, with eight roundings for "a few"."""
    largest = float(np.abs(row).max())
    if squash == "algebraic":
        return 8 * EPS * (1 + (largest if u is None else abs(u)) * math.log1p(largest))
    return 8 * EPS * max(largest, 1.0)


@for_every_squash
@for_every_row
def test_mean_and_derivatives_in_every_library(library, squash, row):
    u, slopes = true_mean(squash, row)
    mean, x = QuasiArithmeticMean(squash=squash), np.asarray(row, dtype=np.float32)
    assert float(mean(library.asarray(x))) == pytest.approx(u, abs=slack(squash, row, u), rel=0)
    near = {"rtol": 0, "atol": 4 * max(slopes) * slack("tanh", row)}
    np.testing.assert_allclose(library.asnumpy(mean.grad(library.asarray(x))), slopes, **near)
    if found := derivative(library, mean, x):
        np.testing.assert_allclose(library.asnumpy(found[0]), slopes, **near)


@for_every_squash
@given(vectors)
def test_mean_lies_between_the_extremes_whatever_the_order(squash, x):
    mean = QuasiArithmeticMean(squash=squash)
    u = float(mean(x))
    assert float(x.min()) - slack(squash, x) <= u <= float(x.max()) + slack(squash, x)
    assert float(mean(x[::-1])) == pytest.approx(u, abs=slack(squash, x), rel=0)
    assert float(mean(-x)) == pytest.approx(-u, abs=slack(squash, x), rel=0)


@for_every_squash
@given(entries, st.integers(1, 5))
def test_mean_of_equal_entries_is_that_entry(squash, entry, n):
    row = np.full(n, entry, dtype=np.float32)
    assert float(QuasiArithmeticMean(squash=squash)(row)) == pytest.approx(entry, abs=slack(squash, row), rel=0)


@for_every_squash
@given(vectors, st.floats(0, 100, width=32))
def test_mean_rises_with_each_entry(squash, x, change):
    raised = x.copy()
    raised[0] += np.float32(change)
    mean = QuasiArithmeticMean(squash=squash)
    assert float(mean(raised)) >= float(mean(x)) - 2 * slack(squash, raised)


@for_every_squash
@given(vectors)
def test_derivatives_are_never_negative_and_their_sum_is_bounded(squash, x):
    slopes = QuasiArithmeticMean(squash=squash).grad(x.astype(np.float64))
    assert (slopes >= 0).all()
    assert slopes.sum() <= (math.sqrt(len(x)) if squash == "algebraic" else 1) * (1 + 1e-9)


@for_every_squash
def test_second_derivatives_at_kinks_and_ties(squash):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.tensor([[0.0, 0.0, 1.0], [3.0, 3.0, -3.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(QuasiArithmeticMean(squash=squash), x)


def test_the_axis_is_the_one_named():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    whole = QuasiArithmeticMean(axis=1)(x)
    assert whole.shape == (2, 4)
    np.testing.assert_allclose(whole[1, 2], QuasiArithmeticMean()(x[1, :, 2]), rtol=1e-14)
    assert QuasiArithmeticMean(axis=1).grad(x).shape == x.shape


def test_half_precision_is_computed_in_float32():
    x = np.asarray([15.0, 16.0, -3.0], dtype=np.float16)
    assert QuasiArithmeticMean()(x) == QuasiArithmeticMean()(x.astype(np.float32))
    assert QuasiArithmeticMean()(x).dtype == np.float32
    assert QuasiArithmeticMean().grad(x).dtype == np.float16


def head(a, s, signed=False):
    return DecisionList(signed=signed)(QuasiArithmeticMean()(a), s)


A, S = (np.random.default_rng(1).uniform(size=shape).astype(np.float32) for shape in [(3, 4), (3, 5)])


def test_the_whole_head_compiled_in_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch._dynamo.reset()
    compiled = torch.compile(head, fullgraph=True, backend="aot_eager")
    np.testing.assert_allclose(compiled(torch.asarray(A), torch.asarray(S)), head(A, S), rtol=1e-6)


def test_the_whole_head_compiled_in_jax():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    np.testing.assert_allclose(jax.jit(head)(A, S), head(A, S), rtol=1e-6)


def test_the_whole_head_in_a_tf_function_with_an_unknown_batch():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    compiled = tf.function(head, input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 5])])
    np.testing.assert_allclose(compiled(A, S), head(A, S), rtol=1e-6)


def test_terms_of_the_list():
    u, s = np.asarray([3.0, -1.0]), np.asarray([[1.0, 0.0, 1.0], [0.5, 0.5, 0.5]])
    assert DecisionList()(u, s).tolist() == [13.0, 0.71875]
    assert DecisionList().prefixes(u, s).tolist() == [[8.0, 12.0, 12.0, 13.0], [0.5, 0.625, 0.6875, 0.71875]]
    assert DecisionList(signed=True).prefixes(u, -s).tolist() == [[-8.0, -8.0, -10.0], [-0.25, -0.375, -0.4375]]


@pytest.mark.parametrize("signed", [False, True])
def test_derivatives_of_the_list(library, signed):
    rng = np.random.default_rng(0)
    u, s = rng.normal(size=3).astype(np.float32), rng.uniform(-1, 1, size=(3, 4)).astype(np.float32)
    form, wide, step = DecisionList(signed=signed), u.astype(np.float64), 2.0**-20
    by_u = (form(wide + step, s) - form(wide - step, s)) / (2 * step)
    columns = np.eye(4)[:, None, :]
    by_s = np.stack([form(wide, s + column) - form(wide, s) for column in columns], axis=1)  # y is linear in s
    found = [form.grad(library.asarray(u), library.asarray(s))]
    if own := derivative(library, form, u, s):
        found.append(own)
    for du, ds in found:
        np.testing.assert_allclose(library.asnumpy(du), by_u, rtol=1e-5)
        np.testing.assert_allclose(library.asnumpy(ds), by_s, rtol=1e-5)


@given(arrays(np.float32, 4, elements=st.floats(-100, 100, width=32)), st.integers(1, 8))
def test_an_unsigned_list_is_positive_and_its_range_is_as_documented(u, k):
    zeros, ones = np.zeros((4, k), np.float32), np.ones((4, k), np.float32)
    np.testing.assert_allclose(DecisionList()(u, zeros), np.exp2(u.astype(np.float64)), rtol=1e-6)
    np.testing.assert_allclose(DecisionList()(u, ones), np.exp2(u.astype(np.float64)) * (2 - 2.0**-k), rtol=1e-6)
    np.testing.assert_allclose(DecisionList()(u, -ones), np.exp2(u.astype(np.float64)) * 2.0**-k, rtol=1e-6)


def test_the_exponent_overflows_to_infinity_and_not_before_128(library):
    u, s = np.asarray([127.0, 128.0], dtype=np.float32), np.full((2, 2), 0.5, dtype=np.float32)
    with np.errstate(over="ignore"):
        y = library.asnumpy(DecisionList()(library.asarray(u), library.asarray(s)))
    assert y.tolist() == [1.375 * 2.0**127, math.inf]


@pytest.mark.parametrize(
    ("u", "s", "signed"),
    [((3,), (4, 2), False), ((3, 1), (3, 2), False), ((3,), (3,), False), ((), (3, 2), False), ((3,), (3, 0), True)],
)
def test_shapes_that_would_broadcast_are_refused(u, s, signed):
    with pytest.raises(ValueError, match=r"expected \(B,\) and \(B, k"):
        DecisionList(signed=signed)(np.ones(u), np.ones(s))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: QuasiArithmeticMean(squash="cbrt"), ValueError, "squash='cbrt'"),
        (lambda: QuasiArithmeticMean(axis=0.5), TypeError, "axis"),
        (lambda: QuasiArithmeticMean(axis=2)(np.ones((2, 3))), ValueError, "axis=2 does not exist"),
        (lambda: QuasiArithmeticMean()(np.ones((2, 0))), ValueError, "there is no mean"),
        (lambda: QuasiArithmeticMean()(np.ones(3, dtype=int)), TypeError, "int64"),
        (lambda: QuasiArithmeticMean()([1.0, 2.0]), TypeError, "numpy.asarray"),
        (lambda: DecisionList()(np.ones(2, dtype=int), np.ones((2, 2))), TypeError, "int64"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_two_libraries_at_once_are_refused():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(TypeError, match="arrays of one library"):
        DecisionList()(torch.ones(2), np.ones((2, 2)))


settings.register_profile("here", deadline=None)
settings.load_profile("here")

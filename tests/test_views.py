"""Barlow Twins against its formula in plain loops, and on batches that have no correlation."""

import math

import numpy as np
import pytest
from derivatives import derivative
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import AXIS, Replicas

from regcore import BarlowTwins, exact, value, value_and_grad

RNG = np.random.default_rng(0)
X, OTHER = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
OTHER += X
SPEC = BarlowTwins(lambd=0.5, eps=0.01)
in_some_libraries = pytest.mark.parametrize(
    "library", ["numpy", "torch", "tensorflow"], indirect=True
)  # all: conformance
that_differentiates = pytest.mark.parametrize("library", ["torch", "jax", "tensorflow"], indirect=True)


def plain(spec, x, other):
    """The published formula, with the batch normalisation of the authors' code."""
    divisor = len(x) - spec.correction
    views = []
    for view in (x, other):
        units = []
        for column in view.T.tolist():
            mean = math.fsum(column) / len(column)
            variance = math.fsum((entry - mean) ** 2 for entry in column) / divisor
            units.append([(entry - mean) / math.sqrt(variance + spec.eps) for entry in column])
        views.append(units)
    total = 0.0
    for i, a in enumerate(views[0]):
        for j, b in enumerate(views[1]):
            c = math.fsum(p * q for p, q in zip(a, b, strict=True)) / divisor
            total += (1 - c) ** 2 if i == j else spec.lambd * c**2
    return total


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 6), units=st.integers(1, 4), correction=st.sampled_from([0, 1]))
def test_value_and_gradients_against_plain_loops(seed, n, units, correction):
    rng, step = np.random.default_rng(seed), 1e-6
    spec = BarlowTwins(lambd=0.5, eps=0.01, correction=correction)
    views = [rng.normal(size=(n, units)) for _ in range(2)]
    found, (dx, dparams) = value_and_grad(spec, views[0], other=views[1])
    assert found == pytest.approx(plain(spec, *views), rel=1e-12)
    for which, gradient in enumerate([dx, dparams["other"]]):
        for index in np.ndindex(n, units):
            sides = []
            for change in (step, -step):
                moved = [view.copy() for view in views]
                moved[which][index] += change
                sides.append(plain(spec, *moved))
            assert gradient[index] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5, abs=1e-7)


@in_some_libraries
def test_golden_numbers(library):
    x, other = ([[1.0, 1.0], [-1.0, -1.0]], [[5.0, 0.0], [1.0, 4.0]])  # C = [[1, -1], [1, -1]]
    arguments = [library.asarray(np.asarray(view)) for view in (x, other)]
    found = value(BarlowTwins(eps=1e-12), arguments[0], other=arguments[1])
    assert library.asnumpy(found) == pytest.approx(4 + 2 * 5e-3, rel=1e-9)


def test_equal_views_of_uncorrelated_units_cost_nothing():
    x = np.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert value(BarlowTwins(eps=1e-12), x, other=3 * x + 5) == pytest.approx(0, abs=1e-20)
    assert value(BarlowTwins(eps=1e-12), x, other=-x) == pytest.approx(8, rel=1e-9)


def test_views_may_be_exchanged_and_both_reordered():
    result, (dx, dparams) = value_and_grad(SPEC, X, other=OTHER)
    swapped, (by_x, by_other) = value_and_grad(SPEC, OTHER, other=X)
    assert swapped == pytest.approx(float(result), rel=1e-14)
    np.testing.assert_allclose(by_other["other"], dx, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(by_x, dparams["other"], rtol=1e-12, atol=1e-15)
    assert value(SPEC, X[::-1, ::-1], other=OTHER[::-1, ::-1]) == pytest.approx(float(result), rel=1e-13)


def test_shards_do_not_add_up():
    shards = [value(SPEC, X[part], other=OTHER[part]) for part in (slice(0, 3), slice(3, 6))]
    assert not SPEC.additive
    assert abs(sum(shards) / 2 - value(SPEC, X, other=OTHER)) > 0.01


def test_statistics_over_replicas_are_those_of_the_whole_batch():
    """JAX's vmap with a named axis stands in for two devices; gradients are averaged, as a trainer does."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jnp = jax.numpy
    x, other = (jnp.asarray(view, dtype=jnp.float32) for view in (X, OTHER))

    def shard(x, other):
        dx, dparams = SPEC.grad(jnp, x, {"other": other}, across=Replicas(2))
        return SPEC.value(jnp, x, {"other": other}, across=Replicas(2)), dx, dparams["other"]

    values, dx, dother = jax.vmap(shard, axis_name=AXIS)(x.reshape(2, 3, 3), other.reshape(2, 3, 3))
    whole, (whole_dx, whole_dparams) = value_and_grad(SPEC, X, other=OTHER)
    np.testing.assert_allclose(values, [whole, whole], rtol=1e-5)
    np.testing.assert_allclose(dx.reshape(6, 3) / 2, whole_dx, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dother.reshape(6, 3) / 2, whole_dparams["other"], rtol=1e-4, atol=1e-6)


def test_tokens_are_samples_where_they_are_named():
    tokens = BarlowTwins(lambd=0.5, eps=0.01, batch_axis=(0, 1))
    x, other = X.reshape(2, 3, 3).copy(), OTHER.reshape(2, 3, 3).copy()
    assert value(tokens, x, other=other) == pytest.approx(float(value(SPEC, X, other=OTHER)), rel=1e-14)
    mask = np.asarray([[True, True, False], [True, True, True]])
    kept = value(SPEC, X[mask.ravel()], other=OTHER[mask.ravel()])
    x[0, 2], other[0, 2] = np.nan, np.inf
    found, (dx, dparams) = value_and_grad(tokens, x, other=other, mask=mask)
    assert found == pytest.approx(float(kept), rel=1e-13)
    assert np.isfinite(dx).all()
    assert np.isfinite(dparams["other"]).all()


@in_some_libraries
@pytest.mark.parametrize("grade", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_a_constant_unit_costs_one_and_is_finite(library, grade):
    x, other = X.astype(np.float32), OTHER.astype(np.float32)
    x[:, 1] = 0.1
    spec = grade(BarlowTwins())
    value, (dx, dparams) = value_and_grad(spec, library.asarray(x), other=library.asarray(other))
    assert library.asnumpy(value) == pytest.approx(plain(BarlowTwins(), x.astype(float), other.astype(float)), rel=1e-5)
    assert np.isfinite(library.asnumpy(dx)).all()
    assert np.isfinite(library.asnumpy(dparams["other"])).all()


@in_some_libraries
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_bad_numbers_are_never_finite_and_wrong(library, bad):
    x = X.astype(np.float32)
    x[1, 0] = bad
    for views in ((x, OTHER.astype(np.float32)), (OTHER.astype(np.float32), x)):
        found = library.asnumpy(SPEC(library.asarray(views[0]), other=library.asarray(views[1])))
        assert not np.isfinite(found) or found == pytest.approx(
            plain(SPEC, *(v.astype(float) for v in views)), rel=1e-5
        )
        assert np.isnan(found) or not np.isnan(bad)


@that_differentiates
def test_what_a_library_differentiates_is_the_closed_form(library):
    found = derivative(library, lambda x, other: SPEC(x, other=other), X, OTHER)
    _, (dx, dparams) = value_and_grad(SPEC, X, other=OTHER)
    for ours, theirs in zip((dx, dparams["other"]), found, strict=True):
        np.testing.assert_allclose(library.asnumpy(theirs), ours, rtol=1e-4, atol=1e-6)


def test_a_batch_that_is_not_known_beforehand():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    unknown = tf.TensorSpec([None, 3], tf.float64)
    function = tf.function(lambda x, other: SPEC(x, other=other), input_signature=[unknown, unknown])
    assert function(tf.constant(X), tf.constant(OTHER)).numpy() == pytest.approx(plain(SPEC, X, OTHER), rel=1e-13)


REFUSED = {
    "views of other shapes": (SPEC, X, OTHER[:5], r"other of shape \(5, 3\); expected two views of one shape"),
    "a single sample": (SPEC, X[:1], OTHER[:1], "a single sample; correlations need two or more"),
    "no such batch axis": (BarlowTwins(batch_axis=2), X, OTHER, "batch_axis=2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    spec, x, other, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        value_and_grad(spec, x, other=other)


def test_integers_for_a_view_are_refused():
    with pytest.raises(TypeError, match="expected real floating"):
        value(SPEC, X, other=OTHER.astype(int))


@pytest.mark.parametrize("fields", [{"lambd": -1.0}, {"eps": 0.0}], ids=str)
def test_fields_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        BarlowTwins(**fields)

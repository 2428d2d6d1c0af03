"""Variances and covariances over the batch: the published formulas in plain loops, known numbers, shards, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from replicas import on_replicas

from regcore import Covariance, DeCov, Variance, exact, value, value_and_grad

matrices = arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 4)), elements=st.integers(-8, 8).map(float))
corrections = st.sampled_from([0, 1])
ALL = [Variance(), Covariance(), DeCov()]
SPECS = pytest.mark.parametrize("spec", ALL, ids=repr)
LIBRARIES = pytest.mark.parametrize("library", ["numpy", "torch", "tensorflow"], indirect=True)


def plain_covariance(a, b, correction):
    """Of two lists, as in any textbook."""
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    products = [(p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True)]
    return math.fsum(products) / (len(a) - correction)


def plain_variance_term(x, gamma, eps, correction):
    columns = x.T.tolist()
    lacks = [max(0.0, gamma - math.sqrt(plain_covariance(c, c, correction) + eps)) for c in columns]
    return math.fsum(lacks) / len(columns)


def plain_off_diagonal(x, correction):
    columns = x.T.tolist()
    return math.fsum(
        plain_covariance(a, b, correction) ** 2 for i, a in enumerate(columns) for j, b in enumerate(columns) if i != j
    )


@settings(deadline=None, max_examples=40)
@given(matrices, corrections, st.sampled_from([0.5, 1.0, 4.0]), st.sampled_from([1e-4, 0.25]))
def test_variance_against_plain_loops(x, correction, gamma, eps):
    spec = Variance(gamma=gamma, eps=eps, correction=correction)
    assert value(spec, x) == pytest.approx(plain_variance_term(x, gamma, eps, correction), rel=1e-13, abs=1e-14)


@settings(deadline=None, max_examples=40)
@given(matrices, corrections)
def test_covariance_and_decov_against_plain_loops(x, correction):
    total = plain_off_diagonal(x, correction)
    assert value(Covariance(correction=correction), x) == pytest.approx(total / x.shape[1], rel=1e-12, abs=1e-20)
    assert value(DeCov(correction=correction), x) == pytest.approx(total / 2, rel=1e-12, abs=1e-20)


@settings(deadline=None, max_examples=40)
@given(matrices)
def test_decov_is_the_published_difference_of_norms(x):
    c = np.cov(x, rowvar=False, bias=True)
    published = 0.5 * (np.linalg.norm(c, "fro") ** 2 - np.linalg.norm(np.diag(c)) ** 2)
    assert value(DeCov(), x) == pytest.approx(published, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(matrices, st.integers(0, 2))
def test_gradients_against_differences(x, which):
    spec, step = ALL[which], 1e-5
    x = x / 8 + np.arange(x.size).reshape(x.shape) % 7 / 16  # away from the corner of the hinge
    _, (dx, _) = value_and_grad(spec, x)
    for index in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[index] = step
        difference = (value(spec, x + change) - value(spec, x - change)) / (2 * step)
        assert dx[index] == pytest.approx(float(difference), rel=1e-5, abs=1e-7)


@LIBRARIES
def test_known_numbers(library):
    """Columns 0, 1, 2 and 0, 2, 4 and 1, 1, 1: variances 1, 4 and 0, and a covariance of 2."""
    x = library.asarray(np.asarray([[0.0, 0.0, 1.0], [1.0, 2.0, 1.0], [2.0, 4.0, 1.0]]))
    for spec, expected, slopes in [
        (Variance(gamma=2.0, eps=0.25), (2 - math.sqrt(1.25) + 0 + 2 - 0.5) / 3, [1 / (6 * math.sqrt(1.25)), 0, 0]),
        (Covariance(), 8 / 3, [-4 / 6 * 2 * 2, -4 / 6 * 2 * 1, 0]),
        (DeCov(), (4 / 3) ** 2, [-2 / 3 * 4 / 3 * 2, -2 / 3 * 4 / 3, 0]),
    ]:
        result, (dx, _) = value_and_grad(spec, x)
        assert library.asnumpy(result) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(library.asnumpy(dx)[0], slopes, rtol=1e-13, atol=0)


def test_vicreg_of_two_views():
    """The two terms of the published loss for both views, weights 25 and 1, from the formulas of the paper."""
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, 8, 3))
    spec = 25.0 * Variance() + 1.0 * Covariance()
    expected = sum(
        25 * np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean()
        + ((np.cov(z, rowvar=False) - np.diag(z.var(axis=0, ddof=1))) ** 2).sum() / 3
        for z in views
    )
    assert sum(float(value(spec, z)) for z in views) == pytest.approx(expected, rel=1e-12)


@SPECS
def test_shards_do_not_add_up(spec):
    x = np.random.default_rng(0).normal(size=(8, 3)) / 2
    shards = sum(float(value(spec, shard)) for shard in np.split(x, 2)) / 2
    assert value(spec, x) != pytest.approx(shards, rel=1e-3)
    assert not spec.additive


@SPECS
def test_statistics_over_replicas_are_those_of_the_whole_batch(spec):
    """JAX's vmap with a named axis stands in for two devices; gradients are averaged, as a trainer does."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(6, 3)) / 2, dtype=jax.numpy.float32)

    values, dx, _ = on_replicas(spec, x, {})
    whole, (whole_dx, _) = value_and_grad(spec, x)
    np.testing.assert_allclose(values, [whole, whole], rtol=1e-6)
    np.testing.assert_allclose(dx, whole_dx, rtol=1e-4, atol=1e-7)


@SPECS
@LIBRARIES
def test_axes_and_masks_choose_samples(spec, library):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)) / 2
    mask = np.asarray([[True, True, False], [True, False, True]])
    x[0, 2] = np.nan  # padding may hold anything
    spec = type(spec)(batch_axis=(0, 1))
    result, (dx, _) = value_and_grad(spec, library.asarray(x), mask=library.asarray(mask))
    plain, (plain_dx, _) = value_and_grad(type(spec)(), x[mask])
    assert library.asnumpy(result) == pytest.approx(float(plain), rel=1e-13)
    np.testing.assert_allclose(library.asnumpy(dx)[mask], plain_dx, rtol=1e-12, atol=1e-16)
    assert not library.asnumpy(dx)[~mask].any()


@SPECS
def test_every_other_axis_counts_units(spec):
    x = np.random.default_rng(0).normal(size=(2, 5, 3)) / 2
    moved = np.moveaxis(x, 1, 0).reshape(5, 6)
    result, (dx, _) = value_and_grad(type(spec)(batch_axis=1), x)
    plain, (plain_dx, _) = value_and_grad(spec, moved)
    assert result == pytest.approx(float(plain), rel=1e-13)
    np.testing.assert_allclose(np.moveaxis(dx, 1, 0).reshape(5, 6), plain_dx, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("precision", [lambda spec: spec, exact], ids=["fast", "exact"])
@LIBRARIES
def test_dead_and_constant_units_have_gradient_zero(library, precision):
    x = np.asarray([[0.1, 0.0, 0.3], [0.1, 0.0, 0.5], [0.1, 0.0, 0.9]], dtype=np.float32)
    for spec in ALL:
        result, (dx, _) = value_and_grad(precision(spec), library.asarray(x))
        assert np.isfinite(library.asnumpy(result))
        assert not library.asnumpy(dx)[:, :2].any()


def test_the_corner_of_the_hinge_has_gradient_zero():
    x = np.asarray([[0.0], [2.0]])  # a population variance of 1, so that sqrt(1 + 3) = gamma
    result, (dx, _) = value_and_grad(Variance(gamma=2.0, eps=3.0, correction=0), x)
    assert result == 0
    assert not dx.any()
    assert value_and_grad(Variance(gamma=2.0 + 1e-9, eps=3.0, correction=0), x)[1][0].all()


@SPECS
@LIBRARIES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_not_finite_is_never_finite_and_wrong(spec, library, bad):
    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    x[1, 2] = bad
    result, (dx, _) = value_and_grad(spec, library.asarray(x))
    true = value(spec, x.astype(np.float64))
    assert not np.isfinite(library.asnumpy(result)) or np.isclose(library.asnumpy(result), true, rtol=1e-5)
    assert not np.isnan(bad) or (np.isnan(library.asnumpy(result)) and np.isnan(library.asnumpy(dx)[1, 2]))


@SPECS
@LIBRARIES
def test_an_empty_mask_is_nan(spec, library):
    x, mask = np.ones((3, 2)), np.zeros(3, dtype=bool)
    assert np.isnan(library.asnumpy(value(spec, library.asarray(x), mask=library.asarray(mask))))


@pytest.mark.parametrize(
    ("spec", "x", "words"),
    [
        (Variance(), np.ones((1, 3)), "a batch of 1; its variance needs at least 2"),
        (Covariance(), np.ones((1, 3)), "needs at least 2.*correction=0"),
        (DeCov(correction=1), np.ones((1, 3)), "needs at least 2"),
        (Covariance(), np.ones((4, 1)), "a single unit"),
        (DeCov(), np.ones(4), "a single unit"),
        (Covariance(batch_axis=2), np.ones((4, 2)), "batch_axis=2 does not exist"),
        (Covariance(batch_axis=(0, -2)), np.ones((4, 2)), r"batch axes \(0, 0\).*each once"),
        (Variance(batch_axis=()), np.ones((4, 2)), r"batch axes \(\).*name one or more"),
    ],
)
def test_shapes_without_statistics_are_refused(spec, x, words):
    with pytest.raises(ValueError, match=words):
        value(spec, x)


@SPECS
def test_a_mask_over_units_is_refused(spec):
    with pytest.raises(ValueError, match="it counts samples"):
        value(spec, np.ones((3, 2)), mask=np.ones((3, 2), dtype=bool))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Variance(gamma=0.0), "gamma=0.0"),
        (lambda: Variance(eps=0.0), "eps=0.0"),
        (lambda: Covariance(correction=2), "correction=2"),
    ],
)
def test_fields_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@SPECS
def test_sizes_known_only_at_run_time(spec):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    spec = type(spec)(batch_axis=(0, 1))
    x = np.random.default_rng(0).normal(size=(2, 3, 4)) / 2
    signature = [tf.TensorSpec([None, None, 4], tf.float64)]
    result, (dx, _) = tf.function(lambda x: value_and_grad(spec, x), input_signature=signature)(x)
    plain, (plain_dx, _) = value_and_grad(spec, x)
    assert float(result) == pytest.approx(float(plain), rel=1e-13)
    np.testing.assert_allclose(dx, plain_dx, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("spec", [Covariance(), DeCov()], ids=repr)
def test_units_of_unknown_size_are_refused(spec):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(lambda x: spec(x), input_signature=[tf.TensorSpec([4, None])])
    with pytest.raises(ValueError, match="units must have known sizes"):
        function(tf.ones((4, 3)))

"""Penalties on how active units are over a batch: formulas in plain loops, golden numbers, edges, replicas."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from replicas import AXIS, Replicas

from regcore import FLOPS, DeadUnits, FiringRateBand, HoyerSquare, KLSparsity, exact, value, value_and_grad

numbers = st.integers(-12, 12).map(lambda n: n / 4)
batches = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 3)), elements=numbers)
SPECS = [KLSparsity(), KLSparsity(rho=0.5), FLOPS(), FiringRateBand(low=-0.5, high=0.25), DeadUnits(threshold=0.75)]
few = settings(max_examples=20, deadline=None)


def close(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-14)


def plain_kl(column, rho):
    rate = math.fsum(1 / (1 + math.exp(-entry)) for entry in column) / len(column)
    return rho * math.log(rho / rate) + (1 - rho) * math.log((1 - rho) / (1 - rate))


def plain_flops(column):
    return (math.fsum(abs(entry) for entry in column) / len(column)) ** 2


def plain_band(column, low, high):
    rate = math.fsum(column) / len(column)
    return max(0.0, low - rate) ** 2 + max(0.0, rate - high) ** 2


PLAIN = [
    (KLSparsity(), lambda column: plain_kl(column, 0.05), "sum"),
    (KLSparsity(rho=0.25), lambda column: plain_kl(column, 0.25), "sum"),
    (FLOPS(), plain_flops, "sum"),
    (FiringRateBand(), lambda column: plain_band(column, 0.01, 0.1), "mean"),
    (FiringRateBand(low=-0.5, high=1.0), lambda column: plain_band(column, -0.5, 1.0), "mean"),
    (DeadUnits(), lambda column: max(0.0, 0.1 - max(column)) ** 2, "mean"),
    (DeadUnits(threshold=0.5), lambda column: max(0.0, 0.5 - max(column)) ** 2, "mean"),
]


@pytest.mark.parametrize(("spec", "plain", "reduction"), PLAIN, ids=[repr(spec) for spec, _, _ in PLAIN])
@few
@given(x=batches)
def test_against_plain_loops(spec, plain, reduction, x):
    of_units = [plain(column) for column in x.T.tolist()]
    expected = math.fsum(of_units) / (len(of_units) if reduction == "mean" else 1)
    assert value(spec, x) == close(expected)
    tokens = np.stack([x, x[::-1]])
    assert value(type(spec)(**{**vars(spec), "batch_axis": (0, -2)}), tokens) == close(expected)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_the_other_reduction_differs_by_the_number_of_units(spec):
    x = np.asarray([[-1.0, 0.5, -2.0], [-3.0, 0.25, 1.5]])
    total = value(type(spec)(**{**vars(spec), "reduction": "sum"}), x)
    assert value(type(spec)(**{**vars(spec), "reduction": "mean"}), x) == close(float(total) / 3)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_statistic_of_the_batch_is_no_mean_over_shards(spec):
    x = np.asarray([[-1.0, 0.5], [-3.0, 0.25], [0.5, -2.0], [2.0, -1.0]])
    shards = [float(value(spec, shard)) for shard in np.split(x, 2)]
    assert not spec.additive
    assert value(spec, x) != pytest.approx(sum(shards) / 2, rel=1e-3)


def test_saturated_units_keep_their_digits_in_float32():
    """Where sigmoid(x) is 1 in float32 its complement would be 0: KL is -(1 - rho) log(1 - rate) - entropy(rho)."""
    x = np.full((4, 1), 40.0, dtype=np.float32)
    entropy = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    result, (dx, _) = value_and_grad(KLSparsity(), x)
    assert result == pytest.approx(0.95 * 40.0 - entropy, rel=1e-6)
    np.testing.assert_allclose(dx, np.full((4, 1), 0.95 / 4), rtol=1e-6)  # (1 - rho) (1 - s) / (1 - rate) / n
    result, (dx, _) = value_and_grad(KLSparsity(), -1000.0 * np.ones((2, 1), dtype=np.float32))
    assert result == pytest.approx(0.05 * 1000.0 - entropy, rel=1e-6)
    np.testing.assert_allclose(dx, np.full((2, 1), -0.05 / 2), rtol=1e-6)


def test_a_rate_at_its_target_is_free():
    assert value(KLSparsity(rho=0.5), np.asarray([[-3.0], [3.0]])) == pytest.approx(0.0, abs=1e-15)
    logit = math.log(0.05 / 0.95)
    result, (dx, _) = value_and_grad(KLSparsity(), np.full((3, 2), logit))
    assert result == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(dx, 0.0, atol=1e-16)


def test_ties_of_the_maximum_share_its_slope():
    x = np.asarray([[-1.0, 3.0, -2.0], [-1.0, -1.0, -3.0]])
    result, (dx, _) = value_and_grad(DeadUnits(threshold=0.0), x)
    assert result == close((1.0 + 0.0 + 4.0) / 3)
    np.testing.assert_allclose(dx, [[-1 / 3, 0.0, -4 / 3], [-1 / 3, 0.0, 0.0]], rtol=1e-15)


def test_nothing_pulls_within_the_band_or_at_its_ends():
    spec = exact(FiringRateBand(low=0.25, high=0.5))
    for x in ([[0.25]], [[0.0], [0.5]], [[1.0], [0.0]]):
        result, (dx, _) = value_and_grad(spec, np.asarray(x))
        assert result == 0
        assert not dx.any()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_mask_leaves_out_what_it_hides(spec):
    x = np.asarray([[-1.0, -0.5], [np.nan, np.inf], [-2.0, 0.125]])
    result, (dx, _) = value_and_grad(spec, x, mask=np.asarray([True, False, True]))
    expected, (dx_kept, _) = value_and_grad(spec, x[[0, 2]])
    assert result == close(float(expected))
    np.testing.assert_allclose(dx, [dx_kept[0], [0.0, 0.0], dx_kept[1]], rtol=1e-13)


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_nan_and_empty_masks_with_every_library(library, spec):
    x = library.asarray(np.asarray([[1.0, 2.0], [np.nan, -3.0]], dtype=np.float32))
    result, (dx, _) = value_and_grad(spec, x)
    assert np.isnan(library.asnumpy(result))
    assert np.isnan(library.asnumpy(dx)[1, 0])
    assert np.isfinite(library.asnumpy(dx)[:, 1]).all()
    result, (dx, _) = value_and_grad(spec, x, mask=library.asarray(np.zeros(2, dtype=bool)))
    assert library.asnumpy(result) == 0
    assert not library.asnumpy(dx).any()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("large", [1e30, -1e30, np.inf, -np.inf])
def test_what_overflows_is_never_finite_and_wrong(spec, large):
    x = np.asarray([[1.0, large], [-2.0, 0.5]], dtype=np.float32)
    with np.errstate(all="ignore"):
        single, double = value(spec, x), value(spec, x.astype(np.float64))
    assert not np.isfinite(single) or single == pytest.approx(double, rel=1e-5)


@pytest.mark.parametrize("spec", [*SPECS, HoyerSquare()], ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_replicas_have_the_statistics_of_the_whole_batch(spec, masked):
    """JAX's vmap with a named axis stands in for three devices, one without samples; gradients are averaged."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jnp = jax.numpy
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) - 1.0, dtype=jnp.float32)
    mask = jnp.asarray([True, True, True, False, False, False]) if masked else jnp.ones(6, dtype=bool)

    def shard(x, mask):
        mask = mask if masked else None
        dx, _ = spec.grad(jnp, x, {}, mask=mask, across=Replicas(3))
        return spec.value(jnp, x, {}, mask=mask, across=Replicas(3)), dx

    values, dx = jax.jit(jax.vmap(shard, axis_name=AXIS))(x.reshape(3, 2, 3), mask.reshape(3, 2))
    whole, (whole_dx, _) = value_and_grad(spec, x, mask=mask if masked else None)
    np.testing.assert_allclose(values, [whole] * 3, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dx.reshape(6, 3) / 3, whole_dx, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KLSparsity(rho=1.0), "rho=1.0; it is the share"),
        (lambda: FiringRateBand(low=0.5, high=0.25), "low=0.5 is above high=0.25"),
        (lambda: FLOPS(batch_axis=(0, -2))(np.ones((2, 2))), "name one or more, each once"),
        (lambda: FLOPS(batch_axis=())(np.ones((2, 2))), "name one or more, each once"),
        (lambda: DeadUnits(batch_axis=2)(np.ones((2, 2))), "batch_axis=2 does not exist"),
        (lambda: KLSparsity()(np.ones((2, 2)), mask=np.ones((2, 2), bool)), "it counts samples"),
    ],
)
def test_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("spec", [FLOPS(), HoyerSquare()], ids=repr)
def test_an_entry_at_a_kink_moves_no_other_slope_in_jax(spec):
    """Where the derivative of JAX's abs is 1: the slope of the second entry would depend on it."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    hessian = jax.hessian(spec)(jax.numpy.asarray([[0.0], [2.0], [1.0]]))
    assert not hessian[1, 0, 0, 0]
    assert hessian[1, 0, 2, 0]

"""Penalties on logits against their formulas in plain loops, and where a softmax under- or overflows."""

import math

import numpy as np
import pytest
from derivatives import derivative
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from replicas import AXIS, Replicas

from regcore import ConfidencePenalty, LoadBalance, ZLoss, exact, value, value_and_grad

logits = arrays(np.float64, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(-8, 8).map(float))
masks = st.integers(0, 2**16 - 1).map(lambda bits: np.asarray([bits >> i & 1 for i in range(16)], bool).reshape(4, 4))
SPECS = [ZLoss(), ConfidencePenalty(), LoadBalance(), LoadBalance(top_k=2)]
for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=str)
in_some_libraries = pytest.mark.parametrize(
    "library", ["numpy", "torch", "tensorflow"], indirect=True
)  # all: conformance
that_differentiates = pytest.mark.parametrize("library", ["torch", "jax", "tensorflow"], indirect=True)
Z = np.random.default_rng(0).normal(size=(2, 4, 3)) * 2


def softmax(row):
    weights = [math.exp(z - max(row)) for z in row]
    return [weight / math.fsum(weights) for weight in weights]


def choices(row, k):
    """The share of k choices that each entry gets: the larger first, and equal ones what is left, in equal parts."""
    shares, left = [0.0] * len(row), k
    for level in sorted(set(row), reverse=True):
        tied = [i for i, z in enumerate(row) if z == level]
        for i in tied:
            shares[i] = min(left, len(tied)) / len(tied)
        left -= min(left, len(tied))
    return [share / k for share in shares]


def plain(spec, rows, held=None):
    """The published formula over the rows that count; `held` are the logits that choose, if they are others."""
    rows = [list(map(float, row)) for row in rows]
    if not rows:
        return 0.0
    if isinstance(spec, LoadBalance):
        chosen = [choices(list(map(float, row)), spec.top_k) for row in (rows if held is None else held)]
        f = [math.fsum(column) / len(rows) for column in zip(*chosen, strict=True)]
        p = [math.fsum(column) / len(rows) for column in zip(*map(softmax, rows), strict=True)]
        return len(f) * math.fsum(a * b for a, b in zip(f, p, strict=True))
    if isinstance(spec, ZLoss):
        terms = [(max(row) + math.log(math.fsum(math.exp(z - max(row)) for z in row))) ** 2 for row in rows]
    else:
        terms = [math.fsum(p * math.log(p) for p in softmax(row) if p) for row in rows]
    return math.fsum(terms) / len(terms)


@for_every_spec
@settings(deadline=None, max_examples=50)
@given(z=logits, mask=masks)
def test_value_against_plain_loops(spec, z, mask):
    if isinstance(spec, LoadBalance) and z.shape[-1] < spec.top_k:
        z = np.concatenate([z, z + 1], axis=-1)
    mask = mask[: z.shape[0], : z.shape[1]]
    assert value(spec, z) == pytest.approx(plain(spec, z.reshape(-1, z.shape[-1])), rel=1e-12, abs=1e-14)
    assert value(spec, z, mask=mask) == pytest.approx(plain(spec, z[mask]), rel=1e-12, abs=1e-14)


@for_every_spec
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), mask=masks)
def test_gradient_against_differences(spec, seed, mask):
    z, step, mask = np.random.default_rng(seed).normal(size=(2, 3, 4)), 1e-6, mask[:2, :3]
    _, (dz, _) = value_and_grad(spec, z, mask=mask)
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += step
        down[index] -= step
        slope = (plain(spec, up[mask], held=z[mask]) - plain(spec, down[mask], held=z[mask])) / (2 * step)
        assert dz[index] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@in_some_libraries
def test_golden_numbers(library):
    z = library.asarray(np.log(np.asarray([[1.0, 1.0], [1.0, 3.0]])))
    value, (dz, _) = value_and_grad(ZLoss(), z)
    assert library.asnumpy(value) == pytest.approx((math.log(2) ** 2 + math.log(4) ** 2) / 2, rel=1e-14)
    expected = [[math.log(2) / 2] * 2, [math.log(4) / 4, math.log(4) * 3 / 4]]
    np.testing.assert_allclose(library.asnumpy(dz), expected, rtol=1e-14)
    value, (dz, _) = value_and_grad(ConfidencePenalty(), z)
    assert library.asnumpy(value) == pytest.approx((-math.log(2) + 0.75 * math.log(3) - math.log(4)) / 2, rel=1e-14)
    slope = 3 / 16 * math.log(3) / 2
    np.testing.assert_allclose(library.asnumpy(dz), [[0, 0], [-slope, slope]], atol=1e-15)
    value, (dz, _) = value_and_grad(LoadBalance(), z)  # f = 1/4, 3/4 and P = 3/8, 5/8
    assert library.asnumpy(value) == pytest.approx(2 * (3 / 32 + 15 / 32), rel=1e-14)
    np.testing.assert_allclose(library.asnumpy(dz), [[-1 / 8, 1 / 8], [-3 / 32, 3 / 32]], rtol=1e-14)


@pytest.mark.parametrize("experts", [2, 3, 8])
def test_balance_is_one_and_a_single_busy_expert_costs_all(experts):
    assert value(LoadBalance(), 3.0 * np.eye(experts)) == pytest.approx(1.0, rel=1e-14)
    assert value(LoadBalance(top_k=2), np.ones((4, experts))) == pytest.approx(1.0, rel=1e-14)
    assert value(LoadBalance(), 100.0 * np.eye(experts)[:1]) == pytest.approx(experts, rel=1e-14)


@pytest.mark.parametrize(
    ("row", "k", "shares"),
    [
        ([2.0, 2.0, 1.0], 1, [1 / 2, 1 / 2, 0]),
        ([2.0, 1.0, 1.0], 2, [1 / 2, 1 / 4, 1 / 4]),
        ([1.0, 1.0, 1.0], 2, [1 / 3, 1 / 3, 1 / 3]),
        ([3.0, 2.0, 1.0], 3, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
@in_some_libraries
def test_ties_share_the_last_places_evenly(library, row, k, shares):
    """The derivative, p (f - sum(f p)) experts, gives f away."""
    z = np.asarray([row])
    _, (dz, _) = value_and_grad(LoadBalance(top_k=k), library.asarray(z))
    p, f = np.asarray(softmax(row)), np.asarray(shares)
    np.testing.assert_allclose(library.asnumpy(dz)[0], 3 * p * (f - (f * p).sum()), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", [ZLoss, ConfidencePenalty])
def test_sum_and_mean_of_a_batch(kind):
    summed, per_sample = (value(kind(reduction=r), Z) for r in ("sum", "batch_mean"))
    assert summed == pytest.approx(2 * per_sample, rel=1e-14)
    assert summed == pytest.approx(8 * value(kind(), Z), rel=1e-14)


@for_every_spec
def test_shards_add_up_unless_it_is_a_statistic_of_the_batch(spec):
    mean_of_shards = (value(spec, Z[:1]) + value(spec, Z[1:])) / 2
    assert (value(spec, Z) == pytest.approx(float(mean_of_shards), rel=1e-10)) == spec.additive


@for_every_spec
def test_features_are_those_of_the_axis_named(spec):
    first = type(spec)(
        **{**{name: getattr(spec, name) for name in ("top_k",) if name in vars(spec)}, "feature_axis": 1}
    )
    moved = np.moveaxis(Z, -1, 1)
    _, (dz, _) = value_and_grad(spec, Z)
    other, (other_dz, _) = value_and_grad(first, moved)
    assert other == pytest.approx(float(value(spec, Z)), rel=1e-14)
    np.testing.assert_allclose(np.moveaxis(other_dz, 1, -1), dz, rtol=1e-12, atol=1e-16)


def test_statistics_over_replicas_are_those_of_the_whole_batch():
    """JAX's vmap with a named axis stands in for two devices; gradients are averaged, as a trainer does."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jnp, spec = jax.numpy, LoadBalance(top_k=2)
    z = jnp.asarray(Z.reshape(8, 3), dtype=jnp.float32)
    mask = jnp.asarray([True, False, True, True, True, True, False, False])

    def shard(z, mask):
        arguments = (jnp, z, {})
        return (
            spec.value(*arguments, mask=mask, across=Replicas(2)),
            spec.grad(*arguments, mask=mask, across=Replicas(2))[0],
            spec.value(*arguments, across=Replicas(2)),
        )

    masked, dz, full = jax.vmap(shard, axis_name=AXIS)(z.reshape(2, 4, 3), mask.reshape(2, 4))
    whole, (whole_dz, _) = value_and_grad(spec, z, mask=mask)
    np.testing.assert_allclose(masked, [whole, whole], rtol=1e-6)
    np.testing.assert_allclose(dz.reshape(8, 3) / 2, whole_dz, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(full, [value(spec, z)] * 2, rtol=1e-6)


@in_some_libraries
@for_every_spec
@pytest.mark.parametrize("grade", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_certain_predictions_are_finite(library, spec, grade):
    z = np.asarray([[1000.0, 0.0, -1000.0], [-2000.0, -2000.0, -3000.0]], dtype=np.float32)
    value, (dz, _) = value_and_grad(grade(spec), library.asarray(z))
    assert library.asnumpy(value) == pytest.approx(plain(spec, z), rel=1e-6)
    assert np.isfinite(library.asnumpy(dz)).all()


@in_some_libraries
@for_every_spec
def test_a_logit_of_minus_infinity_is_a_class_that_is_not_there(library, spec):
    z = np.concatenate([Z, np.full((2, 4, 1), -np.inf)], axis=-1)
    value, (dz, _) = value_and_grad(spec, library.asarray(z))
    without, (dz_without, _) = value_and_grad(spec, Z)
    classes = 4 / 3 if isinstance(spec, LoadBalance) else 1.0  # the number of experts is a factor of it
    assert library.asnumpy(value) == pytest.approx(classes * float(without), rel=1e-13)
    np.testing.assert_allclose(library.asnumpy(dz)[..., :3], classes * dz_without, rtol=1e-11, atol=1e-14)
    assert not library.asnumpy(dz)[..., 3].any()


@in_some_libraries
@for_every_spec
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_are_nan_where_they_count(library, spec, bad):
    z = Z.astype(np.float32)
    z[0, 1, 2] = bad
    value, (dz, _) = value_and_grad(spec, library.asarray(z))
    assert not np.isfinite(library.asnumpy(value))
    assert np.isnan(library.asnumpy(dz)[0, 1, 2])
    mask = np.ones((2, 4), bool)
    mask[0, 1] = False
    value, (dz, _) = value_and_grad(spec, library.asarray(z), mask=library.asarray(mask))
    assert library.asnumpy(value) == pytest.approx(plain(spec, Z[mask].astype(np.float32)), rel=1e-5)
    assert np.isfinite(library.asnumpy(dz)).all()


@in_some_libraries
@for_every_spec
def test_nothing_to_count_is_zero(library, spec):
    value, (dz, _) = value_and_grad(spec, library.asarray(Z), mask=library.asarray(np.zeros((2, 4), bool)))
    assert library.asnumpy(value) == 0
    assert not library.asnumpy(dz).any()


@for_every_spec
def test_a_batch_that_is_not_known_beforehand(spec):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(spec, input_signature=[tf.TensorSpec([None, None, 3], tf.float64)])
    assert function(tf.constant(Z)).numpy() == pytest.approx(float(value(spec, Z)), rel=1e-14)


@that_differentiates
@for_every_spec
def test_what_a_library_differentiates_is_the_closed_form(library, spec):
    found = derivative(library, spec, Z)
    _, (dz, _) = value_and_grad(spec, Z)
    np.testing.assert_allclose(library.asnumpy(found[0]), dz, rtol=1e-5, atol=1e-7)


REFUSED = {
    "no such axis": (ZLoss(feature_axis=3), Z, None, "feature_axis=3 does not exist"),
    "batch for features": (ZLoss(feature_axis=0, reduction="batch_mean"), Z, None, "both features and batch"),
    "a mask over features": (ConfidencePenalty(feature_axis=1), Z, np.ones((2, 4), bool), "covers the feature axis 1"),
    "a mask over experts": (LoadBalance(), Z, np.ones(Z.shape, bool), "covers the feature axis 2"),
    "too few experts": (LoadBalance(top_k=4), Z, None, r"has size 3; expected a known number of experts, 4 or more"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    spec, z, mask, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        value_and_grad(spec, z, mask=mask)


def test_no_choice_is_refused():
    with pytest.raises(ValueError, match="top_k=0"):
        LoadBalance(top_k=0)

"""Penalties on change along time against their formulas in plain loops, and at the points where they could go wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regcore import NormStabilizer, TotalVariation, exact, value, value_and_grad

sequences = arrays(np.float64, st.tuples(*[st.integers(1, 4)] * 3), elements=st.integers(-8, 8).map(float))
masks = st.integers(0, 2**16 - 1).map(lambda bits: np.asarray([bits >> i & 1 for i in range(16)], bool).reshape(4, 4))
KINDS = [TotalVariation(), NormStabilizer()]
for_every_kind = pytest.mark.parametrize("spec", KINDS, ids=str)
in_some_libraries = pytest.mark.parametrize(
    "library", ["numpy", "torch", "tensorflow"], indirect=True
)  # all: conformance
X = np.linspace(-2, 3, 24).reshape(2, 4, 3)


def plain(spec, x, mask):
    """The terms of the published formula, one for each pair of valid steps (and unit, for a total variation)."""
    terms = []
    for b in range(x.shape[0]):
        for t in range(1, x.shape[1]):
            if not (mask[b, t] and mask[b, t - 1]):
                continue
            if isinstance(spec, NormStabilizer):
                terms.append((math.hypot(*x[b, t]) - math.hypot(*x[b, t - 1])) ** 2)
            else:
                terms += [abs(now - before) for now, before in zip(x[b, t], x[b, t - 1], strict=True)]
    return terms


def mean(terms):
    return math.fsum(terms) / len(terms) if terms else 0.0


@for_every_kind
@settings(deadline=None, max_examples=50)
@given(x=sequences, mask=masks)
def test_value_against_plain_loops(spec, x, mask):
    mask = mask[: x.shape[0], : x.shape[1]]
    everything = np.ones_like(mask)
    assert value(spec, x) == pytest.approx(mean(plain(spec, x, everything)), rel=1e-13, abs=1e-25)
    assert value(spec, x, mask=mask) == pytest.approx(mean(plain(spec, x, mask)), rel=1e-13, abs=1e-25)
    summed = type(spec)(reduction="sum")
    assert value(summed, x, mask=mask) == pytest.approx(math.fsum(plain(spec, x, mask)), rel=1e-13, abs=1e-25)


@for_every_kind
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), mask=masks)
def test_gradient_against_differences(spec, seed, mask):
    x, step = np.random.default_rng(seed).normal(size=(3, 4, 2)), 1e-6
    _, (dx, _) = value_and_grad(spec, x, mask=mask[:3])
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope = (mean(plain(spec, up, mask)) - mean(plain(spec, down, mask))) / (2 * step)
        assert dx[index] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@in_some_libraries
def test_golden_numbers(library):
    x = library.asarray(np.asarray([[[3.0, 4.0], [0.0, 5.0], [0.0, 8.0]]]))
    value, (dx, _) = value_and_grad(TotalVariation(), x)  # steps (-3, 1) and (0, 3)
    assert library.asnumpy(value) == 7 / 4
    np.testing.assert_array_equal(library.asnumpy(dx) * 4, [[[1, -1], [-1, 0], [0, 1]]])
    value, (dx, _) = value_and_grad(NormStabilizer(), x)  # norms 5, 5 and 8
    assert library.asnumpy(value) == pytest.approx(4.5, rel=1e-15)
    np.testing.assert_allclose(library.asnumpy(dx), [[[0, 0], [0, -3], [0, 3]]], atol=1e-15)


def test_axes_are_those_named():
    swapped = np.transpose(X, (2, 1, 0))
    assert value(TotalVariation(time_axis=1), swapped) == value(TotalVariation(), X)
    assert value(NormStabilizer(feature_axis=0), swapped) == pytest.approx(float(value(NormStabilizer(), X)), rel=1e-14)
    assert value(NormStabilizer(time_axis=0, feature_axis=1), X[0]) == value(NormStabilizer(), X[:1])
    images = X[None]
    both = TotalVariation(time_axis=-2).named("rows") + TotalVariation(time_axis=-1).named("columns")
    assert value(both, images) == pytest.approx(5 * 3 / 23 + 5 / 23, rel=1e-13)


@for_every_kind
def test_shards_add_up(spec):
    mean_of_shards = (value(spec, X[:1]) + value(spec, X[1:])) / 2
    assert spec.additive
    assert value(spec, X) == pytest.approx(mean_of_shards, rel=1e-14)


@for_every_kind
def test_sum_and_mean_of_a_batch(spec):
    summed, per_sample = (value(type(spec)(reduction=r), X) for r in ("sum", "batch_mean"))
    assert summed == pytest.approx(2 * per_sample, rel=1e-15)
    terms = 2 * 3 * (1 if isinstance(spec, NormStabilizer) else 3)
    assert summed == pytest.approx(terms * value(spec, X), rel=1e-15)


@in_some_libraries
def test_what_stands_still_has_value_and_gradient_zero(library):
    constant = library.asarray(np.broadcast_to(X[:, :1].astype(np.float32), (2, 4, 3)).copy())
    for spec in KINDS:
        value, (dx, _) = value_and_grad(spec, constant)
        assert library.asnumpy(value) == 0
        assert not library.asnumpy(dx).any()


def test_turning_on_the_spot_is_free_for_norms_alone():
    turning = np.asarray([[[3.0, 4.0], [4.0, -3.0], [-5.0, 0.0]]])
    assert value(NormStabilizer(), turning) == pytest.approx(0.0, abs=1e-30)
    assert value(TotalVariation(), turning) > 0


@in_some_libraries
@pytest.mark.parametrize("grade", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_a_zero_vector_has_gradient_zero(library, grade):
    x = np.asarray([[[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]], dtype=np.float32)
    value, (dx, _) = value_and_grad(grade(NormStabilizer()), library.asarray(x))
    assert library.asnumpy(value) == pytest.approx((25 + 100) / 2)
    np.testing.assert_allclose(library.asnumpy(dx), [[[3, 4], [0, 0], [6, 8]]], rtol=1e-6)


@in_some_libraries
@pytest.mark.parametrize("scale", [1e-30, 1e18])
def test_norms_do_not_overflow_before_their_squares_do(library, scale):
    x = (X * scale).astype(np.float32)
    value, (dx, _) = value_and_grad(NormStabilizer(), library.asarray(x))
    true, (true_dx, _) = value_and_grad(NormStabilizer(), x.astype(np.float64))
    assert library.asnumpy(value) == pytest.approx(float(true), rel=1e-4, abs=1e-37)
    np.testing.assert_allclose(library.asnumpy(dx), true_dx, rtol=1e-4, atol=1e-5 * scale)


@in_some_libraries
@for_every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_bad_numbers_are_never_finite_and_wrong(library, spec, bad):
    x = X.astype(np.float32)
    x[0, 1, 2] = bad
    value, (dx, _) = value_and_grad(spec, library.asarray(x))
    true, _ = value_and_grad(spec, x.astype(np.float64))
    value = library.asnumpy(value)
    largest = np.finfo(np.float32).max
    assert np.isclose(value, true, rtol=1e-5) if np.isfinite(value) else not abs(true) <= largest
    if np.isnan(bad):
        assert np.isnan(value)
        assert np.isnan(library.asnumpy(dx)[0, 1, 2])


@in_some_libraries
@for_every_kind
def test_nothing_to_compare_is_zero(library, spec):
    alternating = np.asarray([[True, False, True, False]] * 2)
    for x, arguments in ((X[:, :1], {}), (X, {"mask": library.asarray(alternating)})):
        value, (dx, _) = value_and_grad(spec, library.asarray(x), **arguments)
        assert library.asnumpy(value) == 0
        assert not library.asnumpy(dx).any()


@in_some_libraries
@for_every_kind
def test_padding_may_hold_anything(library, spec):
    x, mask = X.copy(), np.asarray([[True, True, False, False], [True] * 4])
    x[0, 2:] = np.nan
    value, (dx, _) = value_and_grad(spec, library.asarray(x), mask=library.asarray(mask))
    clean, (clean_dx, _) = value_and_grad(spec, X, mask=mask)
    assert library.asnumpy(value) == pytest.approx(float(clean), rel=1e-14)
    np.testing.assert_allclose(library.asnumpy(dx), clean_dx, rtol=1e-13, atol=1e-15)


@for_every_kind
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_length_that_is_not_known_beforehand(spec, steps):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float64)])
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = spec(x)
        return result, tape.gradient(result, x)

    result, dx = both(tf.constant(X[:, :steps]))
    true, (true_dx, _) = value_and_grad(spec, X[:, :steps])
    assert result.numpy() == pytest.approx(float(true), rel=1e-14)
    np.testing.assert_allclose(dx.numpy(), true_dx, rtol=1e-13, atol=1e-15)


REFUSED = {
    "no time axis": (TotalVariation(), X[0, 0], None, "time_axis=1 does not exist"),
    "no feature axis": (NormStabilizer(feature_axis=3), X, None, "feature_axis=3 does not exist"),
    "time for features": (NormStabilizer(feature_axis=1), X, None, "axis 1 is that of features and of time or batch"),
    "batch for features": (
        NormStabilizer(feature_axis=0, reduction="batch_mean"),
        X,
        None,
        "axis 0 is that of features and of time or batch",
    ),
    "time for batch": (TotalVariation(time_axis=0, reduction="batch_mean"), X, None, "axis 0 for both time and batch"),
    "a mask short of time": (NormStabilizer(), X, np.ones(2, bool), "does not reach the time axis"),
    "a mask over features": (NormStabilizer(), X, np.ones(X.shape, bool), "covers the feature axis 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    spec, x, mask, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        value_and_grad(spec, x, mask=mask)

"""The center loss against its formula in plain loops, and labels that are none."""

import math

import numpy as np
import pytest
from derivatives import derivative
from hypothesis import given, settings
from hypothesis import strategies as st

from regcore import CenterLoss, exact, value, value_and_grad

SPEC = CenterLoss(classes=3, features=2)
in_some_libraries = pytest.mark.parametrize(
    "library", ["numpy", "torch", "tensorflow"], indirect=True
)  # all: conformance
that_differentiates = pytest.mark.parametrize("library", ["torch", "jax", "tensorflow"], indirect=True)
RNG = np.random.default_rng(0)
X, CENTERS, LABELS = RNG.normal(size=(5, 2)), RNG.normal(size=(3, 2)), np.asarray([0, 2, 2, 0, 2])
PARAMS = {"centers": CENTERS}


def plain(x, labels, centers):
    """The published sum, 1/2 sum ||x - c_y||^2."""
    rows = zip(x.tolist(), labels.tolist(), strict=True)
    return 0.5 * math.fsum((entry - c) ** 2 for row, y in rows for entry, c in zip(row, centers[y], strict=True))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6))
def test_value_and_gradients_against_plain_loops(seed, n):
    rng = np.random.default_rng(seed)
    x, centers, labels = rng.normal(size=(n, 2)), rng.normal(size=(3, 2)), rng.integers(0, 3, size=n)
    found, (dx, dparams) = value_and_grad(SPEC, x, {"centers": centers}, labels=labels)
    assert found == pytest.approx(plain(x, labels, centers) / n, rel=1e-13)
    summed = CenterLoss(classes=3, features=2, reduction="sum")
    assert value(summed, x, {"centers": centers}, labels=labels) == pytest.approx(plain(x, labels, centers), rel=1e-13)
    expected = np.zeros((3, 2))
    for row, y, d in zip(x, labels, dx, strict=True):
        np.testing.assert_allclose(d, (row - centers[y]) / n, rtol=1e-13, atol=1e-16)
        expected[y] -= (row - centers[y]) / n
    np.testing.assert_allclose(dparams["centers"], expected, rtol=1e-12, atol=1e-15)


def test_the_update_of_the_paper_from_the_gradient():
    """centers[j] -= alpha sum(centers[j] - x) / (1 + n_j), from the gradient of a mean as the docstring says."""
    alpha, n = 0.5, len(X)
    _, (_, dparams) = value_and_grad(SPEC, X, PARAMS, labels=LABELS)
    for j in range(3):
        own = X[j == LABELS]
        published = alpha * (CENTERS[j] - own).sum(axis=0) / (1 + len(own))
        np.testing.assert_allclose(alpha * dparams["centers"][j] * n / (1 + len(own)), published, atol=1e-15)


@in_some_libraries
def test_golden_numbers(library):
    x, labels = library.asarray(np.asarray([[3.0, 4.0], [1.0, 1.0]])), library.asarray(np.asarray([1, 0]))
    spec = CenterLoss(classes=2, features=2)
    params = {"centers": library.asarray(np.asarray([[1.0, 2.0], [0.0, 0.0]]))}
    value, (dx, dparams) = value_and_grad(spec, x, params, labels=labels)
    assert library.asnumpy(value) == (25 + 1) / 4
    np.testing.assert_array_equal(library.asnumpy(dx), [[1.5, 2], [0, -0.5]])
    np.testing.assert_array_equal(library.asnumpy(dparams["centers"]), [[0, 0.5], [-1.5, -2]])


@in_some_libraries
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_any_integers_are_labels(library, dtype):
    labels = library.asarray(LABELS.astype(dtype))
    params = {"centers": library.asarray(CENTERS)}
    found = SPEC(library.asarray(X), params, labels=labels)
    assert library.asnumpy(found) == pytest.approx(plain(X, LABELS, CENTERS) / 5, rel=1e-6)


@in_some_libraries
@pytest.mark.parametrize("wrong", [-1, 3, -100, 2**24 + 1, 2**31 - 1])
@pytest.mark.parametrize("grade", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_a_label_that_is_no_class_is_nan_wherever_it_counts(library, wrong, grade):
    labels = LABELS.astype(np.int32)
    labels[1] = wrong
    x, params = library.asarray(X.astype(np.float32)), {"centers": library.asarray(CENTERS.astype(np.float32))}
    value, (dx, dparams) = value_and_grad(grade(SPEC), x, params, labels=library.asarray(labels))
    assert np.isnan(library.asnumpy(value))
    np.testing.assert_array_equal(np.isnan(library.asnumpy(dx)).all(axis=1), [False, True, False, False, False])
    assert np.isnan(library.asnumpy(dparams["centers"])).all()
    mask = library.asarray(np.asarray([True, False, True, True, True]))
    value, (dx, dparams) = value_and_grad(grade(SPEC), x, params, labels=library.asarray(labels), mask=mask)
    kept = [0, 2, 3, 4]
    assert library.asnumpy(value) == pytest.approx(plain(X[kept], LABELS[kept], CENTERS) / 4, rel=1e-5)
    assert np.isfinite(library.asnumpy(dparams["centers"])).all()
    assert not library.asnumpy(dx)[1].any()


@in_some_libraries
def test_padding_may_hold_anything_and_nothing_at_all_is_zero(library):
    x = X.copy()
    x[1] = np.nan
    for mask in ([True, False, True, True, True], [False] * 5):
        arguments = {"labels": library.asarray(LABELS), "mask": library.asarray(np.asarray(mask))}
        params = {"centers": library.asarray(CENTERS)}
        value, (dx, dparams) = value_and_grad(SPEC, library.asarray(x), params, **arguments)
        assert np.isfinite(library.asnumpy(value))
        assert np.isfinite(library.asnumpy(dx)).all()
        assert (library.asnumpy(value) == 0) == (not any(mask))
        assert np.isfinite(library.asnumpy(dparams["centers"])).all()


@in_some_libraries
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_bad_numbers_are_never_finite_and_wrong(library, bad):
    x = X.astype(np.float32)
    x[1, 0] = bad
    params = {"centers": library.asarray(CENTERS.astype(np.float32))}
    value, _ = value_and_grad(SPEC, library.asarray(x), params, labels=library.asarray(LABELS))
    assert np.isnan(library.asnumpy(value)) if np.isnan(bad) else not np.isfinite(library.asnumpy(value))


def test_tokens_count_like_samples():
    x, labels = X[:4].reshape(2, 2, 2), LABELS[:4].reshape(2, 2)
    assert value(SPEC, x, PARAMS, labels=labels) == pytest.approx(plain(X[:4], LABELS[:4], CENTERS) / 4, rel=1e-14)
    per_sample = CenterLoss(classes=3, features=2, reduction="batch_mean")
    assert value(per_sample, x, PARAMS, labels=labels) == pytest.approx(
        plain(X[:4], LABELS[:4], CENTERS) / 2, rel=1e-14
    )


def test_shards_add_up():
    shards = [value(SPEC, X[part], PARAMS, labels=LABELS[part]) for part in (slice(0, 2), slice(2, 4))]
    assert SPEC.additive
    assert value(SPEC, X[:4], PARAMS, labels=LABELS[:4]) == pytest.approx(sum(shards) / 2, rel=1e-14)


@that_differentiates
def test_what_a_library_differentiates_is_the_closed_form(library):
    labels = library.asarray(LABELS)
    found = derivative(library, lambda x, centers: SPEC(x, {"centers": centers}, labels=labels), X, CENTERS)
    _, (dx, dparams) = value_and_grad(SPEC, X, PARAMS, labels=LABELS)
    for ours, theirs in zip((dx, dparams["centers"]), found, strict=True):
        np.testing.assert_allclose(library.asnumpy(theirs), ours, rtol=1e-5, atol=1e-7)


def test_a_batch_that_is_not_known_beforehand():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([None, None], tf.int64)])
    def both(x, labels):
        centers = tf.constant(CENTERS)
        with tf.GradientTape() as tape:
            tape.watch([x, centers])
            result = SPEC(x, {"centers": centers}, labels=labels)
        return result, *tape.gradient(result, [x, centers])

    x, labels = X[:4].reshape(2, 2, 2), LABELS[:4].reshape(2, 2)
    result, dx, dcenters = both(tf.constant(x), tf.constant(labels))
    true, (true_dx, dparams) = value_and_grad(SPEC, x, PARAMS, labels=labels)
    assert result.numpy() == pytest.approx(float(true), rel=1e-14)
    np.testing.assert_allclose(dx.numpy(), true_dx, rtol=1e-13)
    np.testing.assert_allclose(dcenters.numpy(), dparams["centers"], rtol=1e-13)


REFUSED = {
    "other features": (SPEC, X[:, :1], LABELS, None, ValueError, r"expected x \(..., 2\)"),
    "no axis of samples": (SPEC, X[0], LABELS[0], None, ValueError, "at least one axis before features"),
    "too few labels": (SPEC, X, LABELS[:4], None, ValueError, r"labels of shape \(4,\)"),
    "one-hot labels": (SPEC, X, np.eye(3, dtype=int)[LABELS], None, ValueError, r"labels of shape \(5, 3\)"),
    "floating labels": (SPEC, X, LABELS.astype(float), None, TypeError, "expected integral"),
    "a mask over features": (SPEC, X, LABELS, np.ones(X.shape, bool), ValueError, "covers features"),
    "features for batch": (
        CenterLoss(classes=3, features=2, reduction="batch_mean", batch_axis=-1),
        X,
        LABELS,
        None,
        ValueError,
        "feature axis as batch axis",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    spec, x, labels, mask, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        value_and_grad(spec, x, PARAMS, labels=labels, mask=mask)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="classes=0"):
        CenterLoss(classes=0, features=2)

"""Bad input has one decided outcome, the same with every library: an error in the user's words, or NaN."""

import numpy as np
import pytest

import regcore
from regcore import AR, L1, L2, TAR, BatchEntropy, Orthogonality, exact

X = np.arange(24, dtype=np.float32).reshape(2, 4, 3) / 8 - 1
ENTROPY = BatchEntropy()
PARAMS = ENTROPY.init()

REFUSED = {
    "integers": (L2(), X.astype(np.int32), {}, TypeError, "int32"),
    "complex numbers": (L2(), X.astype(np.complex64), {}, TypeError, "complex64"),
    "booleans": (L1(), X > 0, {}, TypeError, "bool"),
    "empty": (L2(), X[:0], {}, ValueError, r"empty array of shape \(0, 4, 3\)"),
    "empty batch for a variance": (ENTROPY, X[:0], {"params": PARAMS}, ValueError, "empty"),
    "no time axis": (TAR(), X[0, 0], {}, ValueError, r"time_axis=1 does not exist in an array with 1 axes"),
    "no such time axis": (TAR(time_axis=3), X, {}, ValueError, "time_axis=3"),
    "no such batch axis": (BatchEntropy(batch_axis=(0, 5)), X, {"params": PARAMS}, ValueError, "batch_axis=5"),
    "vectors of one axis": (Orthogonality(), X[0, 0], {}, ValueError, "two axes or more"),
    "a single vector": (Orthogonality(), X[:1], {}, ValueError, "a single vector"),
    "batch of one": (ENTROPY, X[:1], {"params": PARAMS}, ValueError, "a batch of 1; its variance needs at least 2"),
    "missing parameters": (ENTROPY, X, {}, ValueError, r"none named \['alpha'\].*spec.init\(\)"),
    "unknown parameters": (L2(), X, {"params": PARAMS}, ValueError, r"unknown parameters \['alpha'\]"),
    "parameters of another shape": (ENTROPY, X, {"params": {"alpha": np.zeros(2)}}, ValueError, r"has shape \(2,\)"),
    "a list for a parameter": (ENTROPY, X, {"params": {"alpha": [0.5]}}, ValueError, r"has shape \(1,\)"),
    "a mask of another shape": (L2(), X, {"mask": np.ones((4, 2), bool)}, ValueError, r"mask of shape \(4, 2\)"),
    "a mask with too many axes": (L2(), X, {"mask": np.ones((2, 4, 3, 1), bool)}, ValueError, "leading axes"),
    "a mask without axes": (L2(), X, {"mask": np.asarray(True)}, ValueError, "leading axes"),
    "a mask of numbers": (L2(), X, {"mask": np.ones((2, 4))}, TypeError, "not boolean"),
    "a mask short of time": (TAR(), X, {"mask": np.ones(2, bool)}, ValueError, "does not reach the time axis"),
    "a mask over units": (ENTROPY, X, {"params": PARAMS, "mask": np.ones((2, 4), bool)}, ValueError, "counts samples"),
    "a mask where none is taken": (Orthogonality(), X, {"mask": np.ones(2, bool)}, ValueError, "takes none"),
    "coupled and added": (L2() + ENTROPY, X, {"params": {"BatchEntropy_alpha": 1.0}}, ValueError, "mixes penalties"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(library, case):
    spec, x, arguments, error, words = REFUSED[case]
    if library.name == "array_api_strict" and arguments.get("mask", X).ndim == 0:
        arguments = {"mask": library.asarray(True)}
    for door in (spec, lambda *a, **k: regcore.value_and_grad(spec, *a, **k)):
        with pytest.raises(error, match=words):
            door(library.asarray(x), **arguments)


@pytest.mark.parametrize("spec", [L1(), AR(), TAR(), ENTROPY, Orthogonality(), Orthogonality(power=1)], ids=repr)
@pytest.mark.parametrize("precision", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_nan_propagates(library, spec, precision):
    x = X.copy()
    x[0, 1, 2] = np.nan
    value, (dx, _) = regcore.value_and_grad(precision(spec), library.asarray(x), spec.init())
    assert np.isnan(library.asnumpy(value))
    assert np.isnan(library.asnumpy(dx)[0, 1, 2])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("spec", [L1(), L2(), TAR(), ENTROPY], ids=repr)
def test_what_overflows_is_never_finite_and_wrong(library, spec, bad):
    x = X.copy()
    x[0, 1, 2] = bad
    value = library.asnumpy(spec(library.asarray(x), spec.init()))
    true = regcore.value(spec, x.astype(np.float64), spec.init())
    assert not np.isfinite(value) or np.isclose(value, true, rtol=1e-5)


@pytest.mark.parametrize("spec", [L1(), AR(), TAR(), TAR(time_axis=0)], ids=repr)
def test_nothing_to_count_is_zero(library, spec):
    mask = library.asarray(np.zeros((2, 4), dtype=bool))
    value, (dx, _) = regcore.value_and_grad(spec, library.asarray(X), mask=mask)
    assert library.asnumpy(value) == 0
    assert not library.asnumpy(dx).any()


def test_one_time_step_is_zero(library):
    value, (dx, _) = regcore.value_and_grad(TAR(), library.asarray(X[:, :1]))
    assert library.asnumpy(value) == 0
    assert not library.asnumpy(dx).any()


def test_too_few_samples_under_the_mask_is_nan(library):
    mask = library.asarray(np.asarray([True, False]))
    assert np.isnan(library.asnumpy(ENTROPY(library.asarray(X), PARAMS, mask=mask)))


def test_padding_may_hold_anything(library):
    x, mask = X.copy(), np.asarray([[True, True, False, False], [True] * 4])
    x[0, 2:] = np.nan
    value, (dx, _) = regcore.value_and_grad(TAR(), library.asarray(x), mask=library.asarray(mask))
    assert np.isfinite(library.asnumpy(value))
    assert np.isfinite(library.asnumpy(dx)).all()


@pytest.mark.parametrize("x", [[1.0, 2.0], 3.0, None, "x"])
def test_what_is_no_array_is_refused(x):
    with pytest.raises(TypeError, match="expected an array of NumPy"):
        L2()(x)


def test_unknown_rank_is_refused():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(lambda x: L2()(x), input_signature=[tf.TensorSpec(None)])
    with pytest.raises(ValueError, match="unknown rank"):
        function(tf.ones(3))


def test_unknown_sizes_of_vectors_are_refused():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(lambda x: Orthogonality()(x), input_signature=[tf.TensorSpec([None, 3])])
    with pytest.raises(ValueError, match="all sizes must be known"):
        function(tf.ones((2, 3)))


@pytest.mark.parametrize("size", [0, 1])
def test_sizes_not_known_beforehand_are_nan_where_nothing_is_defined(size):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(lambda x: ENTROPY(x, PARAMS), input_signature=[tf.TensorSpec([None, 3])])
    assert np.isnan(function(tf.ones((size, 3))))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BatchEntropy(correction=2), "correction=2"),
        (lambda: BatchEntropy(alpha_min=-1.0), "alpha_min=-1.0"),
        (lambda: Orthogonality(power=0.5), "power=0.5"),
        (lambda: float("nan") * L2(), "finite number"),
        (lambda: L2().named("not a name"), "identifier"),
        (lambda: (L1() + L2()).named("both"), "several penalties at once"),
        (lambda: regcore.Sum(parts=()), "no penalties"),
    ],
)
def test_bad_specs_are_refused_when_they_are_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_weights_are_numbers():
    with pytest.raises(TypeError):
        "2" * L2()
    with pytest.raises(TypeError):
        L2() + 1.0

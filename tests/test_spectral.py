"""Orthonormality and singular values: the published formulas in plain loops, known numbers, ties, bad input."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from replicas import on_replicas

from regcore import (
    CodingRate,
    MutualCoherence,
    NuclearNorm,
    OffDiagonalOrthogonality,
    SoftOrthogonality,
    SpectralIsometry,
    exact,
    value,
    value_and_grad,
)

matrices = arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 4)), elements=st.integers(-8, 8).map(float))
WEIGHTS = [
    SoftOrthogonality(),
    SoftOrthogonality(double_sided=True),
    OffDiagonalOrthogonality(),
    MutualCoherence(),
    NuclearNorm(),
    SpectralIsometry(),
]
ALL = [*WEIGHTS, CodingRate(), CodingRate(centre=True)]
SPECS = pytest.mark.parametrize("spec", ALL, ids=repr)
LIBRARIES = pytest.mark.parametrize("library", ["numpy", "torch", "tensorflow"], indirect=True)
QUICK = settings(deadline=None, max_examples=40)


def plain_gram(vectors):
    return [[math.fsum(p * q for p, q in zip(a, b, strict=True)) for b in vectors] for a in vectors]


def plain_errors(vectors):
    """The entries of the matrix of products, less those of the identity."""
    return [entry - (i == j) for i, row in enumerate(plain_gram(vectors)) for j, entry in enumerate(row)]


def plain_singular(x):
    """Roots of the eigenvalues of the smaller product matrix, largest first."""
    small = x if x.shape[0] <= x.shape[1] else x.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(np.asarray(plain_gram(small.tolist()))), 0.0))[::-1]


def flat(value_and_gradient):
    result, (dx, _) = value_and_gradient
    return result, dx


def turned(s, rows, columns, seed=0):
    """A matrix with these singular values."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0][:, : len(s)] for n in (rows, columns))
    return (u * np.asarray(s, dtype=float)) @ v.T, u, v


@QUICK
@given(matrices)
def test_orthonormality_against_plain_loops(x):
    rows, columns = plain_errors(x.tolist()), plain_errors(x.T.tolist())
    one, other = (math.fsum(e * e for e in errors) for errors in (rows, columns))
    pairs = [g * g for i, row in enumerate(plain_gram(x.tolist())) for j, g in enumerate(row) if i != j]
    assert value(SoftOrthogonality(), x) == pytest.approx(one, rel=1e-13)
    assert value(SoftOrthogonality(double_sided=True), x) == pytest.approx(one + other, rel=1e-13)
    assert value(OffDiagonalOrthogonality(), x) == pytest.approx(math.fsum(pairs), rel=1e-13)
    assert value(MutualCoherence(), x) == pytest.approx(max(map(abs, rows)), rel=1e-13)


@QUICK
@given(matrices)
def test_functions_of_singular_values_against_plain_loops(x):
    s = plain_singular(x)
    norm = max(abs(np.linalg.eigvalsh(np.asarray(plain_gram(x.tolist())) - np.eye(len(x)))))
    assert value(NuclearNorm(), x) == pytest.approx(math.fsum(s), rel=1e-6)  # eigenvalues lose half of the digits
    assert value(SpectralIsometry(), x) == pytest.approx(norm, rel=1e-12)


@QUICK
@given(matrices, st.sampled_from([0.25, 1.0]), st.booleans())
def test_coding_rate_against_the_determinant(x, eps, centre):
    n, d = x.shape
    z = x - x.mean(axis=0) if centre else x
    sign, logdet = np.linalg.slogdet(np.eye(d) + d / (n * eps**2) * z.T @ z)
    assert sign == 1
    assert value(CodingRate(eps=eps, centre=centre), x) == pytest.approx(-logdet / 2, rel=1e-11, abs=1e-13)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ALL), st.sampled_from([(4, 3), (3, 4), (3, 3)]))
def test_gradients_against_differences(seed, spec, shape):
    x, step = np.random.default_rng(seed).normal(size=shape), 1e-6
    _, (dx, _) = value_and_grad(spec, x)
    wrong = 0
    for index in np.ndindex(shape):
        change = np.zeros(shape)
        change[index] = step
        difference = (value(spec, x + change) - value(spec, x - change)) / (2 * step)
        wrong += dx[index] != pytest.approx(float(difference), rel=1e-5, abs=1e-6)
    assert not wrong


@LIBRARIES
def test_known_numbers(library):
    """Products 1, 1 and 5; singular values with squares 3 +- sqrt(5), so that their product is 2."""
    x = library.asarray(np.asarray([[1.0, 0.0], [1.0, 2.0]]))
    for spec, expected, first in [
        (SoftOrthogonality(), 18.0, [4.0, 8.0]),
        (SoftOrthogonality(double_sided=True), 36.0, [8.0, 16.0]),
        (OffDiagonalOrthogonality(), 2.0, [4.0, 8.0]),
        (MutualCoherence(), 4.0, [0.0, 0.0]),
        (NuclearNorm(), math.sqrt(10), [3 / math.sqrt(10), -1 / math.sqrt(10)]),
        (SpectralIsometry(), 2 + math.sqrt(5), [1 - 1 / math.sqrt(5), 2 / math.sqrt(5)]),
        (CodingRate(eps=1.0), -math.log(11) / 2, [-5 / 11, 2 / 11]),  # det [[3, 2], [2, 5]]
    ]:
        result, (dx, _) = value_and_grad(spec, x)
        assert library.asnumpy(result) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(library.asnumpy(dx)[0], first, rtol=1e-13, atol=1e-15)


@LIBRARIES
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_the_gradient_of_the_nuclear_norm_is_the_polar_factor(library, shape):
    x, u, v = turned([3, 2, 2, 1], *shape)
    result, (dx, _) = value_and_grad(NuclearNorm(), library.asarray(x))
    assert library.asnumpy(result) == pytest.approx(8.0, rel=1e-14)
    np.testing.assert_allclose(library.asnumpy(dx), u @ v.T, atol=1e-14)


@LIBRARIES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("precision", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_singular_values_of_zero_have_no_gradient(library, dtype, precision):
    x, u, v = turned([3, 1], 6, 4)
    _, (dx, _) = value_and_grad(precision(NuclearNorm()), library.asarray(x.astype(dtype)))
    np.testing.assert_allclose(library.asnumpy(dx), u @ v.T, atol=3e-6)  # x in float32 has not quite these vectors
    _, (dx, _) = value_and_grad(precision(NuclearNorm()), library.asarray(np.zeros((3, 2), dtype=dtype)))
    assert not library.asnumpy(dx).any()


@LIBRARIES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_singular_values_share_the_spectral_norm(library, dtype):
    x, u, v = turned([2, 2, 2, 1], 5, 4)
    _, (dx, _) = value_and_grad(SpectralIsometry(), library.asarray(x.T.astype(dtype)))  # four vectors
    np.testing.assert_allclose(library.asnumpy(dx), (u[:, :3] @ v[:, :3].T).T * 4 / 3, atol=1e-5)
    x, u, v = turned([math.sqrt(1.75), 0.5], 2, 2)  # errors of 3/4 and -3/4
    _, (dx, _) = value_and_grad(SpectralIsometry(), library.asarray(x.astype(dtype)))
    np.testing.assert_allclose(library.asnumpy(dx), (u * [math.sqrt(1.75), -0.5]) @ v.T, atol=1e-5)


@LIBRARIES
@pytest.mark.parametrize("precision", [lambda spec: spec, exact], ids=["fast", "exact"])
def test_orthonormal_vectors_are_at_rest(library, precision):
    _, u, _ = turned([1, 1, 1], 3, 5)
    x = library.asarray(u.T.astype(np.float32))
    for spec in (SoftOrthogonality(), OffDiagonalOrthogonality(), SpectralIsometry()):
        result, (dx, _) = value_and_grad(precision(spec), x)
        assert library.asnumpy(result) < 1e-6
        assert np.abs(library.asnumpy(dx)).max() < 1e-5
    assert not library.asnumpy(value_and_grad(precision(MutualCoherence()), library.asarray(np.eye(3)))[1][0]).any()


def test_more_vectors_than_dimensions():
    """V @ V.T - I has the eigenvalue -1 for each vector in excess, which moves nothing."""
    x, u, v = turned([1.2, 0.5], 5, 2)
    result, (dx, _) = value_and_grad(SpectralIsometry(), x)
    assert result == 1
    assert not dx.any()
    assert value(SpectralIsometry(vector_axis=1), x) == pytest.approx(0.75, rel=1e-14)
    x, u, v = turned([2, 0.5], 5, 2)
    result, (dx, _) = value_and_grad(SpectralIsometry(), x)
    assert result == pytest.approx(3.0)
    np.testing.assert_allclose(dx, 4 * np.outer(u[:, 0], v[:, 0]), atol=1e-14)
    x, _, _ = turned([math.sqrt(2), 0.5], 5, 2)  # three eigenvalues of -1 and one of 1
    np.testing.assert_allclose(np.linalg.norm(value_and_grad(SpectralIsometry(), x)[1][0]), 2 * math.sqrt(2) / 4)
    assert value(SoftOrthogonality(), np.eye(5, 2)) == 3
    assert value(SoftOrthogonality(double_sided=True), np.eye(2, 5)) == 3


def test_ties_of_the_largest_product_are_split_evenly():
    x = np.asarray([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, -0.5]])  # 4 products of +-1/2 twice, squares 1/2 twice
    result, (dx, _) = value_and_grad(MutualCoherence(), x)
    assert result == 0.5
    np.testing.assert_allclose(dx, 0.2 * np.asarray([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, -0.5]]), atol=1e-16)


@SPECS
def test_signs_of_a_decomposition_do_not_matter(spec):
    """Rotating both sides rotates the gradient."""
    rng = np.random.default_rng(0)
    x, q = rng.normal(size=(4, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    result, (dx, _) = value_and_grad(spec, x)
    other, (other_dx, _) = value_and_grad(spec, x @ q)
    assert other == pytest.approx(float(result), rel=1e-13)
    np.testing.assert_allclose(other_dx @ q.T, dx, atol=1e-13)


@pytest.mark.parametrize("spec", WEIGHTS, ids=repr)
def test_the_vector_axis_is_the_one_named(spec):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    moved = np.moveaxis(x, -1, 0).reshape(4, 6)
    kind = type(spec)
    named = (
        kind(vector_axis=-1, double_sided=True)
        if spec == SoftOrthogonality(double_sided=True)
        else kind(vector_axis=-1)
    )
    result, (dx, _) = value_and_grad(named, x)
    plain, (plain_dx, _) = value_and_grad(spec, moved)
    assert result == pytest.approx(float(plain), rel=1e-13)
    np.testing.assert_allclose(np.moveaxis(dx, -1, 0).reshape(4, 6), plain_dx, atol=1e-12)


@pytest.mark.parametrize("centre", [False, True])
@LIBRARIES
def test_a_mask_leaves_samples_out_of_the_rate(library, centre):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    mask = np.asarray([[True, True, False], [True, False, True]])
    x[0, 2] = np.nan
    spec = CodingRate(batch_axis=(0, 1), centre=centre)
    result, (dx, _) = value_and_grad(spec, library.asarray(x), mask=library.asarray(mask))
    plain, (plain_dx, _) = value_and_grad(CodingRate(centre=centre), x[mask])
    assert library.asnumpy(result) == pytest.approx(float(plain), rel=1e-13)
    np.testing.assert_allclose(library.asnumpy(dx)[mask], plain_dx, atol=1e-14)
    assert not library.asnumpy(dx)[~mask].any()
    nothing = library.asarray(np.zeros((2, 3), dtype=bool))
    assert np.isnan(library.asnumpy(value(spec, library.asarray(x), mask=nothing)))


def test_the_rate_does_not_add_up_over_shards():
    x = np.random.default_rng(0).normal(size=(8, 3))
    shards = sum(float(value(CodingRate(), shard)) for shard in np.split(x, 2)) / 2
    assert value(CodingRate(), x) != pytest.approx(shards, rel=1e-3)
    assert not CodingRate.additive


def test_the_rate_over_replicas_is_that_of_the_whole_batch():
    """JAX's vmap with a named axis stands in for two devices; gradients are averaged, as a trainer does."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    spec = CodingRate(centre=True)
    x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(6, 4)), dtype=jax.numpy.float32)

    values, dx, _ = on_replicas(spec, x, {})
    whole, (whole_dx, _) = value_and_grad(spec, x)
    np.testing.assert_allclose(values, [whole, whole], rtol=1e-5)
    np.testing.assert_allclose(dx, whole_dx, atol=1e-5)


@SPECS
@LIBRARIES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_not_finite_is_never_finite_and_wrong(spec, library, bad):
    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    x[1, 2] = bad
    result, dx = (library.asnumpy(array) for array in flat(value_and_grad(spec, library.asarray(x))))
    true, true_dx = flat(value_and_grad(spec, x.astype(np.float64)))
    assert not np.isfinite(result) or np.isclose(result, true, rtol=1e-5)
    if np.isnan(bad):
        assert np.isnan(result)
        assert np.isnan(dx[1, 2])
    elif np.isfinite(bad):
        finite = np.isfinite(dx)
        np.testing.assert_allclose(dx[finite], true_dx[finite], rtol=1e-3, atol=1e-3 * np.abs(true_dx).max())


@SPECS
@pytest.mark.parametrize("scale", [1e-150, 1e-30])
def test_small_numbers_are_not_lost(spec, scale):
    """Against sixteen times as large ones, where a square of either is too small for any float."""
    x = np.random.default_rng(0).normal(size=(3, 3)) * scale
    if spec == NuclearNorm():
        assert value(spec, 16 * x) == 16 * value(spec, x) > 0
    else:
        assert np.isfinite(value(spec, x))
        assert np.isfinite(value_and_grad(spec, x)[1][0]).all()


def test_graphs_and_xla_have_all_digits():
    """XLA's own decomposition has half of them."""
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    x, u, v = turned([1, 1e-2, 1.1e-2, 1e-3], 6, 4)
    for compiled in (False, True):
        result, (dx, _) = tf.function(lambda x: value_and_grad(NuclearNorm(), x), jit_compile=compiled)(tf.constant(x))
        assert float(result) == pytest.approx(1.022, rel=1e-14)
        np.testing.assert_allclose(dx, u @ v.T, atol=1e-12)


def test_a_batch_of_unknown_size():
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float64)])
    def function(x):
        return value_and_grad(CodingRate(batch_axis=(0, 1)), x)

    for shape in ((2, 4, 3), (1, 2, 3)):
        x = np.random.default_rng(0).normal(size=shape)
        result, (dx, _) = function(x)
        plain, (plain_dx, _) = value_and_grad(CodingRate(), x.reshape(-1, 3))
        assert float(result) == pytest.approx(float(plain), rel=1e-13)
        np.testing.assert_allclose(dx.numpy().reshape(-1, 3), plain_dx, atol=1e-13)


@pytest.mark.parametrize("spec", [NuclearNorm(), SpectralIsometry(), CodingRate()], ids=repr)
def test_second_derivatives_where_singular_values_differ(spec):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.tensor(turned([2.0, 0.25], 3, 2)[0])
    assert torch.autograd.gradcheck(spec, x.clone().requires_grad_())
    assert torch.autograd.gradgradcheck(spec, x.clone().requires_grad_())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NuclearNorm()(np.ones(3)), "two axes or more"),
        (lambda: SoftOrthogonality(vector_axis=2)(np.ones((2, 2))), "vector_axis=2 does not exist"),
        (lambda: OffDiagonalOrthogonality()(np.ones((1, 3))), "a single vector"),
        (lambda: NuclearNorm()(np.ones((2, 2)), mask=np.ones(2, dtype=bool)), "takes none"),
        (lambda: CodingRate()(np.ones((2, 2)), mask=np.ones((2, 2), dtype=bool)), "it counts samples"),
        (lambda: NuclearNorm(tolerance=1.0), "tolerance=1.0"),
        (lambda: SpectralIsometry(tolerance=-1e-6), "tolerance=-1e-06"),
        (lambda: CodingRate(eps=0.0), "eps=0.0"),
    ],
)
def test_what_is_not_defined_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("spec", [*WEIGHTS, CodingRate()], ids=repr)
def test_unknown_sizes_of_vectors_are_refused(spec):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    function = tf.function(lambda x: spec(x), input_signature=[tf.TensorSpec([3, None])])
    with pytest.raises(ValueError, match=r"sizes must be known|must have known sizes"):
        function(tf.ones((3, 2)))

"""Values known beforehand, formulas in plain loops, and invariances."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from replicas import on_replicas

import regcore
from regcore import AR, L1, L2, TAR, BatchEntropy, MaxCosine, MeanCosine, Orthogonality, value, value_and_grad
from regcore.config import own

matrices = arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(2, 4)), elements=st.integers(-8, 8).map(float))
sequences = arrays(np.float64, st.tuples(*[st.integers(2, 4)] * 3), elements=st.integers(-8, 8).map(float))


def plain_tar(x):
    steps = [(x[b, t, h] - x[b, t - 1, h]) ** 2 for b, t, h in np.ndindex(x.shape) if t > 0]
    return math.fsum(steps) / len(steps)


def plain_entropy(x, correction):
    entropies = []
    for column in x.T.tolist():
        mean = math.fsum(column) / len(column)
        variance = math.fsum((entry - mean) ** 2 for entry in column) / (len(column) - correction)
        entropies.append(0.5 * math.log(math.pi * math.e * variance + 1))
    return math.fsum(entropies) / len(entropies)


def plain_cosines(x):
    """Of every ordered pair of different rows, by row; 0 for a zero row."""
    table = []
    for i, a in enumerate(x.tolist()):
        table.append([])
        for j, b in enumerate(x.tolist()):
            if i != j:
                product, lengths = math.fsum(p * q for p, q in zip(a, b, strict=True)), math.hypot(*a) * math.hypot(*b)
                table[-1].append(product / lengths if lengths else 0.0)
    return table


def mean(numbers):
    numbers = list(numbers)
    return math.fsum(numbers) / len(numbers)


@given(sequences)
def test_tar_against_plain_loops(x):
    assert value(TAR(), x) == pytest.approx(plain_tar(x), rel=1e-14)


@given(matrices, st.sampled_from([0, 1]))
def test_batch_entropy_against_plain_loops(x, correction):
    spec = BatchEntropy(alpha=0.75, beta=2.0, correction=correction)
    expected = 2.0 * (plain_entropy(x, correction) - 0.75) ** 2
    assert value(spec, x, spec.init()) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(sequences, st.integers(1, 3))
def test_higher_differences_against_plain_loops(x, order):
    rows = [[[x[b, t, h] for t in range(x.shape[1])] for h in range(x.shape[2])] for b in range(x.shape[0])]
    flat = [row for sample in rows for row in sample]
    for _ in range(order):
        flat = [[later - earlier for earlier, later in itertools.pairwise(row)] for row in flat]
    steps = [step * step for row in flat for step in row]
    assert value(TAR(order=order), x) == pytest.approx(mean(steps) if steps else 0.0, rel=1e-14)


@given(matrices, st.sampled_from([1, 2, 2.5, 4]), st.sampled_from([0.0, 0.25]), st.booleans())
def test_orthogonality_against_plain_loops(x, power, threshold, signed):
    sizes = [c if signed else abs(c) for row in plain_cosines(x) for c in row]
    expected = mean(max(0.0, size - threshold) ** power for size in sizes)
    spec = Orthogonality(power=power, threshold=threshold, signed=signed)
    assert value(spec, x) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(matrices, st.booleans())
def test_the_largest_cosines_against_plain_loops(x, signed):
    expected = mean(max(max(c, 0.0) ** 2 if signed else c * c for c in row) for row in plain_cosines(x))
    assert value(MaxCosine(signed=signed), x) == pytest.approx(expected, rel=1e-13, abs=1e-15)


@given(matrices)
def test_the_mean_cosine_against_plain_loops(x):
    assert value(MeanCosine(), x) == pytest.approx(mean(c for row in plain_cosines(x) for c in row), abs=1e-14)


@given(arrays(np.float64, (4, 3), elements=st.integers(-8, 8).map(float)), arrays(np.bool_, (5, 4)))
def test_coactive_pairs_against_plain_loops(x, active):
    cosines, total, weights = plain_cosines(x), 0.0, 0
    for i in range(4):
        for j in range(4):
            if i != j:
                together = sum(1 for sample in active if sample[i] and sample[j])
                total += together * cosines[i][j if j < i else j - 1] ** 2
                weights += together
    expected = total / weights if weights else 0.0
    assert value(Orthogonality(coactive=True), x, active=active) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("m", "d"), [(5, 2), (6, 3), (3, 4)])
def test_no_dictionary_is_below_the_welch_bound_and_a_tight_frame_is_on_it(m, d):
    x = np.random.default_rng(m).normal(size=(m, d))
    for spec in (Orthogonality(welch=True), Orthogonality(power=4, welch=True), MaxCosine(welch=True)):
        assert value(spec, x) > 0
    if d == 2:
        angles = np.pi * np.arange(m) / m  # m lines at equal angles are a tight frame of the plane
        lines = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        assert value(Orthogonality(welch=True), lines) == pytest.approx(0.0, abs=1e-15)
        assert value(Orthogonality(power=4, welch=True), lines) == pytest.approx(0.0, abs=1e-15)


def test_encoder_and_decoder_of_three_one_hot_codes():
    """Rows (-1, 1) and (1, -1) are opposite, which counts as parallel, and as the contrary if signed."""
    encoder = np.asarray([[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    assert value(Orthogonality(power=1), encoder) == pytest.approx(1 / 3)
    assert value(MeanCosine(), encoder) == pytest.approx(-1 / 3)
    decoder = np.asarray([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert value(Orthogonality(power=1), decoder) == pytest.approx(0.4714, abs=5e-5)
    assert value(Orthogonality(power=2), decoder) == pytest.approx(1 / 3)
    assert value(MaxCosine(), decoder) == pytest.approx(0.5)


def test_vectors_that_tie_for_the_nearest_share_the_gradient():
    """Rows 1 and 2 mirror each other in row 0, so what they push it by cancels."""
    _, (dx, _) = value_and_grad(MaxCosine(), np.asarray([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]]))
    np.testing.assert_allclose(dx[0], 0, atol=1e-15)
    np.testing.assert_allclose(dx[1], dx[2] * [1.0, -1.0], atol=1e-15)
    assert dx[1].any()


@pytest.mark.parametrize(("correction", "entropy"), [(1, 0.6809), (0, 0.6144)])
def test_entropy_of_both_published_implementations(correction, entropy):
    """Columns [0, 0, 0, 0] and [1, 2, 3, 4], the first a dead unit."""
    x = np.asarray([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]])
    spec = BatchEntropy(alpha=0.0, alpha_min=0.0, beta=1.0, correction=correction)
    result, (dx, _) = value_and_grad(spec, x, spec.init())
    assert math.sqrt(result) == pytest.approx(entropy, abs=5e-5)
    assert np.isfinite(dx).all()
    assert not dx[:, 0].any()


@pytest.mark.parametrize(("alpha", "slope"), [(0.5, 0.0), (-0.5, 0.0), (0.25, 0.0), (0.75, -1.0), (-0.75, 1.0)])
def test_the_tie_of_alpha_belongs_to_the_constant(alpha, slope):
    spec = BatchEntropy(alpha=alpha, alpha_min=0.5, beta=1.0)
    x = np.asarray([[-1.0, 2.0], [3.0, 0.0], [1.0, 5.0]])
    result, (_, dparams) = value_and_grad(spec, x, spec.init())
    assert dparams["alpha"] == pytest.approx(2 * slope * math.sqrt(result))


def test_a_tie_stays_a_tie_in_the_exact_grade():
    spec = regcore.exact(BatchEntropy(alpha=0.3, alpha_min=0.3))  # 0.3 is no float32
    _, (_, dparams) = value_and_grad(spec, np.asarray([[1.0], [2.0]], dtype=np.float32), spec.init())
    assert dparams["alpha"] == 0


@pytest.mark.parametrize("spec", [L1(), Orthogonality(power=1)], ids=repr)
def test_the_derivative_at_a_kink_is_zero(spec):
    x = np.eye(3)  # zeros, and orthogonal vectors
    assert np.count_nonzero(value_and_grad(spec, x)[1][0]) == (3 if spec == L1() else 0)


@given(sequences, st.integers(-5, 5))
def test_tar_ignores_a_constant_sequence(x, shift):
    assert value(TAR(), x + shift) == value(TAR(), x)


@given(matrices)
def test_batch_entropy_ignores_the_order_of_the_batch_and_the_mean_of_a_unit(x):
    spec = BatchEntropy()
    for same in (x[::-1], x + np.arange(x.shape[1])):
        assert value(spec, same, spec.init()) == pytest.approx(float(value(spec, x, spec.init())), rel=1e-12, abs=1e-15)


@given(matrices, st.sampled_from([1, 2]))
def test_orthogonality_ignores_length_and_sign_and_its_gradient_is_tangential(x, power):
    spec = Orthogonality(power=power)
    scaled = x * np.resize([2.0, -0.5, 4.0], (len(x), 1))
    assert value(spec, scaled) == pytest.approx(float(value(spec, x)), rel=1e-13, abs=1e-15)
    _, (dx, _) = value_and_grad(spec, x)
    np.testing.assert_allclose((dx * x).sum(axis=1), 0, atol=1e-14)


@given(matrices, st.sampled_from([1, 2]))
def test_orthogonality_survives_extreme_lengths(x, power):
    spec = Orthogonality(power=power)
    for scale in (1e-150, 1e150):
        assert value(spec, x * scale) == pytest.approx(float(value(spec, x)), rel=1e-12, abs=1e-15)


@given(matrices)
def test_magnitudes_ignore_order_and_sign(x):
    for spec in (L1(), L2()):
        assert value(spec, -x.T) == pytest.approx(float(value(spec, x)), rel=1e-14)


def test_the_time_axis_is_the_one_named():
    x = np.asarray([[[1.0], [2.0], [4.0]], [[0.0], [0.0], [0.0]]])
    assert value(TAR(time_axis=1), x) == 1.25  # (1 + 4 + 0 + 0) / 4
    assert value(TAR(time_axis=0), x) == 7.0  # (1 + 4 + 16) / 3
    assert value(TAR(time_axis=0), np.swapaxes(x, 0, 1)) == 1.25
    assert value(TAR(time_axis=-2), x) == 1.25


def test_a_mask_leaves_out_what_it_hides():
    x = np.asarray([[[1.0], [3.0], [9.0]], [[2.0], [9.0], [9.0]]])
    mask = np.asarray([[True, True, False], [True, False, False]])
    assert value(AR(), x, mask=mask) == pytest.approx(14 / 3)
    assert value(TAR(), x, mask=mask) == 4.0
    spec = BatchEntropy(batch_axis=(0, 1))
    kept = np.asarray([[1.0], [3.0], [2.0]])
    assert value(spec, x, spec.init(), mask=mask) == pytest.approx(float(value(BatchEntropy(), kept, spec.init())))


def test_an_identity_is_orthogonal_and_twins_are_not():
    assert value(Orthogonality(), np.eye(4)) == 0
    assert value(Orthogonality(power=1), np.asarray([[1.0, 2.0], [-2.0, -4.0]])) == pytest.approx(1.0)


OF_SAMPLES = [kind for kind in own().values() if {"batch_axis", "feature_axis"} & set(kind.__dataclass_fields__)]


@pytest.mark.parametrize("kind", OF_SAMPLES, ids=lambda kind: kind.__name__)
def test_additive_penalties_add_up_over_equal_shards(kind):
    """And others do not. Penalties on weights are left out: shards of a weight are other weights."""
    rng = np.random.default_rng(0)
    spec, shape, _, inputs = next(kind.examples())
    x = rng.normal(size=(2 * shape[0], *shape[1:])) - 1.0
    inputs = {name: rng.normal(size=given) if isinstance(given, tuple) else given for name, given in inputs.items()}
    shards = [value(spec, shard, spec.init(), **inputs) for shard in np.split(x, 2)]
    twice = {name: np.concatenate([a, a]) if len(a) == shape[0] else a for name, a in inputs.items()}
    whole = value(spec, x, spec.init(), **twice)
    assert (whole == pytest.approx(sum(shards) / 2, rel=1e-12)) == kind.additive


def test_statistics_over_replicas_are_those_of_the_whole_batch():
    """JAX's vmap with a named axis stands in for two devices; gradients are averaged, as a trainer does."""
    jax = pytest.importorskip("jax", reason="jax is not installed")
    jnp, spec = jax.numpy, BatchEntropy(alpha=0.75)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), dtype=jnp.float32)
    params = {name: jnp.asarray(array) for name, array in spec.init().items()}

    values, dx, dparams = on_replicas(spec, x, params)
    whole, (whole_dx, whole_dparams) = value_and_grad(spec, x, params)
    np.testing.assert_allclose(values, [whole, whole], rtol=1e-6)
    np.testing.assert_allclose(dx, whole_dx, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(dparams["alpha"], whole_dparams["alpha"], rtol=1e-6)

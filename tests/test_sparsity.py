"""Magnitudes, their surrogates and sparse vectors: published formulas in plain loops, golden numbers, edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regcore import (
    L1,
    L2,
    DecoderWeightedL1,
    ElasticNet,
    GroupLasso,
    HoyerSquare,
    LogSum,
    Lp,
    SmoothedL0,
    SpectralDecoupling,
    TanhL0,
    value,
    value_and_grad,
)

numbers = st.integers(-12, 12).map(lambda n: n / 4)
matrices = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=numbers)
cubes = arrays(np.float64, (2, 3, 4), elements=numbers)

PUBLISHED = {
    ElasticNet(l1_ratio=0.75): lambda x: 0.75 * abs(x) + 0.125 * x**2,
    Lp(p=0.5, eps=0.25): lambda x: math.pow(x**2 + 0.25, 0.25),
    Lp(p=3.0, eps=1e-4): lambda x: math.pow(x**2 + 1e-4, 1.5),
    LogSum(eps=0.5): lambda x: math.log(abs(x) + 0.5) - math.log(0.5),
    TanhL0(scale=2.0): lambda x: math.tanh(2.0 * abs(x)),
    SmoothedL0(sigma=0.5): lambda x: 1.0 - math.exp(-(x**2) / (2.0 * 0.5**2)),
}


def close(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("spec", PUBLISHED, ids=repr)
@settings(max_examples=20, deadline=None)
@given(x=matrices)
def test_each_entry_costs_what_was_published(spec, x):
    costs = [PUBLISHED[spec](entry) for entry in x.ravel().tolist()]
    assert value(spec, x) == close(math.fsum(costs) / len(costs))


@pytest.mark.parametrize("spec", PUBLISHED, ids=repr)
def test_the_slope_is_that_of_the_published_cost(spec):
    step = 1e-5
    for entry in (-3.0, -0.25, 0.01, 0.5, 2.0):
        slope = (PUBLISHED[spec](entry + step) - PUBLISHED[spec](entry - step)) / (2 * step)
        assert value_and_grad(spec, np.asarray([entry]))[1][0][0] == pytest.approx(slope, rel=1e-6, abs=1e-8)
    assert value_and_grad(spec, np.zeros(3))[1][0].tolist() == [0.0, 0.0, 0.0]


@given(x=matrices)
def test_spectral_decoupling_is_half_the_squared_norm_of_each_sample(x):
    norms = [math.hypot(*row) for row in x.tolist()]
    assert value(SpectralDecoupling(), x) == close(math.fsum(norm**2 for norm in norms) / 2 / len(norms))
    np.testing.assert_allclose(value_and_grad(SpectralDecoupling(), x)[1][0], x / len(x), rtol=1e-15)


def test_the_elastic_net_lies_between_l1_and_half_l2():
    x = np.asarray([[1.0, -2.0], [0.0, 5.0]])
    assert value(ElasticNet(l1_ratio=1.0), x) == value(L1(), x) == 2.0
    assert value(ElasticNet(l1_ratio=0.0), x) == value(0.5 * L2(), x) == 3.75


def test_the_tail_of_tanh_has_digits():
    """1 - tanh(20)**2 is 0 in float64."""
    dx = value_and_grad(TanhL0(), np.asarray([20.0, -20.0]))[1][0]
    assert dx == pytest.approx(np.asarray([0.5, -0.5]) * 4 * math.exp(-40), rel=1e-12)


def plain_hoyer(vector):
    square = math.fsum(entry**2 for entry in vector)
    return math.fsum(abs(entry) for entry in vector) ** 2 / square if square else 0.0


@given(x=cubes)
def test_hoyer_square_against_plain_loops(x):
    assert value(HoyerSquare(), x) == close(plain_hoyer(x.ravel().tolist()))
    of_samples = [plain_hoyer(sample.ravel().tolist()) for sample in x]
    assert value(HoyerSquare(vector_axis=0), x) == close(math.fsum(of_samples) / 2)
    of_columns = [plain_hoyer(x[b, :, j].tolist()) for b in range(2) for j in range(4)]
    assert value(HoyerSquare(vector_axis=(0, -1)), x) == close(math.fsum(of_columns) / 8)
    assert value(HoyerSquare(vector_axis=(2, 0), reduction="batch_mean"), x) == close(math.fsum(of_columns) / 2)
    assert value(HoyerSquare(vector_axis=(0, 2), reduction="sum"), x) == close(math.fsum(of_columns))


@given(x=cubes)
def test_hoyer_square_counts_equal_entries_and_ignores_scale(x):
    assert value(HoyerSquare(), np.sign(x)) == np.count_nonzero(x)
    for scale in (1e-150, 1e150):
        assert value(HoyerSquare(), x * scale) == close(float(value(HoyerSquare(), x)))


@given(x=matrices)
def test_the_gradient_of_hoyer_square_is_orthogonal_to_the_vector(x):
    _, (dx, _) = value_and_grad(HoyerSquare(), x)
    assert (dx * x).sum() == pytest.approx(0.0, abs=1e-13)
    assert not dx[x == 0].any()


@given(x=cubes)
def test_group_lasso_against_plain_loops(x):
    of_samples = [math.sqrt(12) * math.hypot(*sample.ravel().tolist()) for sample in x]
    assert value(GroupLasso(reduction="sum"), x) == close(math.fsum(of_samples))
    of_rows = [math.sqrt(4) * math.hypot(*x[b, i].tolist()) for b in range(2) for i in range(3)]
    assert value(GroupLasso(group_axis=(1, 0)), x) == close(math.fsum(of_rows) / 6)
    of_units = [math.sqrt(6) * math.hypot(*x[..., j].ravel().tolist()) for j in range(4)]
    assert value(GroupLasso(group_axis=-1), x) == close(math.fsum(of_units) / 4)


def test_a_group_goes_to_zero_with_one_slope():
    _, (dx, _) = value_and_grad(GroupLasso(), np.asarray([[3e-200, 4e-200], [0.0, 0.0], [3e200, 4e200]]))
    np.testing.assert_allclose(dx, np.sqrt(2) / 3 * np.asarray([[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]]), rtol=1e-15)


@given(x=cubes, decoder=arrays(np.float64, (4, 3), elements=numbers))
def test_decoder_weighted_l1_against_plain_loops(x, decoder):
    norms = [math.hypot(*row) for row in decoder.tolist()]
    costs = [math.fsum(abs(f) * norm for f, norm in zip(features, norms, strict=True)) for features in x.reshape(6, 4)]
    spec = DecoderWeightedL1()
    result, (_, inputs) = value_and_grad(spec, x, decoder=decoder)
    assert result == close(math.fsum(costs) / 6)
    assert DecoderWeightedL1(feature_axis=1)(np.moveaxis(x, -1, 1), decoder=decoder) == close(float(result))
    assert (inputs["decoder"] * decoder).sum() == close(float(result))  # it is linear in the lengths
    assert not inputs["decoder"][np.asarray(norms) == 0].any()


def test_decoder_weighted_l1_is_l1_at_unit_norm_and_knows_no_scale():
    x, decoder = np.asarray([[1.0, 0.0, -2.0]]), np.eye(3)
    spec = DecoderWeightedL1(reduction="sum")
    assert spec(x, decoder=decoder) == L1(reduction="sum")(x) == 3.0
    assert spec(x / 8.0, decoder=8.0 * decoder) == 3.0
    assert value_and_grad(spec, x, decoder=2.0 * decoder)[1][0].tolist() == [[2.0, 0.0, -2.0]]


MASKED = [
    (ElasticNet(), {}),
    (SpectralDecoupling(), {}),
    (Lp(), {}),
    (HoyerSquare(), {}),
    (HoyerSquare(vector_axis=0), {}),
    (GroupLasso(), {}),
    (DecoderWeightedL1(), {"decoder": np.asarray([[3.0, 4.0], [0.0, 1.0]])}),
]


@pytest.mark.parametrize(("spec", "inputs"), MASKED, ids=lambda x: repr(x) if x else "")
def test_a_mask_leaves_out_what_it_hides(spec, inputs):
    x = np.asarray([[1.0, -3.0], [np.nan, np.inf], [0.0, 2.0]])
    result, (dx, _) = value_and_grad(spec, x, mask=np.asarray([True, False, True]), **inputs)
    expected, (dx_kept, _) = value_and_grad(spec, x[[0, 2]], **inputs)
    assert result == close(float(expected))
    np.testing.assert_allclose(dx, [dx_kept[0], [0.0, 0.0], dx_kept[1]], rtol=1e-14)
    result, (dx, _) = value_and_grad(spec, x, mask=np.zeros(3, dtype=bool), **inputs)
    assert result == 0
    assert not dx.any()


@pytest.mark.parametrize(("spec", "inputs"), MASKED, ids=lambda x: repr(x) if x else "")
def test_nan_and_zeros_with_every_library(library, spec, inputs):
    inputs = {name: library.asarray(array.astype(np.float32)) for name, array in inputs.items()}
    x = np.asarray([[1.0, 2.0], [np.nan, 3.0]], dtype=np.float32)
    result, (dx, _) = value_and_grad(spec, library.asarray(x), **inputs)
    assert np.isnan(library.asnumpy(result))
    assert np.isnan(library.asnumpy(dx)[1, 0])
    assert np.isfinite(library.asnumpy(dx)[0]).all() or spec == HoyerSquare()
    result, (dx, _) = value_and_grad(spec, library.asarray(0 * np.eye(2, dtype=np.float32)), **inputs)
    assert library.asnumpy(result) == pytest.approx(1e-6**0.25 if spec == Lp() else 0.0)
    assert not library.asnumpy(dx).any()


@pytest.mark.parametrize("spec", [*PUBLISHED, HoyerSquare(), GroupLasso(), SpectralDecoupling()], ids=repr)
@pytest.mark.parametrize("large", [1e30, -3e38, np.inf])
def test_what_overflows_is_never_finite_and_wrong(spec, large):
    x = np.asarray([[1.0, large]], dtype=np.float32)
    with np.errstate(all="ignore"):
        (single, (slopes, _)), (double, (true, _)) = (value_and_grad(spec, x.astype(dtype)) for dtype in ("f4", "f8"))
    for actual, expected in [(single, double), *zip(slopes[0], true[0], strict=True)]:
        assert not np.isfinite(actual) or actual == pytest.approx(expected, rel=1e-5, abs=1e-30)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ElasticNet(l1_ratio=1.5), "l1_ratio=1.5; it is the share"),
        (lambda: Lp(p=0.0), "p=0.0; it is positive"),
        (lambda: Lp(eps=1e-45), "eps=1e-45; it is positive, and at least"),
        (lambda: LogSum(eps=-1.0), "eps=-1.0; it is positive"),
        (lambda: TanhL0(scale=0.0), "scale=0.0; it is positive"),
        (lambda: SmoothedL0(sigma=0.0), "sigma=0.0; it is positive"),
        (lambda: HoyerSquare(reduction="batch_mean"), "name the axes that count vectors"),
        (lambda: HoyerSquare(vector_axis=(0, 1))(np.ones((2, 2))), "leaves one for entries"),
        (lambda: GroupLasso()(np.ones(3)), "group_axis names distinct axes and leaves one for entries"),
        (lambda: GroupLasso(group_axis=(0, -2))(np.ones((2, 2))), "names distinct axes"),
        (lambda: GroupLasso(group_axis=1)(np.ones((2, 2)), mask=np.ones(2, bool)), "axis 0 is of entries"),
        (lambda: DecoderWeightedL1()(np.ones((2, 3))), r"needs \['decoder'\] beside x"),
        (lambda: DecoderWeightedL1()(np.ones((2, 3)), decoder=np.ones((2, 3))), "transpose the weight"),
        (lambda: DecoderWeightedL1()(np.ones(3), decoder=np.ones((3, 2))), "at least one axis of samples"),
        (lambda: DecoderWeightedL1(feature_axis=0)(np.eye(3), decoder=np.eye(3), mask=np.ones(3, bool)), "covers the"),
    ],
)
def test_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_half_precision_keeps_small_penalties():
    x = np.full((64, 64), 2.0**-12, dtype=np.float16)  # whose squares are below what float16 has
    assert value(SpectralDecoupling(), x) == 64 * 2.0**-25
    assert value(HoyerSquare(), x) == 4096.0

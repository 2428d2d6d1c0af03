"""The penalties of a decision list against their formulas at high precision, and in every library."""

import math

import numpy as np
import pytest
from derivatives import derivative
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from regcore import exact, value_and_grad
from regcore.penalties.anytime import Containment, Decisiveness, PrefixSupervision
from regcore.regressor import DecisionList

mpmath = pytest.importorskip("mpmath", reason="mpmath is not installed")
SPECS = [kind(signed=signed) for kind in (PrefixSupervision, Containment) for signed in (False, True)]
for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=str)
for_every_sign = pytest.mark.parametrize("signed", [False, True])
RNG = np.random.default_rng(0)
S, U, Y = RNG.uniform(-0.5, 1.5, size=(5, 4)), RNG.normal(size=5), RNG.normal(scale=3, size=5)


def as_published(spec, s, u, y):
    """The penalty in plain loops at the precision of the moment, for signed and unsigned lists apart."""
    terms = []
    for row, exponent, target in zip(s, u, y, strict=True):
        leading, digits = (row[0], row[1:]) if spec.signed else (mpmath.mpf(1), row)
        for j in range(len(digits)):
            prefix = mpmath.power(2, exponent) * (leading + sum(digits[i] / 2 ** (i + 1) for i in range(j)))
            rho = (target - prefix) / mpmath.power(2, exponent)
            tail = sum(mpmath.mpf(1) / 2 ** (i + 1) for i in range(j, len(digits)))
            if isinstance(spec, PrefixSupervision):
                terms.append((rho / (2 * tail)) ** 2 if spec.signed else ((rho - tail / 2) / tail) ** 2)
            elif spec.signed:
                terms.append((max(0, -tail - rho) / (2 * tail)) ** 2 + (max(0, rho - tail) / (2 * tail)) ** 2)
            else:
                terms.append((max(0, -rho) / tail) ** 2 + (max(0, rho - tail) / tail) ** 2)
    return sum(terms) / len(terms)


@for_every_spec
def test_value_and_derivatives_against_loops_at_high_precision(spec):
    value, (ds, others) = value_and_grad(spec, S, u=U, y=Y)
    with mpmath.workdps(60):
        step = mpmath.mpf(2) ** -80
        wide = [np.vectorize(mpmath.mpf, otypes=[object])(array) for array in (S, U, Y)]
        assert value == pytest.approx(float(as_published(spec, *wide)), rel=1e-13)
        for which, found in enumerate([ds, others["u"], others["y"]]):
            for index in np.ndindex(found.shape):
                sides = []
                for change in (step, -step):
                    moved = [array.copy() for array in wide]
                    moved[which][index] += change
                    sides.append(as_published(spec, *moved))
                assert found[index] == pytest.approx(float((sides[0] - sides[1]) / (2 * step)), rel=1e-12, abs=1e-13)


@for_every_spec
def test_the_derivatives_in_every_library(library, spec):
    inputs = [array.astype(np.float32) for array in (S, U, Y)]
    found = derivative(library, lambda s, u, y: spec(s, u=u, y=y), *inputs)
    ds, others = value_and_grad(exact(spec), inputs[0], u=inputs[1], y=inputs[2])[1]
    if found is None:
        x, u, y = map(library.asarray, inputs)
        dx, by = value_and_grad(spec, x, u=u, y=y)[1]
        found = [dx, by["u"], by["y"]]
    for mine, expected in zip(found, (ds, others["u"], others["y"]), strict=True):
        np.testing.assert_allclose(library.asnumpy(mine), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@for_every_sign
@given(st.data())
def test_an_exact_expansion_is_contained(signed, data):
    s = data.draw(arrays(np.float64, (3, 5), elements=st.integers(-8 if signed else 0, 8).map(lambda n: n / 8)))
    u = data.draw(arrays(np.float64, 3, elements=st.integers(-20, 20).map(float)))
    y = DecisionList(signed=signed)(u, s)  # no rounding: all are short binary numbers
    value, (ds, others) = value_and_grad(Containment(signed=signed), s, u=u, y=y)
    assert value == 0
    assert not any(array.any() for array in (ds, *others.values()))
    assert PrefixSupervision(signed=signed)(s, u=u, y=y) <= 0.25


@for_every_sign
@given(st.data())
def test_containment_is_what_prefix_supervision_has_beyond_one_half(signed, data):
    """For one term there is one error: the distance from the middle, and from the middle half outwards."""
    width = 2 if signed else 1
    s = data.draw(arrays(np.float64, (1, width), elements=st.floats(-1, 1)))
    u, y = (data.draw(arrays(np.float64, 1, elements=st.floats(-4, 4))) for _ in range(2))
    from_middle = math.sqrt(PrefixSupervision(signed=signed)(s, u=u, y=y))
    outside = math.sqrt(Containment(signed=signed)(s, u=u, y=y))
    assert outside == pytest.approx(max(0.0, from_middle - 0.5), abs=1e-7)


@for_every_sign
def test_prefix_supervision_is_least_at_halves(signed):
    s = np.asarray([[0.75, 0.0, 0.0, 0.9] if signed else [0.5, 0.5, 0.5, 0.9]])
    u = np.asarray([1.0])
    y = 2 * (s[:, 0] if signed else np.asarray([1.0 + (1 - 2.0**-4) / 2]))
    value, (ds, others) = value_and_grad(PrefixSupervision(signed=signed), s, u=u, y=y)
    assert value == 0
    assert not any(array.any() for array in (ds, *others.values()))


@for_every_spec
@given(st.integers(-30, 30))
def test_the_unit_of_y_makes_no_difference(spec, octaves):
    assert spec(S, u=U + octaves, y=Y * 2.0**octaves) == pytest.approx(float(spec(S, u=U, y=Y)), rel=1e-12)


@for_every_spec
def test_a_mask_leaves_samples_out_whatever_they_hold(spec):
    mask = np.asarray([True, False, True, True, False])
    s, u, y = (np.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, np.nan) for a in (S, U, Y))
    value, (ds, others) = value_and_grad(spec, s, u=u, y=y, mask=mask)
    expected, (kept_ds, kept) = value_and_grad(spec, S[mask], u=U[mask], y=Y[mask])
    assert value == pytest.approx(float(expected), rel=1e-14)
    for found, of_kept in ((ds, kept_ds), (others["u"], kept["u"]), (others["y"], kept["y"])):
        np.testing.assert_allclose(found[mask], of_kept, rtol=1e-14)
        assert not found[~mask].any()


def test_reductions():
    total = PrefixSupervision(reduction="sum")(S, u=U, y=Y)
    assert PrefixSupervision()(S, u=U, y=Y) == pytest.approx(total / 20)  # 5 samples, 4 prefixes
    assert PrefixSupervision(reduction="batch_mean")(S, u=U, y=Y) == pytest.approx(total / 5)


def test_decisiveness_is_a_parabola():
    s = np.asarray([0.0, 1.0, 0.5, 0.25])
    value, (ds, _) = value_and_grad(Decisiveness(), s)
    assert value == (0 + 0 + 1 + 0.75) / 4
    assert ds.tolist() == [1.0, -1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("spec", "s", "u", "y"),
    [
        (Containment(), (3, 2), (3, 1), (3,)),
        (Containment(), (3, 2), (3,), (4,)),
        (Containment(), (3,), (3,), (3,)),
        (Containment(), (), (3,), (3,)),
        (Containment(signed=True), (3, 1), (3,), (3,)),
    ],
)
def test_other_shapes_are_refused(spec, s, u, y):
    with pytest.raises(ValueError, match=r"expected s \(B, k"):
        spec(np.ones(s), u=np.ones(u), y=np.ones(y))


def test_a_mask_of_single_digits_and_another_batch_axis_are_refused():
    with pytest.raises(ValueError, match="one over samples"):
        Containment()(S, u=U, y=Y, mask=np.ones(S.shape, dtype=bool))
    with pytest.raises(ValueError, match="samples are axis 0"):
        Containment(batch_axis=1)(S, u=U, y=Y)


settings.register_profile("here", deadline=None)
settings.load_profile("here")

"""Other arithmetic agrees with the stored references: the shipped code at 40 digits through mparray, and mpmath."""

import dataclasses

import numpy as np
import pytest

import regcore
from regcore.config import own

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")
pytest.importorskip("mpmath", reason="mpmath is not installed")

import mpmath

from regcore_conformance import golden, store
from regcore_conformance.bound import K
from regcore_conformance.cases import UPSTREAM, all_cases
from regcore_conformance.formulas import arithmetic

NO_SVD = {"CodingRate", "NuclearNorm", "SpectralIsometry"}  # which mparray does not have
SIZES = [1, 2, 4]


def to_mparray(xp, array):
    return xp.asarray(array.astype(np.float64) if array.dtype.kind == "f" else array)


def to_longdouble(array):
    result = np.empty(array.shape, dtype=np.longdouble)
    for index in np.ndindex(array.shape):
        high = float(array[index])
        result[index] = np.longdouble(high) + np.longdouble(float(array[index] - high))
    return result


@pytest.mark.parametrize("name", sorted(own().keys() - NO_SVD))
def test_the_front_door_at_40_digits_is_what_is_stored(name):
    """Values and closed-form gradients, in a namespace that array-api-compat knows."""
    mparray = pytest.importorskip("mparray", reason="mparray is not installed")
    for case in all_cases([own()[name]], ["dense", "offset", "twins"]):
        with mpmath.workdps(40):
            x, params = to_mparray(mparray, case.x), {k: to_mparray(mparray, p) for k, p in case.params.items()}
            inputs, learned = ({k: params[k] for k in some} for some in (case.spec.inputs(), case.spec.shapes()))
            mask = None if case.mask is None else mparray.asarray(case.mask)
            value, (dx, dparams) = regcore.value_and_grad(case.spec, x, learned, mask=mask, **inputs)
            found = {"value": value, "x": UPSTREAM * dx, **{k: UPSTREAM * d for k, d in dparams.items()}}
            found = {key: to_longdouble(array) for key, array in found.items()}
        stored = dataclasses.replace(store.find(case), exact=True)
        assert found.keys() >= {"value", "x", *case.spec.shapes()}
        assert K * stored.worst_ratio(found) <= golden.AGREE, case.id


@pytest.mark.parametrize("size", SIZES)
def test_eigenvalues_and_determinants_are_those_of_mpmath(size):
    a = np.random.default_rng(size).integers(-9, 9, (size, size + 1)).tolist()
    with arithmetic.precision(), mpmath.workdps(110):
        matrix = arithmetic.products([[arithmetic.real(entry) for entry in row] for row in a])
        theirs = mpmath.matrix(a) * mpmath.matrix(a).T
        expected = mpmath.eigsy(theirs, eigvals_only=True)
        for ours, other in zip(sorted(arithmetic.eigenvalues(matrix)), expected, strict=True):
            assert abs(mpmath.mpf(str(ours)) - other) < 1e-100
        assert abs(mpmath.mpf(str(arithmetic.log_determinant(matrix))) - mpmath.log(mpmath.det(theirs))) < 1e-100

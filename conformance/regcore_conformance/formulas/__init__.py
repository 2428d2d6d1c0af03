"""Every penalty once more, as published: plain loops over real numbers, which share nothing with the library.

There is a file for each family, as in `regcore/penalties`, and a function for each penalty: its value, written from the
paper and from what the docstring of the penalty promises, in the simplest way and without regard to rounding, because
it is evaluated at 120 digits. Nothing here may import the library or the rest of the suite.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import (
    anytime,
    change,
    coding,
    cosines,
    covariance,
    dictionary,
    distribution,
    entropy,
    geometry,
    magnitude,
    orthonormality,
    rates,
    routing,
    selfmodel,
    sparsity,
    spectral,
    supervised,
    surrogates,
    temporal,
    views,
)
from .arithmetic import Real, precision, real
from .loops import Formula, Given

FAMILIES = [anytime, change, coding, cosines, covariance, dictionary, distribution, entropy, geometry, magnitude]
FAMILIES += [orthonormality, rates, routing, selfmodel, sparsity, spectral, supervised, surrogates, temporal, views]
FORMULAS: dict[str, Formula] = {name: formula for family in FAMILIES for name, formula in family.FORMULAS.items()}


def value(
    name: str,
    fields: Mapping[str, Any],
    x: Any,
    params: Mapping[str, Any],
    *,
    mask: Any = None,
    held: Mapping[str, Any] | None = None,
) -> Real:
    """The penalty of that class name; `held` has "x" and the params as constants, those given if there is none.

    Raises KeyError for a penalty that has no transcription.

    >>> float(value("TAR", {"time_axis": 0, "order": 1, "reduction": "mean"}, [1.0, 2.0, 4.0], {}))  # steps of 1 and 2
    2.5
    """
    with precision():
        x, params = _numbers(x), {key: _numbers(array) for key, array in params.items()}
        held = {"x": x, **params} if held is None else {key: _numbers(array) for key, array in held.items()}
        plain = {field: real(item) if isinstance(item, float) else item for field, item in fields.items()}
        given = Given(SimpleNamespace(**plain), x, params, None if mask is None else np.asarray(mask), held)
        return FORMULAS[name](given)


def _numbers(array: Any) -> np.ndarray:
    """What is real as numbers of `arithmetic`; labels and flags as they are."""
    given: np.ndarray = np.asarray(array)
    if given.dtype.kind not in "fO":
        return given
    wide = np.empty(given.shape, dtype=object)
    for index in np.ndindex(given.shape):
        wide[index] = real(given[index])
    return wide

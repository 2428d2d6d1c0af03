"""The proof at step 0: on the same activations every framework gives the same bits, and errors inside the bound."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import regcore
from regcore_conformance import bound

ROUNDING = 1e-5  # relative; what layers in another order of summation may do to the penalty of a model


def prove(
    value_and_grad: Callable[..., Any], spec: regcore.Penalty, sites: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Per site, the exact grade with its bits, and how far the fast one is off in units of the conformance bound."""
    return {site: _prove(value_and_grad, spec, array) for site, array in sites.items()}


def _prove(value_and_grad: Callable[..., Any], spec: regcore.Penalty, array: np.ndarray) -> dict[str, Any]:
    params = spec.init()
    exact, *_ = value_and_grad(regcore.exact(spec), array, params)
    value, dx, dparams = value_and_grad(spec, array, params)
    truth = bound.reference(spec, array, params)
    return {
        "exact": str(np.asarray(exact)),
        "bits": f"{np.asarray(exact).view(np.uint32):08x}",
        "value_error": truth.value_ratio(value),
        "gradient_error": truth.grad_ratio(dx, dparams),
    }


def failures(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What in the results of the frameworks, NumPy among them, contradicts the promise."""
    found = []
    for column in columns.values():
        for title, net in column["nets"].items():
            expected = columns["numpy"]["nets"][title]["penalty"]
            if not abs(net["penalty"] - expected) <= ROUNDING * expected:
                found.append(f"{column['label']}, {title}: the penalty is {net['penalty']}; NumPy has {expected}")
            for site, proof in net["proof"].items():
                where = f"{column['label']}, {title}, {site}"
                expected = columns["numpy"]["nets"][title]["proof"][site]["bits"]
                if proof["bits"] != expected:
                    found.append(f"{where}: the bits of the exact grade are {proof['bits']}; NumPy has {expected}")
                if not (proof["value_error"] <= 1 and proof["gradient_error"] <= 1):
                    found.append(f"{where}: an error is {proof} times the conformance bound; at most 1 is inside")
    return found

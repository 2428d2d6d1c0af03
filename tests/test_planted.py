"""Planted bugs of a backend: `check` catches each, and the failure names the penalty, the backend and the result."""

import dataclasses
import re
import types

import numpy as np
import pytest

from regcore import L1, L2, TAR, BatchEntropy, CenterLoss, KLSparsity, SelfModel, SoftOrthogonality

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import backends, check
from regcore_conformance.cases import UPSTREAM
from regcore_conformance.runners import array_api

NUMPY = array_api.evaluators(np)["eager"]


def after(change):
    """A backend that changes its results on their way out."""

    def evaluate(spec, x, params, mask):
        results = NUMPY(spec, x, params, mask)
        return {**results, **change(results, x, mask)}

    return evaluate


def of(other):
    """A backend in which someone ported another formula than the one that was meant: that of `other(spec)`."""
    return lambda spec, x, params, mask: NUMPY(other(spec), x, params, mask)


def naked(xp=np):
    """A backend that calls the maths by itself, without the front door."""

    def evaluate(spec, x, params, mask):
        dx, by = spec.grad(xp, x, params, mask=mask)
        scaled = {name: (UPSTREAM * d).astype(d.dtype) for name, d in {"x": dx, **by}.items()}
        return {"value": np.asarray(spec.value(xp, x, params, mask=mask)), **scaled}

    return evaluate


def halved(spec, x, params, mask):
    """The maths in the dtype of the data, and only then its value in float32."""
    results = naked()(spec, x, params, mask)
    return {**results, "value": results["value"].astype(np.float32)}


class Tf32:
    """NumPy, whose matrix products are of numbers rounded to 10 bits, as on a GPU that was left to its defaults."""

    def __getattr__(self, name):
        return getattr(np, name)

    def matmul(self, a, b):
        return np.matmul(*((each.view(np.uint32) & 0xFFFFE000).view(np.float32) for each in (a, b)))


def stale(spec, x, params, mask):
    return NUMPY(spec, x, {**params, **spec.init()}, mask)


def cached():
    """A cache whose key forgets the data."""
    kept = {}
    return lambda spec, *rest: kept.setdefault((spec, rest[0].dtype), NUMPY(spec, *rest))


def in_float32(spec, x, params, mask):
    return NUMPY(spec.penalty, x, params, mask)


def in_place(spec, x, params, mask):
    value = NUMPY(spec, x, params, mask)["value"]
    x *= x
    return {**NUMPY(spec, x, params, mask), "value": value}


def unstable(spec, x, params, mask):
    """KL by a sigmoid that rounds to 1."""
    one, rho = x.dtype.type(1), x.dtype.type(spec.rho)
    rate = np.mean(one / (one + np.exp(-x)), axis=0)
    kl = rho * np.log(rho / rate) + (1 - rho) * np.log((1 - rho) / (one - rate))
    return {**NUMPY(spec, x, params, mask), "value": np.asarray(kl.sum(dtype=x.dtype))}


def one_pass(spec, x, params, mask):
    """The mean of the squares less the square of the mean."""
    variance = (x * x).mean(axis=0) - x.mean(axis=0) ** 2
    variance = variance * x.dtype.type(len(x) / (len(x) - spec.correction))
    entropy = np.log1p(x.dtype.type(np.pi * np.e) * variance).mean() / 2
    value = spec.beta * (entropy - max(spec.alpha_min, abs(params["alpha"]))) ** 2
    return {**NUMPY(spec, x, params, mask), "value": np.asarray(value, dtype=x.dtype)}


def slope_at_zero(slope):
    return after(lambda results, x, mask: {"x": np.where(x == 0, x.dtype.type(slope), results["x"])})


def padded_mean(results, x, mask):
    share = x.dtype.type(1 if mask is None else mask.mean())
    return {"value": np.asarray(results["value"] * share), "x": results["x"] * share}


ANY = ("float64", "float32", "exact")
BUGS = {  # penalty, backend, grades, pattern, what the failure says after the backend and the grade
    "the upstream gradient dropped": (
        (TAR, after(lambda r, x, m: {"x": r["x"] / UPSTREAM}), ANY, "dense"),
        "gradient by x, TAR/.*times the bound",
    ),
    "a factor": ((L2, of(lambda spec: 0.5 * spec), ANY, "dense"), "value, L2/.*times the bound"),
    "the axis of time": (
        (TAR, of(lambda spec: dataclasses.replace(spec, time_axis=0, reduction="mean")), ANY[:2], "dense"),
        "value, TAR/",
    ),
    "the biased variance": (
        (BatchEntropy, of(lambda spec: dataclasses.replace(spec, correction=0)), ("float64", "float32"), "dense"),
        "gradient by alpha, BatchEntropy/",
    ),
    "a formula that is wrong everywhere": (
        (L1, of(lambda spec: L2(reduction=spec.reduction, batch_axis=spec.batch_axis)), ANY[:2], "dense"),
        "value, L1/.*/dense",
    ),
    "NaN at a kink": ((L1, slope_at_zero(np.nan), ANY, "relu"), "gradient by x, L1/.*/relu.*got nan at .*expected 0"),
    "1 at a kink": ((L1, slope_at_zero(1), ANY, "relu"), "gradient by x, L1/.*/relu.*got 1 at .*expected 0"),
    "a mean over padding": ((L1, after(padded_mean), ANY, "dense"), "value, L1/"),
    "the mask dropped": (
        (L2, lambda spec, x, params, mask: NUMPY(spec, x, params, None), ANY, "dense"),
        r"gradient by x, L2/.*got nan .*what the mask hides",
    ),
    "half precision inside": ((L2, halved, ("float16",), "dense"), "value, L2/"),
    "float16 in between": (
        (L2, after(lambda r, x, m: {"x": r["x"].astype(np.float16).astype(x.dtype)}), ANY, "dense"),
        "gradient by x, L2/",
    ),
    "TF32 left on": ((SoftOrthogonality, naked(Tf32()), ("float32",), "offset"), "gradient by x, SoftOrthogonality/"),
    "no gradient by a learned parameter": (
        (SelfModel, after(lambda r, x, m: {"W": 0 * r["W"]}), ANY, "dense"),
        "gradient by W, SelfModel/",
    ),
    "a learned parameter forgotten": (
        (BatchEntropy, lambda *given: {k: v for k, v in NUMPY(*given).items() if k != "alpha"}, ANY, "dense"),
        "gradient by alpha, BatchEntropy/.*missing",
    ),
    "the gradient of one parameter for another": (
        (SelfModel, after(lambda r, x, m: {"b": r["W"].sum(axis=1)}), ANY, "dense"),
        "gradient by b, SelfModel/",
    ),
    "a gradient by labels": (
        (CenterLoss, after(lambda r, x, m: {"labels": np.zeros(5, x.dtype)}), ANY, "dense"),
        "CenterLoss/.*the gradient by labels is",
    ),
    "float32 inside where exact was promised": (
        (BatchEntropy, in_float32, ("exact",), "offset"),
        "gradient by x, BatchEntropy/.*/offset",
    ),
    "a cache shared by cases": ((L2, cached(), ANY, "dense"), "gradient by x, L2/|value, L2/"),
    "an input changed in place": ((L2, in_place, ANY, "dense"), "gradient by x, L2/"),
    "a variance in one pass": ((BatchEntropy, one_pass, ("float32",), "offset"), "value, BatchEntropy/.*/offset"),
    "an unstable logarithm of a sigmoid": (
        (KLSparsity, unstable, ("float32",), "offset"),
        "value, KLSparsity/.*/offset.*got inf",
    ),
    "a value of shape (1,)": (
        (L2, after(lambda r, x, m: {"value": r["value"][None]}), ANY, "dense"),
        r"value, L2/.*has shape \(1,\); expected \(\)",
    ),
    "a value in float64": (
        (L2, after(lambda r, x, m: {"value": r["value"].astype(np.float64)}), ANY[1:], "dense"),
        "L2/.*the value is float64; expected float32",
    ),
    "a gradient in float64": (
        (L2, after(lambda r, x, m: {"x": r["x"].astype(np.float64)}), ANY[1:], "dense"),
        "L2/.*the gradient by x is float64; expected float32",
    ),
    "the last entry lost": (
        (TAR, after(lambda r, x, m: {"x": np.where(np.arange(x.size).reshape(x.shape) < x.size - 1, r["x"], 0)}),
         ANY, "dense"),
        "gradient by x, TAR/.*got 0 at",
    ),
}  # fmt: skip


@pytest.fixture
def declare(monkeypatch):
    """Puts a backend where an installed package would declare it."""

    def declare(evaluate):
        entry = types.SimpleNamespace(load=lambda: lambda: ("acme 1.0", {"eager": evaluate}))
        monkeypatch.setattr(backends, "declared", lambda: {"acme": entry})

    return declare


@pytest.mark.parametrize(("bug", "words"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_of_a_backend_is_caught_by_name(declare, bug, words):
    penalty, evaluate, grades, pattern = bug
    declare(evaluate)
    for grade in grades:
        with pytest.raises(AssertionError) as caught:
            check(penalty, backends=["acme"], grades=[grade], patterns=[pattern])
        first, *lines = str(caught.value).splitlines()
        assert first == f"{penalty.__name__} does not conform"
        assert all(line.startswith(f"acme eager {grade}, ") for line in lines)
        assert any(re.search(f"^acme eager {grade}, .*({words})", line) for line in lines), lines


def test_a_backend_without_bugs_passes(declare):
    declare(NUMPY)
    for penalty in dict.fromkeys(penalty for (penalty, *_), _ in BUGS.values()):
        assert check(penalty, backends=["acme"], patterns=["dense", "relu", "offset"]).passed > 10


def test_a_parameter_that_stays_at_its_initial_value_is_caught(declare):
    declare(stale)
    given = {"inputs": {"alpha": np.asarray(0.875, np.float32)}, "backends": ["acme"], "patterns": ["dense"]}
    with pytest.raises(AssertionError, match="acme eager float32, value, BatchEntropy/"):
        check(BatchEntropy(), (4, 3), **given)

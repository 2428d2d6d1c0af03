"""Planted bugs that one library alone has, of modes, of long sums, and of adapters: each is caught by name."""

import numpy as np
import pytest

import regcore
from regcore import L2, BatchEntropy

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")
torch = pytest.importorskip("torch", reason="torch is not installed")

from regcore_conformance import check, long, verdicts, worker  # noqa: E402 - after the check that torch is there
from regcore_conformance.cases import UPSTREAM  # noqa: E402
from regcore_conformance.evaluating import cell  # noqa: E402
from regcore_conformance.steps import torch as adapter  # noqa: E402


class CallsNumPy(L2):
    """On whatever arrays it gets."""

    def phi(self, xp, x):
        return np.multiply(x, x)


class TakesTheSize(L2):
    """Which is a number in NumPy, and a method in PyTorch."""

    maskable = False

    def value(self, xp, x, params, **options):
        return xp.sum(x * x) / x.size

    def grad(self, xp, x, params, **options):
        return 2.0 * x / x.size, {}


class RoundsTheInput(L2):
    """In PyTorch only, where it goes round the front door."""

    maskable = False

    def __call__(self, x, params=None, **options):
        return super().__call__(x.to(torch.bfloat16).to(x.dtype) if isinstance(x, torch.Tensor) else x)


class Detaches(BatchEntropy):
    """A learned parameter that nothing comes back to."""

    def __call__(self, x, params=None, **options):
        held = {"alpha": params["alpha"].detach() + 0.0 * params["alpha"]} if isinstance(x, torch.Tensor) else params
        return super().__call__(x, held, **options)


class AlwaysInFloat32(L2):
    maskable = False

    def __call__(self, x, params=None, **options):
        return super().__call__(x, **options).to(torch.float32) if isinstance(x, torch.Tensor) else super().__call__(x)


BUGS = {
    "a function of NumPy on other arrays": (CallsNumPy(), "array-api-strict", "value and gradient, CallsNumPy/0"),
    "what is a method elsewhere": (TakesTheSize(), "torch", "value and gradient, TakesTheSize/0/.*TypeError"),
    "an input that is rounded": (RoundsTheInput(), "torch", "value, RoundsTheInput/0/offset.*times the bound"),
    "a gradient that does not reach alpha": (Detaches(), "torch", "gradient by alpha, Detaches/.*got -?0, expected"),
    "a result of the wrong dtype": (AlwaysInFloat32(), "torch", "AlwaysInFloat32/.*the value is float32; expected f"),
}


@pytest.mark.parametrize(("penalty", "library", "words"), BUGS.values(), ids=BUGS)
def test_a_bug_in_one_library_is_caught_by_name_and_others_pass(penalty, library, words):
    pytest.importorskip(library.replace("-", "_"), reason=f"{library} is not installed")
    options = {"patterns": ["offset"], "grades": ["float64"]}
    assert check(penalty, (4, 3), backends=["numpy"], **options).passed > 0
    with pytest.raises(AssertionError, match=f"(?m)^{library}(:cpu)? eager float64, .*{words}"):
        check(penalty, (4, 3), backends=[library], **options)


def test_a_mode_that_silently_runs_eager_is_caught(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    words = "torch:cpu compile float32, value and gradient, L2/0/dense.*: RuntimeError: this was to be compiled and ran"
    with pytest.raises(AssertionError, match=words):
        check(L2(), (4, 3), backends=["torch"], patterns=["dense"], grades=["float32"], depth="full")


def test_a_jit_that_was_turned_off_is_caught():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    words = "jax:cpu jit float32, value and gradient, L2/0/dense.*: RuntimeError: this was to be traced by jit"
    with jax.disable_jit(), pytest.raises(AssertionError, match=words):
        check(L2(), (4, 3), backends=["jax"], patterns=["dense"], grades=["float32"])


def stagnant(spec, x, params, mask):
    """The sum of squares, one by one, in the dtype of the data, which at last is too coarse for one more."""
    value = np.cumsum((x * x).ravel(), dtype=x.dtype)[-1]
    return {"value": value.astype(np.float32), "x": x.dtype.type(2 * UPSTREAM) * x}


def miscounted(spec, x, params, mask):
    """The mean of squares, over their number in the dtype of the data, which has no such number."""
    n = np.asarray(x.size).astype(x.dtype)
    squares = np.sum(x.astype(np.float32) ** 2)
    return {"value": np.asarray(squares / n, dtype=np.float32), "x": 2 * x * np.asarray(UPSTREAM, x.dtype) / n}


@pytest.mark.parametrize(
    ("name", "evaluate"),
    [("L2/0/long sum", stagnant), ("L2/0/long", miscounted)],
    ids=["a sum that stagnates", "overflow in half precision"],
)
def test_a_long_sum_that_goes_wrong_is_caught(name, evaluate):
    (case,) = [case for case in long.long_cases([L2]) if case.id == name]
    with np.errstate(all="ignore"):
        outcome = worker.Outcome("acme", "", (cell("eager", evaluate, "float16", case),))
    (verdict,) = verdicts.judge([outcome], {case.id: long.truth(case)})
    assert (verdict.backend, verdict.case, verdict.status, verdict.result) == ("acme", name, "fail", "value")


# Bugs of an adapter: a step of SGD


def twice(model, rules):
    """The penalty is registered a second time, on top of the first."""
    first, second = adapter_regularize(model, rules), adapter_regularize(model, rules)
    combine = first.combine
    first.combine = lambda task: combine(task) + second.combine(task) - task
    return first


def added(model, rules):
    """The coupled part is added to the task loss."""
    return adapter_regularize(model, {name: regcore.added(spec) for name, spec in rules.items()})


def unweighted(model, rules):
    return adapter_regularize(model, {name: 2.0 * spec for name, spec in rules.items()})


def untrained(model, rules):
    """Learned parameters are kept from the optimizer."""
    reg = adapter_regularize(model, rules)
    reg.parameters = lambda: iter(())
    return reg


adapter_regularize = adapter.regularize


@pytest.mark.parametrize(
    ("bug", "words"),
    [(twice, "gradient by "), (added, "gradient by "), (unweighted, "gradient by "), (untrained, "gradient by alpha")],
    ids=["counts twice", "adds what multiplies", "loses the weight", "does not train alpha"],
)
def test_an_adapter_that_is_wrong_is_caught_by_name(monkeypatch, bug, words):
    monkeypatch.setattr(adapter, "regularize", bug)
    (verdict,) = verdicts.judge([worker.adapt("regcore_torch", depth="default")], {})
    assert (verdict.backend, verdict.mode, verdict.status) == ("regcore_torch", "step", "fail"), verdict
    assert verdict.detail.startswith(words)


def test_an_adapter_without_bugs_passes():
    (verdict,) = verdicts.judge([worker.adapt("regcore_torch", depth="default")], {})
    assert verdict.status == "pass"

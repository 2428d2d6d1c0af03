"""`check`: right penalties pass on every backend, and planted ones fail, by name."""

import dataclasses
import math

import pytest

import regcore
from regcore import L1, L2, SelfModel

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import backends, check


class FourthPower(L2):
    """`mean(x**4)`: right, and so are its derivative and what it does with a mask."""

    def phi(self, xp, x):
        return x * x * (x * x)

    def slope(self, xp, x):
        return 4.0 * x * (x * x)


def test_a_right_penalty_passes_everywhere_and_the_result_says_where():
    done = check(FourthPower(), (3, 2), patterns=["dense"])
    for name in {"torch", "jax", "tensorflow"} - set(backends.missing()):
        assert f"{name}:cpu" in done.backends
    assert done.passed > 4 * len(done.backends)
    assert 0 < done.worst < 1
    assert done.not_run["torch:cpu compile float32"] == "takes seconds for each example: depth='full'"
    assert str(done).startswith(f"FourthPower(): {done.passed} cells passed; worst error 0.")
    assert "jax:cpu second float64: JAX has no float64 arrays while x64 is off" in str(done)


def test_a_class_is_checked_on_its_examples_and_a_spec_on_them_too():
    options = {"backends": ["numpy"], "grades": ["float64"], "patterns": ["dense"]}
    examples = [*L1.examples()]
    in_pieces = [example for example in examples if math.prod(example.shape) > 2]  # which are cells of their own
    assert check(L1, **options).passed == len(examples) + len(in_pieces)
    assert check(L1(reduction="batch_mean", batch_axis=1), **options).passed >= check(L1, **options).passed


def test_a_spec_with_parameters_and_inputs():
    spec = SelfModel(features=3, targets=2)
    options = {"backends": ["numpy"], "patterns": ["dense"]}
    assert check(spec, (4, 3), inputs={"targets": (4, 2)}, **options).passed > 0
    with pytest.raises(ValueError, match=r"needs \['targets'\] beside x: pass inputs="):
        check(spec, (4, 3), **options)
    with pytest.raises(ValueError, match="has no examples to be checked on: pass a shape"):
        check(2.0 * L1() + L2(), **options)
    assert check(2.0 * L1() + L2(), (4, 3), **options).passed > 0


# Planted penalties: each is wrong, and is caught by name


class WrongFactor(L2):
    def slope(self, xp, x):
        return x


class NanAtZero(L1):
    def slope(self, xp, x):
        return x / xp.abs(x)


class IgnoresTheMask(FourthPower):
    def value(self, xp, x, params, *, mask=None, across=regcore.Alone):
        return super().value(xp, x, params, across=across)

    def grad(self, xp, x, params, *, mask=None, across=regcore.Alone):
        return super().grad(xp, x, params, across=across)


class MultipliesByTheMask(L2):
    """Right on finite data; padding may hold anything."""

    def value(self, xp, x, params, *, mask=None, across=regcore.Alone):
        masked = x if mask is None else x * xp.astype(mask, x.dtype)[:, None]
        count = x.size if mask is None else xp.sum(xp.astype(mask, x.dtype)) * x.shape[1]
        return xp.sum(masked * masked) / count

    def grad(self, xp, x, params, *, mask=None, across=regcore.Alone):
        masked = x if mask is None else x * xp.astype(mask, x.dtype)[:, None]
        count = x.size if mask is None else xp.sum(xp.astype(mask, x.dtype)) * x.shape[1]
        return 2.0 * masked / count, {}


class DropsTheUpstreamGradient(L2):
    """Goes round the front door with a function of PyTorch's own."""

    maskable = False

    def __call__(self, x, params=None, *, mask=None, across=regcore.Alone, **inputs):
        torch = pytest.importorskip("torch", reason="torch is not installed")

        class Own(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return (x * x).mean()

            @staticmethod
            def backward(ctx, upstream):
                (x,) = ctx.saved_tensors
                return 2 * x / x.numel()

        return Own.apply(x)


class BranchesOnData(FourthPower):
    """Which works operation by operation, and not where a graph is traced."""

    def phi(self, xp, x):
        return super().phi(xp, x) if bool(xp.any(x != 0)) else x


class OnlyInNumPy(FourthPower):
    def phi(self, xp, x):
        return super().phi(xp, xp.nan_to_num(x))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrongByAParameter(SelfModel):
    def grad(self, xp, x, params, **options):
        dx, dparams = super().grad(xp, x, params, **options)
        return dx, {**dparams, "b": 2.0 * dparams["b"]}


PLANTED = [
    (WrongFactor(), ["numpy"], "dense", r"numpy eager float64, gradient by x, WrongFactor/0/dense.*times the bound"),
    (NanAtZero(), ["numpy"], "relu", r"numpy eager exact, gradient, NanAtZero/0/relu.*NoSubgradient.*nan at a kink"),
    (IgnoresTheMask(), ["numpy"], "dense", r"numpy eager float32, value, IgnoresTheMask/1/dense: .*mask hides was NaN"),
    (MultipliesByTheMask(), ["numpy"], "dense", r"value, MultipliesByTheMask/1/dense: .*got nan.*what the mask hides"),
    (DropsTheUpstreamGradient(), ["torch"], "dense", r"torch:cpu eager float32, gradient by x, Drops.*/0/dense"),
    (OnlyInNumPy(), ["numpy", "array-api-strict"], "dense", r"array-api-strict eager float64, value and .*nan_to_num"),
    (BranchesOnData(), ["numpy", "tensorflow"], "dense", r"tensorflow:cpu function float32, value and .*InGraphE"),
    (WrongByAParameter(features=3), ["numpy"], "dense", r"numpy eager float64, gradient by b, WrongByA.*/0/dense"),
]


@pytest.mark.parametrize(
    ("spec", "where", "pattern", "words"), PLANTED, ids=[type(spec).__name__ for spec, *_ in PLANTED]
)
def test_a_wrong_penalty_is_caught_by_name(spec, where, pattern, words):
    for name in where:
        pytest.importorskip(name.replace("-", "_"), reason=f"{name} is not installed")
    with pytest.raises(AssertionError, match=words) as caught:
        check(spec, (4, 3), backends=where, patterns=[pattern])
    assert str(caught.value).startswith(f"{spec} does not conform")
    if len(where) > 1:  # the first is right
        assert f"{where[0]} eager" not in str(caught.value)
    assert "tensorflow:cpu eager" not in str(caught.value)


def test_what_only_numpy_has_is_right_in_numpy():
    """Else the test above would show nothing."""
    assert check(OnlyInNumPy(), (4, 3), backends=["numpy"], patterns=["dense"]).passed > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backends": ["nump"]}, r"no backend is called \['nump'\]; choose from \['numpy'"),
        ({"device": "tpu"}, "there is no device 'tpu'"),
        ({"backends": ["torch", "numpy"], "device": "gpu"}, r"\['numpy'\] is not run on a gpu; choose from \['torch'"),
        ({"grades": ["float8"]}, r"grades has \['float8'\]; choose from \['float64'"),
        ({"depth": "deep"}, r"depth has \['deep'\]; choose from \['quick'"),
        ({"patterns": ["flat"]}, r"no pattern is called \['flat'\]; choose from \['dense'"),
    ],
    ids=lambda p: next(iter(p)) if isinstance(p, dict) else "",
)
def test_unknown_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        check(L2, **options)


def test_what_was_asked_for_and_is_not_here_is_no_success():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(AssertionError, match="torch:cuda was asked for and is not run: torch finds no CUDA device"):
        check(L2(), (4, 3), backends=["torch"], device="gpu", patterns=["dense"])
    with pytest.raises(AssertionError, match="nothing was run at all"):
        check(L2(), (4, 3), backends=["numpy"], grades=[], patterns=["dense"])


def test_without_gmpy2_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'regcore-array\[conformance\]'"):
        check(L2)


def test_the_policy_of_a_process_is_what_it_was():
    torch, jax = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("torch", "jax"))
    before = torch.get_float32_matmul_precision(), torch.get_num_threads(), jax.config.jax_enable_x64
    with backends.entered("jax:cpu:x64"), backends.entered("torch:cpu"):
        assert jax.config.jax_enable_x64
        assert torch.get_float32_matmul_precision() == "highest"
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads(), jax.config.jax_enable_x64) == before

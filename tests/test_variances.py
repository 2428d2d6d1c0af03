"""Functions of variances: large batches in slabs, slopes that wait for backward, and what that is counted by."""

import math

import numpy as np
import pytest

from regcore import Alone, BatchEntropy, Variance, added, exact, pieces, plain, value, value_and_grad
from regcore.slabs import cut
from regcore.variances import OfVariances

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch.autograd import forward_ad  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

SPECS = [BatchEntropy(alpha=0.9), Variance(gamma=5.0), 3.0 * added(BatchEntropy(correction=0))]
EACH = pytest.mark.parametrize("spec", SPECS, ids=str)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 2**9)


def data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def learned(spec, like):
    return {name: np.asarray(array, dtype=like.dtype) for name, array in spec.init().items()}


def on_numpy(spec, x):
    result, (dx, by) = value_and_grad(spec, x, learned(spec, x))
    return result, dx, *by.values()


def on_torch(spec, x):
    x, params = torch.tensor(x, requires_grad=True), {n: torch.tensor(a) for n, a in learned(spec, x).items()}
    result = value(spec, x, {name: param.requires_grad_() for name, param in params.items()})
    result.backward()
    return [tensor.numpy() for tensor in (result.detach(), x.grad, *[param.grad for param in params.values()])]


def off(found, true):
    """The largest error of each, over the largest of its numbers."""
    return [np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in zip(found, true, strict=True)]


def hostile(kind):
    x = data(512, 40)
    return {
        "offset": x + 1e4,
        "offsets": x + 1e4 * np.arange(40),
        "sorted": np.sort(x, axis=0),
        "steps": x * 1e-2 + np.arange(512)[:, None] // 64,
        "outlier": np.concatenate([x[:300], 30 + x[300:301], x[301:]]),
    }[kind].astype(np.float32)


@pytest.mark.parametrize("library", [on_numpy, on_torch])
@pytest.mark.parametrize("kind", ["offset", "offsets", "sorted", "steps", "outlier"])
@EACH
def test_slabs_are_as_accurate_as_two_passes(spec, kind, library, tiny):
    x = hostile(kind)
    true = on_numpy(plain(spec), x.astype(np.float64))
    ours, theirs = off(library(spec, x), true), off(library(plain(spec), x), true)
    assert all(a <= 2 * b + 4 * 2.0**-23 for a, b in zip(ours, theirs, strict=True)), (ours, theirs)


@pytest.mark.parametrize("shape", [(200, 3), (7, 100, 5), (3, 600), (130, 1000)])
@EACH
def test_slabs_are_as_the_whole(spec, shape, tiny):
    x = data(*shape)
    for form in (spec, exact(spec)):
        for library in (on_numpy, on_torch):
            assert max(off(library(form, x), on_numpy(plain(spec), x))) <= 1e-13


def test_slabs_are_contiguous_and_have_many_samples(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 2**12)
    for shape, batch, slab in [
        ((4096, 32), 0, (128, 32)),
        ((4096, 256), 0, (64, 64)),
        ((16, 8192), 0, (16, 256)),
        ((300, 100), 1, (40, 100)),
        ((8, 64, 32), (0, 1), (2, 64, 32)),
    ]:
        x = np.zeros(shape, dtype=np.float32)
        found = cut(np, None, Variance(batch_axis=batch), x, {}, None, Alone, x.strides, pieces.CACHED)
        every = [index for slabs in found.slabs for index in slabs]
        assert x[every[0]].shape == slab
        for index in every:
            x[index] += 1
        assert (x == 1).all()


@EACH
def test_constant_units_have_gradient_zero_and_nan_stays(spec, tiny):
    x = data(300, 5).astype(np.float32)
    x[:, 1], x[7, 3] = 0.1, np.nan
    for library in (on_numpy, on_torch):
        result, dx, *_ = library(spec, x)
        assert np.isnan(result)
        assert np.isnan(dx[:, 3]).all()
        clean = library(spec, x[:, :3])
        assert np.isfinite(clean[0])
        assert not clean[1][:, 1].any()


class Reads(TorchDispatchMode):
    """How many entries of x operations are given, those of views aside, and how many operations there are."""

    def __init__(self, x):
        super().__init__()
        self.own, self.entries, self.kernels = x.untyped_storage().data_ptr(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view:
            self.kernels += 1
            tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
            self.entries += sum(arg.numel() for arg in tensors if arg.untyped_storage().data_ptr() == self.own)
        return function(*args, **(kwargs or {}))


@EACH
def test_forward_and_backward_read_x_once(spec, monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 2**13)
    x = torch.zeros(1024, 64, requires_grad=True)
    params = {name: torch.tensor(array) for name, array in spec.init().items()}
    with Reads(x) as forward:
        result = value(spec, x, params)
    with Reads(x) as backward:
        result.backward()
    slabs = x.numel() // 2**13
    assert x.numel() <= forward.entries <= x.numel() + 2 * slabs * 64  # the first sample, at each slab
    assert x.numel() <= backward.entries <= x.numel() + slabs * 64


@EACH
def test_backward_of_a_small_array_takes_no_statistics(spec):
    x = torch.zeros(16, 8, requires_grad=True)
    result = value(spec, x, {name: torch.tensor(array) for name, array in spec.init().items()})
    with Reads(x) as backward:
        result.backward()
    assert backward.kernels <= 8


@EACH
def test_a_change_in_place_is_noticed(spec):
    x = torch.zeros(16, 8, requires_grad=True) * 1.0
    result = value(spec, x, {name: torch.tensor(array) for name, array in spec.init().items()})
    x.add_(1.0)
    with pytest.raises(RuntimeError, match=r"was changed in place before backward: penalize a copy"):
        result.backward()


@EACH
def test_derivatives_of_all_kinds(spec, tiny):
    """Of arrays in slabs and small ones: twice backward, both transforms, forward mode and a batch of arrays."""
    for shape in ((5, 3), (260, 3)):
        x, v = (torch.tensor(data(*shape, seed=seed)) for seed in (0, 1))
        params = {name: torch.tensor(array) for name, array in learned(spec, x.numpy()).items()}

        def ours(x, form=spec, params=params):
            return value(form, x, params)

        slope = torch.func.grad(lambda x: ours(x, plain(spec)))
        expected, product = torch.func.jvp(slope, (x,), (v,))
        leaf = x.clone().requires_grad_()
        first = torch.autograd.grad(ours(leaf), leaf, create_graph=True)[0]
        close(first.detach(), expected)
        close(torch.autograd.grad((first * v).sum(), leaf)[0], product)
        close(torch.func.grad(ours)(x), expected)
        along = (expected * v).sum()
        close(torch.func.jvp(ours, (x,), (v,))[1], along)
        with forward_ad.dual_level():
            close(forward_ad.unpack_dual(ours(forward_ad.make_dual(x, v))).tangent, along)
        both = torch.stack([x, x + v])
        close(torch.func.vmap(torch.func.grad(ours))(both)[0], expected)
        close(torch.func.vmap(ours)(both), torch.stack([ours(x), ours(x + v)]))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_a_second_backward_and_two_losses(tiny):
    x = torch.tensor(data(300, 4), requires_grad=True)
    alpha = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    result = value(BatchEntropy(), x, {"alpha": alpha})
    once = torch.autograd.grad(result, [x, alpha], retain_graph=True)
    twice = torch.autograd.grad(2.0 * result, [x, alpha])
    for a, b in zip(once, twice, strict=True):
        close(2.0 * a, b)


class Louder(Variance):
    def of_unit(self, xp, variance):
        value, slope = super().of_unit(xp, variance)
        return 2.0 * value, 2.0 * slope


class Doubled(Variance):
    def value(self, *args, **options):
        return 2.0 * super().value(*args, **options)

    def grad(self, *args, **options):
        return 2.0 * super().grad(*args, **options)[0], {}


@pytest.mark.parametrize("kind", [Louder, Doubled])
def test_what_a_subclass_puts_in_place_counts(kind, tiny):
    x = data(300, 4)
    for shape in ((300, 4), (5, 4)):
        x = data(*shape)
        for library in (on_numpy, on_torch):
            assert max(off(library(kind(), x), [2.0 * each for each in on_numpy(plain(Variance()), x)])) <= 1e-14


def test_a_value_is_a_function_of_the_mean_over_units():
    variance = np.asarray([[0.5, 4.0]])
    assert issubclass(Variance, OfVariances)
    result, slopes, by_params = Variance(gamma=1.0, eps=0.25).of_variances(np, variance, {})
    assert result == pytest.approx((1 - math.sqrt(0.75)) / 2)
    np.testing.assert_allclose(slopes, [[-0.25 / math.sqrt(0.75), 0.0]])
    assert by_params == {}

"""Large arrays in pieces: the same numbers as whole ones, from few bytes, whatever the number of threads."""

import tracemalloc

import numpy as np
import pytest

import regcore
from regcore import (
    AR,
    FLOPS,
    L1,
    TAR,
    Alone,
    BatchEntropy,
    ElasticNet,
    Variance,
    exact,
    pieces,
    plain,
    value,
    value_and_grad,
)
from regcore.config import own
from regcore.cuts import wider

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

UPSTREAM = 1.75
KINDS = [*own().values()]
EXAMPLES = [example for kind in KINDS for example in kind.examples() if example.spec.apart(example.shape, Alone)]
SUM = 2.0 * AR() + 1.0 * TAR()


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 3)
    monkeypatch.setattr(pieces, "FEWEST", 1)


def data(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def learned(spec):
    return {name: array.astype(np.float64) for name, array in spec.init().items()}


def on_torch(spec, x, mask=None):
    """Value, gradient and those by parameters, of a backward."""
    x = torch.asarray(x, requires_grad=True)
    params = {name: torch.asarray(array).requires_grad_() for name, array in learned(spec).items()}
    result = value(spec, x, params, mask=None if mask is None else torch.asarray(mask))
    result.backward(torch.asarray(UPSTREAM, dtype=result.dtype))
    return result.detach(), x.grad, *(param.grad for param in params.values())


def on_numpy(spec, x, mask=None):
    result, (dx, dparams) = value_and_grad(spec, x, learned(spec), mask=mask, upstream=UPSTREAM)
    return result, dx, *dparams.values()


def assert_same(found, expected, rtol=1e-12):
    for a, b in zip(found, expected, strict=True):
        b = np.asarray(b)
        np.testing.assert_allclose(np.asarray(a), b, rtol=rtol, atol=rtol * np.nanmax(np.abs(b), initial=0))


def slices_of(spec, x):
    strides = x.stride() if isinstance(x, torch.Tensor) else x.strides
    plan = pieces.pieces(np, None, spec, x, {}, None, Alone, strides, pieces.CACHED)
    return plan.slices if plan else []


@pytest.mark.parametrize("library", [on_numpy, on_torch])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.spec}-{example.shape}")
def test_pieces_are_as_the_whole(example, library, tiny):
    mask = data(example.shape[: example.mask_ndim], 1) < 0.5 if example.mask_ndim else None
    for weighted in (example.spec, 3.0 * example.spec):
        x = data(example.shape)
        assert_same(library(weighted, x, mask), on_numpy(plain(weighted), x, mask))


@pytest.mark.parametrize("spec", [AR(), SUM, BatchEntropy(), regcore.Orthogonality(power=1)], ids=str)
def test_value_and_gradient_at_once(spec, tiny):
    x = data((4, 5, 6) if spec is SUM else (8, 3))
    params = {name: torch.asarray(array) for name, array in learned(spec).items()}
    result, (dx, dparams) = value_and_grad(spec, torch.asarray(x), params, upstream=UPSTREAM)
    assert_same((result, dx, *dparams.values()), on_numpy(plain(spec), x))


def test_what_comes_apart():
    kinds = {type(example.spec) for example in EXAMPLES}
    assert {AR, L1, ElasticNet, TAR, BatchEntropy, FLOPS} <= kinds
    assert regcore.Orthogonality().apart((64, 4), Alone) is None


@pytest.mark.parametrize("library", [on_numpy, on_torch])
@pytest.mark.parametrize(
    "spec",
    [SUM, TAR(time_axis=0), BatchEntropy(batch_axis=1), BatchEntropy() + BatchEntropy(beta=2.0).named("second"), L1()],
    ids=str,
)
def test_any_layout(spec, library, tiny):
    x = data((5, 4, 6))
    expected = on_numpy(plain(spec), x)
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)):
        back = tuple(np.argsort(order))
        view = np.ascontiguousarray(x.transpose(order)).transpose(back)
        assert view.flags.c_contiguous == (order == (0, 1, 2))
        assert_same(library(spec, view), expected)
    wider = np.zeros((5, 4, 12))
    wider[..., ::2] = x
    assert_same(library(spec, wider[..., ::2]), expected)
    assert_same(library(spec, np.ascontiguousarray(x[::-1])[::-1] if library is on_numpy else x), expected)


class FourTimes(AR):
    def value(self, xp, x, params, **options):
        return 4.0 * super().value(xp, x, params, **options)

    def grad(self, xp, x, params, **options):
        return 4.0 * super().grad(xp, x, params, **options)[0], {}


class Halved(AR):
    def slope(self, xp, x):
        return x


@pytest.mark.parametrize("spec", [FourTimes(), Halved()], ids=["value", "slope"])
def test_what_a_subclass_puts_in_place_counts(spec, tiny):
    x = data((4, 3))
    assert_same(on_torch(spec, x), on_numpy(plain(spec), x))


def test_slices_are_contiguous_where_they_can_be(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 24)
    x, whole = np.zeros((5, 4, 6)), slice(None)
    assert slices_of(TAR(), x) == [(slice(i, i + 1),) for i in range(5)]
    assert slices_of(TAR(time_axis=0), x) == [
        (whole, slice(i, i + 1), slice(j, j + 4)) for i in range(4) for j in (0, 4)
    ]
    features = slices_of(TAR(time_axis=0) + TAR(time_axis=1), x)  # the one axis that both leave
    assert features == [(whole, whole, slice(i, i + 1)) for i in range(6)]
    last = slices_of(AR(), np.asfortranarray(x))  # which is the outermost in memory
    assert last == [(whole, whole, slice(i, i + 1)) for i in range(6)]
    assert slices_of(AR() + regcore.Orthogonality(), x) == slices_of(plain(AR()), x) == slices_of(L1(), x[:1]) == []
    assert slices_of(AR(), x) == [()]  # of which nothing is made


def test_slices_of_time_are_long(monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 256)
    x = np.zeros((2, 100, 4))
    expected = [slice(0, 64), slice(64, 128)]
    assert slices_of(TAR(), x) == [(slice(i, i + 1), part) for i in range(2) for part in expected]
    x = np.zeros((100, 6, 8))  # 48 numbers in each step, and no fewer than 32 steps
    found = slices_of(TAR(time_axis=0), x)
    assert found == [(slice(i, i + 32), slice(j, j + 1)) for i in range(0, 100, 32) for j in range(6)]
    assert [wider(index, 0, 1, 1)[0][0] for index in found[::6]] == [
        slice(max(i - 1, 0), i + 33) for i in range(0, 100, 32)
    ]


@pytest.mark.parametrize("library", [on_numpy, on_torch])
@pytest.mark.parametrize("spec", [AR(), L1(), SUM, BatchEntropy()], ids=str)
def test_nan_stays(spec, library, tiny):
    x = data((4, 5, 3))
    x[2, 3, 1] = np.nan
    whole = on_numpy(plain(spec), x)
    found = library(spec, x)
    assert np.isnan(float(found[0]))
    assert np.array_equal(np.isnan(np.asarray(found[1])), np.isnan(whole[1]))
    if not isinstance(spec, BatchEntropy):
        mask = np.ones((4, 5), bool)
        mask[2, 3] = False
        assert_same(library(spec, x, mask), on_numpy(plain(spec), x, mask))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("spec", [SUM, BatchEntropy(), exact(SUM)], ids=str)
def test_half_precision_is_rounded_once(spec, dtype, tiny):
    x = torch.asarray(data((4, 5, 3))).to(getattr(torch, dtype))
    params = {name: torch.asarray(array, dtype=torch.float32) for name, array in spec.init().items()}
    results = []
    for form in (spec, plain(spec)):
        result, (dx, _) = value_and_grad(form, x, params, upstream=UPSTREAM)
        assert (result.dtype, dx.dtype) == (torch.float32, x.dtype)
        results.append((result, dx.float()))
    assert_same(*results, rtol=1e-6 if dtype == "float32" else 4e-3)
    assert_same([results[0][0]], [results[1][0]], rtol=1e-6)


@pytest.mark.parametrize("spec", [SUM, L1() + ElasticNet(), BatchEntropy()], ids=str)
def test_second_derivatives(spec, tiny):
    params = {name: torch.asarray(array) for name, array in learned(spec).items()}

    def penalty(x, form=spec):
        return value(form, x, params)

    x, v = (torch.asarray(data((3, 4, 2), seed)).requires_grad_() for seed in (0, 1))
    slope = torch.autograd.grad(penalty(x), x, create_graph=True)[0]
    product = torch.autograd.grad((slope * v.detach()).sum(), x)[0]
    expected = torch.func.jvp(torch.func.grad(lambda x: penalty(x, plain(spec))), (x.detach(),), (v.detach(),))
    assert_same([slope.detach(), product], expected)
    assert_same([torch.func.grad(penalty)(x.detach())], expected[:1])


@pytest.mark.parametrize("spec", [SUM, BatchEntropy()], ids=str)
def test_vmap(spec, tiny):
    params = {name: torch.asarray(array) for name, array in learned(spec).items()}
    batch, up = torch.asarray(data((2, 3, 4, 2))), torch.asarray([1.0, 3.0], dtype=torch.float64)
    batch.requires_grad_()
    (torch.func.vmap(lambda x: value(spec, x, params))(batch) * up).sum().backward()
    slopes = [
        value_and_grad(plain(spec), x, params, upstream=float(u))[1][0] for x, u in zip(batch.detach(), up, strict=True)
    ]
    assert_same([batch.grad], [torch.stack(slopes)])
    assert_same(
        [torch.func.vmap(torch.func.grad(lambda x: value(spec, x, params)))(batch.detach())[0] * 1.0], slopes[:1]
    )


class Peak(TorchDispatchMode):
    """The most bytes that storages made within it have held at once, x not counted."""

    def __init__(self, x):
        super().__init__()
        self.own, self.alive, self.most = x.untyped_storage()._cdata, {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            storage = tensor.untyped_storage()
            if storage._cdata != self.own:
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return result


LARGE = [AR(), L1(), TAR(), SUM, exact(AR()), BatchEntropy(), Variance()]


@pytest.mark.parametrize(
    ("spec", "dtype"), [*((spec, "float32") for spec in LARGE), (AR(), "bfloat16"), (TAR(), "bfloat16")], ids=str
)
def test_bytes_of_torch(spec, dtype, monkeypatch):
    """Beyond the gradient there is no more at any time than 1/20 of x; kept for backward are x and what is per unit."""
    monkeypatch.setattr(pieces, "CACHED", 2**11 if dtype == "float32" else 2**9)
    x = torch.zeros((256, 8, 128), dtype=getattr(torch, dtype)).requires_grad_()
    params = {name: torch.asarray(array) for name, array in spec.init().items()}
    size, kept = x.nbytes, []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved)
    with hooks, Peak(x) as forward:
        result = value(spec, x, params)
    assert forward.most <= 0.05 * size
    units = 2 * x[0].nbytes if isinstance(spec, (BatchEntropy, Variance)) else 0  # of each the mean and the slope
    assert sum(saved.nbytes for saved in kept) <= size + units + 8
    with Peak(x) as backward:
        result.backward()
    assert size <= backward.most <= 1.05 * size


@pytest.mark.parametrize("spec", LARGE, ids=str)
def test_bytes_of_numpy(spec, monkeypatch):
    monkeypatch.setattr(pieces, "CACHED", 2**11)
    x, params = np.zeros((256, 8, 128), dtype=np.float32), spec.init()
    value_and_grad(spec, x[:2], params)  # which may import
    peak = min(allocated(lambda: value_and_grad(spec, x, params)) for _ in range(3))
    assert x.nbytes <= peak <= 1.1 * x.nbytes  # of which 1/20 are lists of slices and of partial sums


def allocated(run):
    """At most at one time, by all threads of the process: some run has none beside it."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(9, 129, 300), (3, 100, 401), (1000, 1100)])
@pytest.mark.parametrize("spec", [AR(), ElasticNet(), TAR(), SUM, BatchEntropy(), Variance(), FLOPS()], ids=str)
def test_the_number_of_threads_changes_no_bit(spec, shape):
    x = torch.asarray(data(shape)).float()
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(on_torch(spec, x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("library", [on_numpy, on_torch])
def test_long_sums_are_accurate(library):
    x = np.full((2**21 + 1,), 1 / 3, dtype=np.float32)  # all rounding errors have one sign
    assert_same([library(L1(), x)[0]], [np.float32(1 / 3)], rtol=2.0**-22)
    assert_same([library(AR(), x)[0]], [np.float64(x[0]) ** 2], rtol=2.0**-22)

"""Penalties on all pairs, by blocks and by duals, against their plain forms; and what they multiply and keep."""

import importlib
import weakref

import numpy as np
import pytest

from regcore import (
    Alone,
    Covariance,
    DeCov,
    MaxCosine,
    OffDiagonalOrthogonality,
    Orthogonality,
    SelfModel,
    SoftOrthogonality,
    blocks,
    plain,
    value,
    value_and_grad,
)

ANGULAR = [
    Orthogonality(),
    Orthogonality(power=1),
    Orthogonality(power=1, threshold=0.25),
    Orthogonality(power=1, signed=True),
    Orthogonality(power=2.5, threshold=0.125, signed=True),
    Orthogonality(power=3, vector_axis=1),
    Orthogonality(power=4, welch=True),
    MaxCosine(),
    MaxCosine(signed=True, vector_axis=-1),
    MaxCosine(welch=True),
]
OTHERS = [
    Covariance(),
    DeCov(batch_axis=-1),
    SoftOrthogonality(),
    SoftOrthogonality(double_sided=True, vector_axis=1),
    OffDiagonalOrthogonality(),
    OffDiagonalOrthogonality(vector_axis=-1),
]
EACH = [Orthogonality(power=1), Orthogonality(power=3, threshold=0.125), MaxCosine(), Covariance()]
SHAPES = [(8, 7), (11, 3), (4, 9), (5, 2, 6)]
RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers_in_every_order():
    RNG.bit_generator.state = START


LIBRARIES = pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"], indirect=True)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 3)


def hostile(shape):
    """Rows and columns that are 0, equal and opposite, in different blocks."""
    x = RNG.integers(-99, 100, shape) / 4.0  # so many that no three tie, of which blocks take two
    if len(shape) == 2 and shape[0] > 5:
        x[1], x[5], x[-1] = 0, x[0], -x[2]
        x[:, -1] = x[:, 0]
    return x


def agree(fast, slow, tolerance=1e-12):
    for one, other in zip(fast, slow, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert np.isfinite(other).all()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * max(1e-30, np.abs(other).max()))


@LIBRARIES
@pytest.mark.parametrize("spec", ANGULAR + OTHERS, ids=repr)
def test_eager(spec, library):
    for shape in SHAPES:
        for x in (RNG.normal(size=shape), hostile(shape)):
            value, (dx, _) = value_and_grad(spec, library.asarray(x))
            plain_value, (plain_dx, _) = value_and_grad(plain(spec), x)
            agree((library.asnumpy(value), library.asnumpy(dx)), (plain_value, plain_dx))


def test_more_rows_than_panels(monkeypatch):
    monkeypatch.setattr(blocks, "PANELS", 4)
    x = RNG.normal(size=(29, 3))
    assert [len(part) for part in blocks.panels(x, 0)] == [7, 7, 7, 8]
    for spec in EACH[:3]:
        value, (dx, _) = value_and_grad(spec, x)
        plain_value, (plain_dx, _) = value_and_grad(plain(spec), x)
        agree((value, dx), (plain_value, plain_dx))


@pytest.mark.parametrize(("batch_axis", "mask_ndim"), [((0, 1), 0), ((0, 1), 1), ((1, 0), 2), (0, 0), (0, 1)])
@pytest.mark.parametrize("units", [4, 40])
def test_covariances_of_masked_samples(mask_ndim, units, batch_axis):
    x, mask = RNG.normal(size=(3, 4, units)), RNG.random((3, 4)[:mask_ndim]) < 0.75
    mask = None if mask_ndim == 0 else mask | (np.arange(3) == 0).reshape(3, *[1] * (mask_ndim - 1))
    spec = Covariance(batch_axis=batch_axis, correction=0)
    value, (dx, _) = value_and_grad(spec, x, mask=mask)
    plain_value, (plain_dx, _) = value_and_grad(plain(spec), x, mask=mask)
    agree((value, dx), (plain_value, plain_dx))


@pytest.mark.parametrize("spec", [Covariance(), OffDiagonalOrthogonality(vector_axis=1)], ids=repr)
@pytest.mark.parametrize("far", [0, 1, 5, 8])
def test_long_rows_leave_digits(spec, far):
    """The squares of a few units a thousand times larger would be all that a difference of sums consists of."""
    x = RNG.normal(size=(12, 200)).astype(np.float32)
    x[:, :far] *= 1000
    x -= np.mean(x, axis=0)
    value, (dx, _) = value_and_grad(spec, x)
    exact_value, (exact_dx, _) = value_and_grad(plain(spec), x.astype(np.float64))
    assert value == pytest.approx(float(exact_value), rel=1e-6)
    for units in (slice(0, far), slice(far, None)):
        assert np.all(np.abs(dx - exact_dx)[:, units] < 1e-6 * np.abs(exact_dx[:, units]).max(initial=0))


@LIBRARIES
@pytest.mark.parametrize("spec", ANGULAR + OTHERS, ids=repr)
def test_nan_reaches_all(spec, library):
    x = RNG.normal(size=(8, 9))
    x[4, 1] = np.nan
    value, (dx, _) = value_and_grad(spec, library.asarray(x.astype(np.float32)))
    _, (plain_dx, _) = value_and_grad(plain(spec), x)
    assert np.isnan(library.asnumpy(value))
    assert np.isnan(library.asnumpy(dx))[np.isnan(plain_dx)].all()


@pytest.mark.parametrize("spec", EACH[1:], ids=repr)
def test_jax(spec):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    x, v = hostile((6, 12))[:, :4], RNG.normal(size=(6, 4))
    x, v = (x[:2], v[:2]) if isinstance(spec, Covariance) else (x, v)
    with jax.enable_x64(True):

        def first_and_second(spec):
            def along(x, v):
                value, dx = jax.value_and_grad(spec)(x)
                return (dx * v).sum(), (value, dx)

            second, first = jax.jit(jax.grad(along, has_aux=True))(x, v)
            return *first, second

        agree(first_and_second(spec), first_and_second(plain(spec)))


@pytest.mark.parametrize("spec", EACH, ids=repr)
def test_tensorflow(spec):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = spec(x)
        return value, tape.gradient(value, x)

    x = hostile((7, 15))
    value, (dx, _) = value_and_grad(plain(spec), x)
    agree(both(tf.constant(x)), (value, dx))
    x[3, 2] = np.nan
    assert np.isnan(both(tf.constant(x))[0])
    assert np.isnan(both(tf.constant(x))[1]).all()


@pytest.mark.parametrize("spec", EACH, ids=repr)
def test_tensorflow_does_not_reorder_small_numbers(spec, monkeypatch):
    """Its optimizer makes (a + b) - b of a + (b - b) if a is a constant: then nothing is left of a share of pairs."""
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    monkeypatch.setattr(blocks, "ROWS", 200)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = spec(x)
        return tape.gradient(value, x)

    x = RNG.normal(size=(400, 4)).astype(np.float32)
    x = x.T if isinstance(spec, Covariance) else x
    agree([gradient(tf.constant(x))], [value_and_grad(plain(spec), x.astype(np.float64))[1][0]], 1e-5)


@pytest.mark.parametrize("spec", [*EACH, OffDiagonalOrthogonality()], ids=repr)
def test_tensorflow_makes_products_once(spec, monkeypatch):
    """In eager mode: all with the value, none in backward, and fewer if nobody differentiates; and twice is right."""
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    xp, made = importlib.import_module("regcore.backends.tensorflow").xp, []
    monkeypatch.setattr(xp, "matmul", lambda *args: made.append(args) or tf.matmul(*args))
    x, v = tf.constant(hostile((7, 15))), tf.constant(RNG.normal(size=(7, 15)))

    def twice(spec):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = spec(x)
            before = len(made)
            dx = tape.gradient(value, x)
            after = len(made)
        return before, after, outer.gradient(dx, x, v)

    before, after, second = twice(spec)
    assert 0 < before == after < len(made)
    agree([second], [twice(plain(spec))[2]])
    made.clear()
    spec(x)
    assert 0 < len(made) < before or isinstance(spec, MaxCosine)


@pytest.mark.parametrize("spec", [*EACH, SoftOrthogonality(), OffDiagonalOrthogonality()], ids=repr)
def test_torch(spec):
    """Second derivatives and torch.func; and no more than one array of the size of `x` waits for backward beside it."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, v = torch.tensor(hostile((7, 15))), torch.tensor(RNG.normal(size=(7, 15)))

    def second(spec):
        leaf = x.clone().requires_grad_()
        value = spec(leaf)
        (dx,) = torch.autograd.grad(value, leaf, create_graph=True)
        (along,) = torch.autograd.grad((dx * v).sum(), leaf)
        return value.detach(), dx.detach(), along

    agree(second(spec), second(plain(spec)))
    batch = torch.stack([x, 2 * x + v])
    by_one = torch.stack([torch.func.grad(spec)(one) for one in batch])
    agree([torch.vmap(torch.func.grad(spec))(batch)], [by_one])
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        spec(x.requires_grad_())
    assert sum(saved) <= 2 * x.nbytes


@LIBRARIES
@pytest.mark.parametrize("gradient", ["target_detached", "input_detached", "full"])
@pytest.mark.parametrize("targets", [None, 3])
def test_self_models_of_masked_samples(gradient, targets, library):
    for shape in ((8, 4), (3, 5, 4)):
        x, mask = RNG.normal(size=shape), RNG.random(shape[:-1]) < 0.75
        spec = SelfModel(features=4, targets=targets, gradient=gradient)
        params = {name: RNG.normal(size=size) for name, size in spec.shapes().items()}
        params |= {} if targets is None else {"targets": RNG.normal(size=(*shape[:-1], targets))}
        arrays = [{name: library.asarray(param) for name, param in params.items()}, library.asarray(mask)]
        for known, shown in ((arrays[0], None), arrays):
            got, (dx, by) = value_and_grad(spec, library.asarray(x), known, mask=shown)
            given = (x, params), {"mask": None if shown is None else mask}
            plain_value, (plain_dx, plain_by) = value_and_grad(plain(spec), *given[0], **given[1])
            agree(map(library.asnumpy, (got, dx, *by.values())), (plain_value, plain_dx, *plain_by.values()))
            alone = value(spec, library.asarray(x), known, mask=shown)
            assert library.asnumpy(alone) == library.asnumpy(got)


def test_a_self_model_makes_three_products(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.setattr(blocks, "ROWS", 32)
    spec, x = SelfModel(features=16), torch.tensor(RNG.normal(size=(512, 16)), dtype=torch.float32)
    params = {name: torch.tensor(array) for name, array in spec.init().items()}
    for differentiated, products in ((False, 1), (True, 3)):
        leaves = [tensor.clone().requires_grad_(differentiated) for tensor in (x, *params.values())]
        with FlopCounterMode(display=False) as counter:
            result = spec(leaves[0], dict(zip(params, leaves[1:], strict=True)))
            if differentiated:
                result.backward()
        assert counter.get_total_flops() == products * 2 * 512 * 16**2


def test_a_search_in_half_precision():
    """The value is that of pairs that exist, in float32: so it is at most the exact one."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x = torch.tensor(RNG.normal(size=(300, 16)), dtype=torch.float32)
    exact, found = float(MaxCosine()(x)), float(MaxCosine(search="bfloat16")(x))
    assert 0.998 * exact < found <= exact * (1 + 1e-6)
    with pytest.raises(TypeError, match="without bfloat16"):
        MaxCosine(search="bfloat16")(x.numpy())
    with pytest.raises(ValueError, match="search"):
        MaxCosine(search="float16")


@pytest.mark.parametrize("options", [{}, {"signed": True}], ids=str)
def test_products_in_half_precision(options, monkeypatch):
    """Near those in float32, and much nearer than by cosines of rounded directions."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(blocks, "ROWS", 100)
    x = torch.nn.functional.normalize(torch.tensor(RNG.normal(size=(300, 16)), dtype=torch.float32))

    def found(x, **more):
        result, (dx, _) = value_and_grad(Orthogonality(power=1, **options, **more), x)
        return float(result), dx

    (exact, dx), (near, by_halves) = found(x), found(x, products="bfloat16")
    assert near == pytest.approx(exact, rel=1e-3)
    error, rounded = ((other - dx).norm() / dx.norm() for other in (by_halves, found(x.bfloat16().float())[1]))
    assert error < 0.01
    assert error < 0.5 * rounded
    with pytest.raises(TypeError, match="without bfloat16"):
        Orthogonality(power=1, products="bfloat16")(x.numpy())
    with pytest.raises(ValueError, match="products"):
        Orthogonality(power=1, threshold=0.1, products="bfloat16")


@LIBRARIES
@pytest.mark.parametrize("spec", ANGULAR + OTHERS, ids=repr)
def test_a_value_alone_is_that_of_both(spec, library):
    for shape in SHAPES:
        x = library.asarray(hostile(shape))
        assert library.asnumpy(value(spec, x)) == library.asnumpy(value_and_grad(spec, x)[0])


def flops(torch, spec, x, differentiated=True):
    """Of products, forward and backward, over those of all pairs of rows, m * m * d."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        result = spec(x.clone().requires_grad_(differentiated))
        if differentiated:
            result.backward()
    return counter.get_total_flops() / (len(x) ** 2 * x.shape[1])


def peak(torch, spec, x):
    """The most bytes that were alive at once, forward and backward, the gradient included, over those of `x`."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Live(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.now, self.most, self.seen = 0, 0, weakref.WeakSet()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()) not in self.seen:
                    self.seen.add(storage)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self.gone, storage.nbytes())
            return result

        def gone(self, size):
            self.now -= size

    leaf = x.clone().requires_grad_()
    with Live() as live:
        live.seen.add(leaf.untyped_storage())
        spec(leaf).backward()
    return live.most / x.nbytes


UPPER = 1 + 1 / 16  # each product once, in blocks of which those on the diagonal are whole
COSTS = [  # products over m * m * d, of which a plain form needs 6; of a value alone; bytes over x, with the gradient
    (Orthogonality(), (512, 32), 4 * 32 / 512, 2 * 32 / 512, 2.3),
    (Orthogonality(power=1), (512, 32), 2 + UPPER, UPPER, 2.5),
    (MaxCosine(), (512, 256), UPPER, UPPER, 3.8),
    (OffDiagonalOrthogonality(), (512, 32), 4 * (32 + 8 / 2 * 3) / 512, 2 * (32 + 8 * 2) / 512, 2.1),
    (Covariance(), (32, 512), 4 + 1.5, 2 + 1, 2.1),
    (SoftOrthogonality(), (32, 512), 4, 2, 2.1),
]


@pytest.mark.parametrize(("spec", "shape", "products", "alone", "size"), COSTS, ids=str)
def test_costs(spec, shape, products, alone, size, monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(blocks, "ROWS", 32)
    x = torch.tensor(RNG.normal(size=shape), dtype=torch.float32)
    assert flops(torch, spec, x) == pytest.approx(products)
    assert flops(torch, spec, x, differentiated=False) == pytest.approx(alone)
    assert peak(torch, spec, x) < size


def test_a_subclass_with_a_formula_of_its_own_is_computed_by_it():
    class Half(Covariance):
        def grad(self, xp, x, params, **options):
            dx, dparams = super().grad(xp, x, params, **options)
            return 0.5 * dx, dparams

    x = RNG.normal(size=(6, 4))
    assert Covariance().one_pass(x.shape, Alone)
    assert not Half().one_pass(x.shape, Alone)
    np.testing.assert_allclose(2.0 * value_and_grad(Half(), x)[1][0], value_and_grad(Covariance(), x)[1][0], rtol=1e-12)

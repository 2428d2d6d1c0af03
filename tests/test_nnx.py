"""NNX models with penalties: gradients, traces, learned parameters, and what would be lost."""

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import numpy as np  # noqa: E402

from regcore import AR, L1, L2, BatchEntropy, SelfModel, coupled  # noqa: E402
from regcore_flax import combine, gradient_report, report, values  # noqa: E402
from regcore_flax.nnx import Regularize, regularize  # noqa: E402

SPEC = 2.0 * AR() + 0.5 * L1()
RULES = {"layers": SPEC, "layers.*": SPEC, "weight:**.kernel": 0.25 * L2()}
X = np.random.default_rng(0).normal(size=(5, 4))


class Layer(nnx.Module):
    def __init__(self, rngs):
        self.d = nnx.Linear(4, 4, use_bias=False, rngs=rngs, param_dtype=jnp.float64)

    def __call__(self, x):
        return jnp.tanh(self.d(x))


class Net(nnx.Module):
    """Layers one after the other, in one of NNX's transforms."""

    def __init__(self, how):
        self.how, rngs = how, nnx.Rngs(0)
        stacked = how in ("scan", "vmap")
        self.layers = nnx.vmap(Layer)(rngs.split(3)) if stacked else nnx.List([Layer(rngs) for _ in range(2)])

    def __call__(self, x):
        if self.how == "scan":
            return nnx.scan(lambda x, l: l(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)  # noqa: E741
        if self.how == "vmap":
            return nnx.vmap(lambda l, x: l(x), in_axes=(0, None))(self.layers, x)  # noqa: E741
        lift = {"remat": nnx.remat, "jit": nnx.jit}.get(self.how, lambda f: f)
        for layer in self.layers:
            x = lift(lambda layer, x: layer(x))(layer, x)
            x = layer(x) if self.how == "twice" else x
        return x


def by_hand(params, how, x):
    """In plain JAX, from the pure parameters of a Net."""
    kernels = jax.tree.leaves(params)
    total = 0.25 * sum(L2()(kernel) for kernel in kernels)
    if how in ("scan", "vmap"):
        kernels = list(kernels[0])
    h, outputs = x, []
    for kernel in kernels:
        for _ in range(2 if how == "twice" else 1):
            h = jnp.tanh((x if how == "vmap" else h) @ kernel)
            outputs.append(h)
            total += SPEC(h)
    return total + jnp.sum(jnp.stack(outputs if how == "vmap" else outputs[-1:]) ** 2)


def loss_of(net, mode):
    stacked = net.how in ("scan", "vmap")
    rules = {glob: spec for glob, spec in RULES.items() if glob != ("layers.*" if stacked else "layers")}
    reg = regularize(net, rules, mode=mode)

    def loss(net, x):
        y, state = reg(net, x)
        return jnp.sum(y**2) if mode == "attach" else combine(jnp.sum(y**2), state)

    return loss


CASES = [(how, "collect") for how in ("plain", "twice", "remat", "jit", "scan", "vmap")]
CASES += [(how, "attach") for how in ("twice", "jit", "scan")]


@pytest.mark.parametrize(("how", "mode"), CASES)
def test_gradients_are_those_of_the_loss_by_hand_in_one_trace(how, mode):
    with jax.enable_x64(True):
        net, x, traces = Net(how), jnp.asarray(X), []
        graph = nnx.graphdef(net)
        loss = loss_of(net, mode)
        params = nnx.to_pure_dict(nnx.state(net, nnx.Param))
        expected = jax.jit(jax.grad(lambda params: by_hand(params, how, x)))(params)

        @nnx.jit
        def step(net, x):
            traces.append(1)
            return nnx.grad(loss)(net, x)

        for found in [step(net, x) for _ in range(3)]:
            found = nnx.to_pure_dict(found)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), found, expected)
        assert len(traces) == 1
        assert nnx.graphdef(net) == graph  # nothing stays in the model


@pytest.mark.parametrize("mode", ["collect", "attach"])
def test_plain_jax_transforms_of_split_models(mode):
    with jax.enable_x64(True):
        net, x, traces = Net("plain"), jnp.asarray(X), []
        loss = loss_of(net, mode)
        graph, state = nnx.split(net)

        @jax.jit
        def step(state, x):
            traces.append(1)
            return jax.value_and_grad(lambda state: loss(nnx.merge(graph, state), x))(state)

        found = [nnx.to_pure_dict(step(state, x)[1]) for _ in range(3)][-1]
        expected = jax.grad(lambda params: by_hand(params, "plain", x))(nnx.to_pure_dict(state))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), found, expected)
        assert len(traces) == 1


class Sown(nnx.Module):
    """What a user writes: sow the bare value."""

    def __call__(self, x):
        self.sow(nnx.Intermediate, "l2", L2()(x))
        return x


def test_the_trap_a_bare_sow_traces_each_step():
    net, traces = Sown(), []

    @nnx.jit
    def step(net, x):
        traces.append(1)
        return net(x)

    for _ in range(3):
        with pytest.warns(DeprecationWarning, match="outside of 'nnx.capture"):
            step(net, X)
    assert len(traces) == 3


class Own(nnx.Module):
    """A model with a Regularize module, and a layer that a rule selects."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.second = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        self.reg = Regularize(BatchEntropy(alpha=0.3))

    def __call__(self, x):
        return self.second(self.reg(nnx.relu(self.first(x))))

    def encode(self, x):
        return self.reg(nnx.relu(self.first(x)))


LEARNED = {"second": BatchEntropy(alpha=0.4), "weight:first.kernel": 0.1 * SelfModel(features=4)}


def test_learned_parameters_train_and_are_in_the_state():
    net = Own()
    reg = regularize(net, LEARNED)
    optimizer = nnx.Optimizer(net, optax.sgd(0.1), wrt=nnx.Param)
    before = nnx.to_flat_state(nnx.state(net, nnx.Param))
    before = {path: np.asarray(one.get_value()) for path, one in before}

    @nnx.jit
    def step(net, optimizer, x):
        def loss(net):
            y, state = reg(net, x)
            return combine(jnp.mean(y**2), state), report(state)

        grads, rows = nnx.grad(loss, has_aux=True)(net)
        optimizer.update(net, grads)
        return rows

    rows = step(net, optimizer, jnp.asarray(X, jnp.float32))
    assert set(rows) == {"reg/BatchEntropy", "second/BatchEntropy", "weight:first.kernel/SelfModel"}
    learned = [("reg", "alpha"), ("second", "reg_alpha"), ("first", "reg_kernel_W"), ("first", "reg_kernel_b")]
    after = {path: np.asarray(one.get_value()) for path, one in nnx.to_flat_state(nnx.state(net, nnx.Param))}
    assert after.keys() == before.keys()
    for path in learned:
        assert np.any(after[path] != before[path]), path
    restored = Own()  # a model made anew, and the state of a checkpoint
    regularize(restored, LEARNED)
    nnx.update(restored, nnx.state(net))
    again = regularize(restored, LEARNED)  # which keeps what is there
    assert values(again(restored, X)[1]) == values(reg(net, X)[1])


def test_another_method_and_evaluation():
    net = Own()
    reg = regularize(net, {"first": L1()})
    y, state = reg(net, X, method="encode")
    assert set(values(state)) == {"first/L1", "reg/BatchEntropy"}
    np.testing.assert_array_equal(y, net.encode(X))


def test_what_would_be_lost_is_named():
    net = Own()
    with pytest.raises(ValueError, match=r"'frist' matches none.*first"):
        regularize(net, {"frist": L1()})
    with pytest.raises(ValueError, match=r"\['second'\] were not called"):
        regularize(net, {"second": L1()})(net, X, method="encode")
    with pytest.raises(ValueError, match=r"at 'second' has learned.*none named \['reg_alpha'\].*regularize"):
        regularize(Own(), {"second": BatchEntropy()})(net, X)  # not the model that was regularized
    with pytest.raises(ValueError, match=r"multiplies the task loss(.|\n)*at the site 'first'"):
        regularize(net, {"first": coupled(L1())}, mode="attach")(net, jnp.asarray(X))
    with pytest.raises(ValueError, match="'first/L2' matches none"):
        regularize(net, {"first": L1()}, mode="attach")(net, jnp.asarray(X), coefficients={"first/L2": 1.0})
    with pytest.raises(ValueError, match="is empty"):
        combine(1.0, regularize(net.first, {})(net.first, X)[1])


def test_a_detached_activation_is_named():
    class Detached(Own):
        def __call__(self, x):
            return self.second(jax.lax.stop_gradient(self.first(x)) * 0.0)

    net = Detached()
    reg = regularize(net, {"second": L1()})
    graph, params = nnx.split(net, nnx.Param)

    def collect(params):
        return reg(nnx.merge(graph, params), X)[1]

    with pytest.raises(ValueError, match=r"no gradient of \['second/L1'\]"):
        gradient_report(collect, params)


def test_a_capture_inside_of_the_model_is_named():
    class Capturing(Own):
        def __call__(self, x):
            return nnx.capture(super().__call__, nnx.Intermediate)(x)[0]

    for model, rules, name in ((Capturing(), {"first": L1()}, "reg_L1"), (Capturing(), {}, "BatchEntropy")):
        with pytest.raises(ValueError, match=f"'{name}' of .*another nnx.capture"):
            regularize(model, rules)(model, X)


def test_an_error_in_the_model_leaves_nothing_behind():
    class Broken(Own):
        def __call__(self, x):
            super().__call__(x)
            raise RuntimeError("the model's own")

    net = Broken()
    reg = regularize(net, {"first": L1()})
    graph = nnx.graphdef(net)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the model's own"):
            reg(net, X)
        assert nnx.graphdef(net) == graph
        assert (type(net.first), net.reg.recording) == (nnx.Linear, False)


def test_attached_by_the_module_itself():
    class Attached(nnx.Module):
        def __init__(self):
            self.reg = Regularize(0.5 * L2(), mode="attach")

        def __call__(self, x, loss_scale=None):
            return self.reg(x, loss_scale=loss_scale)

    x = jnp.asarray(X, jnp.float32)
    dx = jax.grad(lambda x: 8 * jnp.sum(Attached()(x, loss_scale=8.0)))(x)
    np.testing.assert_allclose(dx, 8 * (1 + 0.5 * jax.grad(L2())(x)), rtol=1e-6)
    state = regularize(Attached(), {})(Attached(), x)[1]
    assert report(state)["reg/L2"].attached
    assert combine(3.0, state) == 3.0

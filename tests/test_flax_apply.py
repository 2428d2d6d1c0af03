"""`regularized_apply`: gradients of a Linen model that was written without regcore are those of the loss by hand."""

import functools

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nn = pytest.importorskip("flax.linen", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import numpy as np  # noqa: E402

from regcore import AR, L1, L2, BatchEntropy, SelfModel, every  # noqa: E402
from regcore_flax import combine, regularized_apply, regularized_init, report, values  # noqa: E402

SPEC = 2.0 * AR() + 0.5 * L1()
RULES = {"**.d": SPEC, "weight:**.kernel": 0.25 * L2()}
X = np.random.default_rng(0).normal(size=(6, 4))
W = np.random.default_rng(1).normal(size=(3, 4, 4))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return jnp.tanh(nn.Dense(4, use_bias=False, name="d")(x)), None


class Twice(nn.Module):
    """The same module, called twice."""

    @nn.compact
    def __call__(self, x):
        layer = Layer(name="l")
        return layer(layer(x)[0])[0]


class Stack(nn.Module):
    """Two layers in one of Linen's transforms, or three in a scan."""

    how: str

    @nn.compact
    def __call__(self, x):
        if self.how == "scan":
            axes = {"params": 0, "penalties": 0}
            return nn.scan(Layer, variable_axes=axes, split_rngs={"params": True}, length=3)(name="l")(x, None)[0]
        if self.how == "vmap":  # over members of an ensemble, each of which is a site
            axes = {"params": 0, "penalties": 0}
            members = nn.vmap(Layer, in_axes=None, variable_axes=axes, split_rngs={"params": True}, axis_size=3)
            return members(name="l")(x)[0]
        lift = {"plain": lambda layer: layer, "remat": nn.remat, "jit": nn.jit}[self.how]
        for name in "ab":
            x = lift(Layer)(name=name)(x)[0]
        return x


def params_of(model):
    if isinstance(model, Twice):
        return {"l": {"d": {"kernel": jnp.asarray(W[0])}}}
    if model.how in ("scan", "vmap"):
        return {"l": {"d": {"kernel": jnp.asarray(W)}}}
    return {name: {"d": {"kernel": jnp.asarray(w)}} for name, w in zip("ab", W, strict=False)}


def by_hand(params, model, x):
    """In plain JAX: what each dense layer gives out, and each weight."""
    kernels = jax.tree.leaves(params)
    total = 0.25 * sum(L2()(kernel) for kernel in kernels)
    if isinstance(model, Twice):
        kernels = kernels * 2
    elif model.how in ("scan", "vmap"):
        kernels = list(kernels[0])
    h, outputs = x, []
    for kernel in kernels:
        dense = (x if getattr(model, "how", "") == "vmap" else h) @ kernel
        h = jnp.tanh(dense)
        outputs.append(h)
        total += SPEC(dense)
    return total + jnp.sum(jnp.stack(outputs if getattr(model, "how", "") == "vmap" else outputs[-1:]) ** 2)


def ours(params, model, x, mode):
    scale = {"loss_scale": 1.0} if mode == "attach" else {}
    y, state = regularized_apply(model, {"params": params}, x, rules=RULES, mode=mode, **scale)
    return jnp.sum(y**2) if mode == "attach" else combine(jnp.sum(y**2), state)


@pytest.mark.parametrize("mode", ["collect", "attach"])
@pytest.mark.parametrize(
    "model", [Twice(), *map(Stack, ("plain", "remat", "jit", "scan", "vmap"))], ids=lambda m: getattr(m, "how", "twice")
)
def test_gradients_are_those_of_the_loss_by_hand(model, mode):
    with jax.enable_x64(True):
        params, x = params_of(model), jnp.asarray(X)
        expected = jax.jit(jax.grad(lambda p: by_hand(p, model, x)))(params)
        slopes = jax.grad(lambda p: ours(p, model, x, mode))
        for found in (jax.jit(slopes)(params), *([slopes(params)] if model == Stack("plain") else [])):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), found, expected)


def test_a_loss_scale_and_coefficients_of_attached_gradients():
    with jax.enable_x64(True):
        params, x = params_of(Stack("plain")), jnp.asarray(X)

        def attached(params, scale, coefficient):
            y, state = regularized_apply(
                Stack("plain"), {"params": params}, x, rules=RULES, mode="attach", loss_scale=scale,
                coefficients={"**/L1": coefficient}, mutable="penalties",
            )  # fmt: skip
            return scale * combine(jnp.sum(y**2), state), report(state)  # attached terms are not added again

        def explicit(params, coefficient):
            y, state = regularized_apply(Stack("plain"), {"params": params}, x, rules=RULES)
            return combine(jnp.sum(y**2), state, coefficients={"**/L1": coefficient})

        grads, rows = jax.jit(jax.grad(attached, has_aux=True))(params, 1024.0, 0.125)
        expected = jax.grad(explicit)(params, 0.125)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a / 1024, b, rtol=1e-12), grads, expected)
        assert rows["a.d/L1"].attached
        np.testing.assert_allclose(rows["a.d/L1"].value, L1()(x @ W[0]), rtol=1e-12)


LEARNED = {"a.d": BatchEntropy(alpha=0.3) + 0.1 * L1(), "weight:b.d.kernel": SelfModel(features=4)}


def test_learned_parameters_are_created_trained_saved_and_restored(tmp_path):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    from flax import serialization

    model, x = Stack("plain"), jnp.asarray(X, jnp.float32)
    params = jax.jit(lambda key: regularized_init(model, key, x, rules=LEARNED))(jax.random.key(0))["params"]
    assert set(params["a"]["d"]) == {"kernel", "reg_BatchEntropy_alpha"}
    assert set(params["b"]["d"]) == {"kernel", "reg_kernel_W", "reg_kernel_b"}

    def grads(params):
        def loss(params):
            y, state = regularized_apply(model, {"params": params}, x, rules=LEARNED)
            return combine(jnp.mean(y**2), state)

        return jax.grad(loss)(params)

    optimizer = optax.sgd(0.1)

    @jax.jit
    def step(params):
        updates, _ = optimizer.update(grads(params), optimizer.init(params), params)
        return optax.apply_updates(params, updates)

    trained = step(params)
    for owner, name in (("a", "reg_BatchEntropy_alpha"), ("b", "reg_kernel_W")):
        assert np.any(trained[owner]["d"][name] != params[owner]["d"][name])
    restored = serialization.from_bytes(params, serialization.to_bytes(trained))
    jax.tree.map(np.testing.assert_array_equal, restored, trained)
    for owner in "ab":  # those of sites, and those of weights
        lost = {**trained, owner: {"d": {"kernel": trained[owner]["d"]["kernel"]}}}
        with pytest.raises(ValueError, match=rf"at '.*{owner}\.d.*none named \['reg_.*regularized_init"):
            regularized_apply(model, {"params": lost}, x, rules=LEARNED)


class Outputs(nn.Module):
    """Modules whose outputs are containers."""

    @nn.compact
    def __call__(self, x):
        (_, carry), y = nn.OptimizedLSTMCell(4, name="lstm")((x, x), x)
        return Named(name="dict")({"h": y, "c": carry}), Named(name="none")(None)


class Named(nn.Module):
    def __call__(self, output):
        return output


def test_containers_as_outputs():
    variables = jax.jit(Outputs().init)(jax.random.key(0), X)
    h = jax.jit(Outputs().apply)(variables, X)[0]["h"]

    def value(rules, **options):
        return values(jax.jit(lambda: regularized_apply(Outputs(), variables, X, rules=rules, **options)[1])())

    np.testing.assert_allclose(value({"lstm": L2()})["lstm/L2"], L2()(h), rtol=1e-6)
    taken = value({"dict": L2()}, select={"dict": lambda output: output["h"]})
    np.testing.assert_allclose(taken["dict/L2"], L2()(h), rtol=1e-6)
    with pytest.raises(TypeError, match=r"'dict' gave a dict with the keys \['c', 'h'\].*select="):
        value({"dict": L2()})
    with pytest.raises(TypeError, match="'none' gave None"):
        value({"none": L2()})
    with pytest.raises(TypeError, match="select for 'dict' gave None"):
        value({"dict": L2()}, select={"dict": lambda output: None})
    with pytest.raises(ValueError, match="not in the output as it is"):
        value({"dict": L2()}, select={"dict": lambda output: 2 * output["h"]}, mode="attach")
    with pytest.raises(ValueError, match="matches none"):
        value({"lstm": L2()}, select={"lsmt": lambda output: output})


class Scaled(nn.Dense):
    @nn.compact
    def __call__(self, x):
        return 2 * super().__call__(x)


def test_a_module_that_calls_the_method_of_its_parent_is_one_site():
    calls = []

    def naive(call, args, kwargs, context):
        calls.append((context.module.path, context.method_name))
        return call(*args, **kwargs)

    variables = Scaled(4).init(jax.random.key(0), X)
    with nn.intercept_methods(naive):
        Scaled(4).apply(variables, X)
    assert calls.count(((), "__call__")) == 2  # the trap: two calls of one site
    y, state = regularized_apply(Scaled(4), variables, X, rules={"": L2()})
    np.testing.assert_allclose(values(state)["/L2"], L2()(y), rtol=1e-6)


def test_half_precision_activations_have_float32_penalties():
    model = nn.Dense(4, dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), X)
    y, state = regularized_apply(model, variables, X, rules={"": L2()})
    assert y.dtype == jnp.bfloat16
    assert values(state)["/L2"].dtype == jnp.float32
    np.testing.assert_allclose(values(state)["/L2"], L2()(y.astype(jnp.float32)), rtol=1e-6)
    assert jnp.mean(y * y).astype(jnp.float32) != values(state)["/L2"]  # the naive mean in bfloat16


def test_other_collections_and_methods_are_those_of_apply():
    class Normed(nn.Module):
        def setup(self):
            self.norm = nn.BatchNorm(use_running_average=False)

        def encode(self, x):
            return self.norm(x)

        def __call__(self, x):
            return self.encode(x)

    variables = Normed().init(jax.random.key(0), X)
    _, state = regularized_apply(Normed(), variables, X, rules={"norm": L2()}, mutable=["batch_stats"], method="encode")
    assert set(state) == {"batch_stats", "penalties"}
    assert np.any(state["batch_stats"]["norm"]["mean"] != variables["batch_stats"]["norm"]["mean"])


# Penalties of weights on some steps


def stepped(mode, jit=True, step=None, **options):
    """Loss and gradients of the task 0 by hand, at a step."""
    model, params = Stack("plain"), params_of(Stack("plain"))
    rules = {"weight:a.d.kernel": 0.25 * every(3, 2.0 * L2()) + L1()}

    def loss(params, step):
        y, state = regularized_apply(model, {"params": params}, X, rules=rules, mode=mode, step=step, **options)
        task = 0.0 * jnp.sum(y)
        return task if mode == "attach" else combine(task, state)

    return (jax.jit if jit else lambda f: f)(jax.value_and_grad(loss))(params, step)


@pytest.mark.parametrize("mode", ["collect", "attach"])
@pytest.mark.parametrize("jit", [True, False])
def test_a_penalty_of_every_third_step_counts_three_times_on_it(mode, jit):
    w = W[0]
    for step in range(5):
        due = 3.0 * 0.5 * (step % 3 == 0)
        value, grads = stepped(mode, jit, step, **({"loss_scale": 1.0} if mode == "attach" else {}))
        expected = due * 2 * w / w.size + np.sign(w) / w.size
        np.testing.assert_allclose(grads["a"]["d"]["kernel"], expected, rtol=1e-6)
        if mode == "collect":
            np.testing.assert_allclose(value, due * np.mean(w * w) + np.mean(abs(w)), rtol=1e-6)


def test_what_does_not_count_is_not_computed():
    model, rules = Stack("plain"), {"weight:a.d.kernel": every(3, L2())}
    apply = functools.partial(regularized_apply, model, {"params": params_of(model)}, X, rules=rules)
    steps = jax.make_jaxpr(lambda step: report(apply(step=step)[1]))(1).eqns
    (cond,) = [each for each in steps if str(each.primitive) == "cond"]
    assert sorted(len(branch.eqns) > 0 for branch in cond.params["branches"]) == [False, True]


def test_a_penalty_of_some_steps_needs_to_know_the_step_and_is_for_weights():
    with pytest.raises(ValueError, match="L2 counts on every 3th step: pass step="):
        stepped("collect", False)
    model = Stack("plain")
    with pytest.raises(ValueError, match=r"the rule '\*\*.d' counts on some steps only; that is for weights"):
        regularized_apply(model, {"params": params_of(model)}, X, rules={"**.d": every(2, L2())}, step=0)

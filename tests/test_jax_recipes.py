"""The recipes of docs/jax.md run, add few lines, and do what the page says."""

import re
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
for module in ("flax", "optax", "equinox"):
    pytest.importorskip(module, reason=f"{module} is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import optax  # noqa: E402
from flax import serialization  # noqa: E402

import regcore  # noqa: E402

PAGE = (Path(__file__).parent.parent / "docs" / "jax.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page():
    names = {"__name__": "page"}
    for block in BLOCKS:
        exec(compile(block, "docs/jax.md", "exec"), names)
    return names


def near(ours, theirs, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), ours, theirs)


def test_no_recipe_adds_more_than_three_lines():
    assert max(block.count("# +") for block in BLOCKS) == 3
    assert sum("# +" in block for block in BLOCKS) >= 6


def test_attached_in_a_scan(page):
    weights = jax.random.normal(jax.random.key(3), (3, 8, 8))

    def explicit(weights):
        h, penalty = page["x"], 0.0
        for w in weights:
            h = jnp.tanh(h @ w)
            penalty += 0.1 * regcore.L1()(h)
        return jnp.sum(h**2) + penalty

    near(
        jax.jit(jax.grad(lambda w: jnp.sum(page["stack"](w, page["x"]) ** 2)))(weights),
        jax.jit(jax.grad(explicit))(weights),
    )


def test_equinox(page):
    import equinox as eqx

    x, y = page["x"], page["y"]
    keys = jax.random.split(jax.random.key(4))
    model = page["MLP"](eqx.nn.Linear(8, 16, key=keys[0]), eqx.nn.Linear(16, 2, key=keys[1]))

    def by_hand(model):
        h = jax.nn.relu(x @ model.first.weight.T + model.first.bias)
        out = h @ model.second.weight.T + model.second.bias
        spread = jnp.sqrt(jnp.var(h, axis=0, ddof=1) + 1e-4)
        return jnp.mean((out - y) ** 2) + 0.1 * jnp.mean(jnp.abs(h)) + jnp.mean(jax.nn.relu(1 - spread))

    value, grads = page["eqx_loss"](model, x, y)
    near((value, grads), jax.jit(jax.value_and_grad(by_hand))(model), rtol=1e-4)

    taps = []

    def leaking(x):  # the trap
        taps.append(jax.nn.relu(model.first(x)))
        return model.second(taps[-1])

    jax.vmap(leaking)(x)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        regcore.L1()(taps[0])


def test_the_loop_does_not_trace_again_and_resumes(page):
    start = {
        "params": page["params"],
        "opt_state": page["optimizer"].init(page["params"]),
        "number": jnp.asarray(0),
    }
    assert page["step"]._cache_size() == 1  # three steps, three coefficients

    def train(training, steps):
        for _ in range(steps):
            params, opt_state, rows = page["step"](*training.values(), page["x"], page["y"])
            training = {"params": params, "opt_state": opt_state, "number": training["number"] + 1}
        return training, rows

    whole, rows = train(start, 5)
    saved = serialization.to_bytes(train(start, 2)[0])
    resumed, _ = train(serialization.from_bytes(start, saved), 3)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    alpha = "reg_BatchEntropy_alpha"
    assert whole["params"]["hidden"][alpha] != start["params"]["hidden"][alpha]
    np.testing.assert_allclose(rows["hidden/L1"].coefficient, 4 * 0.001, rtol=1e-6)
    assert page["log"].keys() == page["norms"].keys() == rows.keys()


def test_attached_with_a_loss_scale(page):
    net = {name: {key: page["params"][name][key] for key in ("kernel", "bias")} for name in ("hidden", "out")}

    def explicit(params):
        hidden = page["x"] @ params["hidden"]["kernel"] + params["hidden"]["bias"]
        out = jax.nn.relu(hidden) @ params["out"]["kernel"] + params["out"]["bias"]
        return jnp.mean((out - page["y"]) ** 2) + 0.1 * regcore.L1()(hidden)

    grads = jax.jit(jax.grad(page["attached_loss"]))(net, page["x"], page["y"], 256.0)
    near(jax.tree.map(lambda g: g / 256, grads), jax.jit(jax.grad(explicit))(net))


@pytest.mark.parametrize("spec", [0.1 * regcore.L1(), regcore.CodingRate()], ids=["mean", "batch statistic"])
def test_accumulated_gradients_are_those_of_the_batch_if_the_penalty_is_additive(page, spec):
    w = jax.random.normal(jax.random.key(5), (8, 4))

    def loss(w, x):
        h = jnp.tanh(x @ w)
        return jnp.mean(h**2) + spec(h)

    state = page["accumulating"].init(w)
    slope = jax.jit(jax.grad(loss))
    for shard in page["x"].reshape(4, 8, 8):
        updates, state = page["accumulating"].update(slope(w, shard), state, w)
    whole = -0.1 * slope(w, page["x"])
    assert np.allclose(updates, whole, rtol=1e-4, atol=1e-6) == all(term.penalty.additive for term in spec.terms())
    assert isinstance(state, optax.MultiStepsState)


def test_nnx(page):
    alpha = page["model"].layers[0].reg_BatchEntropy_alpha
    before = float(alpha[...])
    first, *_, last = [page["nnx_step"](page["model"], page["nnx_optimizer"], page["x"], page["y"]) for _ in range(5)]
    assert last < first
    assert alpha[...] != before


def test_several_devices(page):
    w = jax.random.normal(jax.random.key(6), (8, 4))
    step = re.sub(r" +params = jax.lax.pcast.*\n", "", next(block for block in BLOCKS if "replica_step" in block))
    names = dict(page)
    exec(step, names)
    step = jax.jit(jax.vmap(lambda x: names["replica_step"](w, x), axis_name="data"))
    shards = step(page["x"].reshape(4, 8, 8))

    def whole(w):
        h = jnp.tanh(page["x"] @ w)
        return jnp.mean(h**2) + regcore.CodingRate()(h)

    near(shards[0], jax.jit(jax.grad(whole))(w), rtol=1e-4)

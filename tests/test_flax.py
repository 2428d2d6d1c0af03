"""The Flax Linen adapter in a training step."""

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nn = pytest.importorskip("flax.linen", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import numpy as np  # noqa: E402

from regcore import AR, L1, L2, TAR, BatchEntropy, exact  # noqa: E402
from regcore_flax import Regularize, combine, report, values  # noqa: E402

SPEC = 2.0 * AR() + BatchEntropy(alpha=0.75)
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(8, name="inner")(x))
        return nn.Dense(2)(Regularize(SPEC, name="reg")(hidden))


class Bare(nn.Module):
    @nn.compact
    def __call__(self, x):
        hidden = nn.relu(nn.Dense(8, name="inner")(x))
        return nn.Dense(2)(hidden), hidden


def task(y):
    return jnp.mean(y * y)


def loss(params, x=X, **options):
    y, state = Net().apply({"params": params}, x, mutable=["penalties"])
    return combine(task(y), state, **options)


def by_hand(params):
    net = {name: params[name] for name in ("inner", "Dense_0")}
    y, hidden = Bare().apply({"params": net}, X)
    entropy = BatchEntropy()(hidden, {"alpha": params["reg"]["BatchEntropy_alpha"]})
    return task(y) * (1 + entropy) + 2.0 * AR()(hidden)


@pytest.fixture(scope="module")
def params():
    return jax.jit(Net().init)(jax.random.key(0), X)["params"]


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.checkpoint], ids=["eager", "jit", "checkpoint"])
def test_the_total_and_its_gradients_are_those_written_by_hand(params, transform):
    np.testing.assert_allclose(transform(loss)(params), by_hand(params), rtol=1e-6)
    ours, theirs = jax.grad(transform(loss))(params), jax.jit(jax.grad(by_hand))(params)
    assert ours["reg"]["BatchEntropy_alpha"] != 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), ours, theirs)


def test_init_records_nothing_and_returns_learned_parameters():
    variables = Net().init(jax.random.key(0), X)
    assert set(variables) == {"params"}
    assert variables["params"]["reg"] == {"BatchEntropy_alpha": 0.75}


def test_evaluation_records_nothing(params):
    y = Net().apply({"params": params}, X)
    assert y.shape == (6, 2)


def test_names_and_values_in_the_report(params):
    _, state = Net().apply({"params": params}, X, mutable=["penalties"])
    _, hidden = Bare().apply({"params": {name: params[name] for name in ("inner", "Dense_0")}}, X)
    rows = report(state, coefficients={"reg/BatchEntropy": 0.25})
    assert set(rows) == set(values(state)) == {"reg/L2", "reg/BatchEntropy"}
    np.testing.assert_allclose(rows["reg/L2"].value, AR()(hidden), rtol=1e-6)  # unweighted
    assert (rows["reg/L2"].calls, rows["reg/L2"].coefficient, rows["reg/L2"].attached) == (1, 2.0, False)
    assert rows["reg/BatchEntropy"].coefficient == 0.25


def test_coefficients_are_arguments_of_a_jitted_step(params):
    traces = []

    @jax.jit
    def step(params, coefficients):
        traces.append(1)
        return loss(params, coefficients=coefficients)

    totals = [step(params, {"**/L2": jnp.asarray(c)}) for c in (0.0, 1.0, 2.0)]
    np.testing.assert_allclose(totals[2], loss(params), rtol=1e-6)
    np.testing.assert_allclose(totals[1] - totals[0], totals[2] - totals[1], rtol=1e-4)
    assert len(traces) == 1


def test_nothing_recorded_raises(params):
    _, state = Net().apply({"params": params}, X, mutable=["batch_stats"])
    with pytest.raises(ValueError, match=r'mutable=\["penalties"\]'):
        combine(1.0, state)


def test_a_site_that_recorded_nothing_and_a_glob_that_matches_nothing_raise(params):
    assert loss(params, expect=["reg"]) == loss(params)
    with pytest.raises(ValueError, match=r"'encoder\.\*' recorded no penalty.*\['reg'\]"):
        loss(params, expect=["encoder.*"])
    with pytest.raises(ValueError, match="matches none of the 2 sites"):
        loss(params, coefficients={"reg/TAR": 1.0})


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return Regularize(L2(), name="reg")(nn.tanh(nn.Dense(4)(x))), None


def scanned(axes):
    stack = nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=3)
    return type("Stack", (nn.Module,), {"__call__": nn.compact(lambda self, x: stack(name="blocks")(x, None)[0])})()


def test_layers_in_a_scan_add_up():
    model = scanned({"params": 0, "penalties": 0})
    variables = model.init(jax.random.key(0), X)
    _, state = model.apply(variables, X, mutable=["penalties"])
    total, x = 0.0, jnp.asarray(X)
    for i in range(3):
        layer = jax.tree.map(lambda w, i=i: w[i], variables["params"]["blocks"]["Dense_0"])
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
        total += L2()(x)
    np.testing.assert_allclose(combine(0.0, state, expect=["blocks.reg"]), total, rtol=1e-5)
    assert report(state)["blocks.reg/L2"].calls == 3


def test_a_scan_that_drops_the_collection_is_noticed():
    model = scanned({"params": 0})
    variables = model.init(jax.random.key(0), X)
    _, state = model.apply(variables, X, mutable=["penalties"])
    with pytest.raises(ValueError, match="variable_axes"):
        combine(0.0, state)


class Shared(nn.Module):
    def setup(self):
        self.reg = Regularize(L1())

    def __call__(self, x):
        return self.reg(self.reg(x) * 2)


def test_calls_add_up():
    _, state = Shared().apply({}, X, mutable=["penalties"])
    np.testing.assert_allclose(combine(0.0, state), 3 * L1()(jnp.asarray(X)), rtol=1e-6)


def test_a_mask_and_the_exact_grade():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 3)), dtype=jnp.float32)
    mask = jnp.asarray([[True] * 5, [True, True, False, False, False]])
    _, state = Regularize(exact(TAR())).apply({}, x, mask, mutable=["penalties"])
    assert combine(0.0, state) == TAR()(np.asarray(x, dtype=np.float64), mask=np.asarray(mask)).astype(np.float32)


class Attached(nn.Module):
    """Three layers in a rematerialized scan that has no place for the collection."""

    mode: str

    @nn.compact
    def __call__(self, x, loss_scale=None):
        axes = {"params": 0} if self.mode == "attach" else {"params": 0, "penalties": 0}
        stack = nn.scan(
            nn.remat(AttachedBlock), variable_axes=axes, split_rngs={"params": True}, length=3, in_axes=nn.broadcast
        )
        return stack(self.mode, name="blocks")(x, loss_scale)[0]


class AttachedBlock(nn.Module):
    mode: str

    @nn.compact
    def __call__(self, x, loss_scale):
        reg = Regularize(2.0 * AR() + L1(), mode=self.mode, name="reg")
        return reg(nn.tanh(nn.Dense(4, param_dtype=jnp.float64)(x)), loss_scale=loss_scale), None


def test_attached_gradients_in_a_scan_are_those_of_the_collected_loss():
    with jax.enable_x64(True):
        x = jnp.asarray(X, jnp.float64)
        variables = jax.jit(Attached("attach").init)(jax.random.key(0), x)

        def collected(variables):
            y, state = Attached("collect").apply(variables, x, mutable=["penalties"])
            return combine(task(y), state)

        def attached(variables, scale):
            return scale * task(Attached("attach").apply(variables, x, loss_scale=scale))

        expected = jax.jit(jax.grad(collected))(variables)
        found = jax.jit(jax.grad(attached))(variables, 512.0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a / 512, b, rtol=1e-12, atol=1e-14), found, expected)


def test_attached_terms_are_recorded_for_the_report_and_not_added_again():
    model = Regularize(0.5 * L2(), mode="attach")
    y, state = model.apply({}, X, mutable=["penalties"])
    assert combine(task(y), state) == task(y)
    row = report(state)["/L2"]
    assert (row.coefficient, row.attached) == (0.5, True)
    np.testing.assert_allclose(row.value, L2()(X), rtol=1e-6)


def test_a_mode_that_is_none_and_what_a_mode_has_no_use_for_raise():
    with pytest.raises(ValueError, match=r"mode='atach'.*expected .collect. or .attach."):
        Regularize(L2(), mode="atach").apply({}, X)
    with pytest.raises(ValueError, match="scaled with the loss that it is added to"):
        Regularize(L2()).apply({}, X, loss_scale=2.0)
    with pytest.raises(ValueError, match="multiplies the task loss"):
        Regularize(BatchEntropy(), mode="attach").init(jax.random.key(0), X)

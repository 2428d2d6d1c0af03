"""Set-ups in which a penalty would be lost: each shows the loss with a naive version, and is then named."""

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nn = pytest.importorskip("flax.linen", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import numpy as np  # noqa: E402

from regcore import L1, L2, BatchEntropy, coupled  # noqa: E402
from regcore_flax import Regularize, combine, gradient_report, regularized_apply, report, values  # noqa: E402

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class Net(nn.Module):
    """`unused` is never called; `head` is used through another method than `__call__`."""

    detach: bool = False

    def setup(self):
        self.body, self.unused, self.head = nn.Dense(4), nn.Dense(4), Head()

    def __call__(self, x):
        x = self.body(x)
        return self.head.attend(jax.lax.stop_gradient(x) if self.detach else x)


class Head(nn.Module):
    @nn.compact
    def attend(self, x):
        return nn.Dense(4)(x)


class Naive(nn.Module):
    """What a user writes: sow the bare value."""

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.Dense(4, name="d")(x)
        self.sow("penalties", "l2", L2()(x), reduce_fn=jnp.add, init_fn=lambda: jnp.zeros(()))
        return x, None


class Layer(nn.Module):
    own: bool = False

    @nn.compact
    def __call__(self, x, _=None):
        x = nn.Dense(4, name="d")(x)
        return Regularize(L2(), name="reg")(x) if self.own else x, None


def lifted(layer, transform, **axes):
    options = {"split_rngs": {"params": True}, "variable_axes": {"params": 0, **axes}}
    if transform == "scan":
        return nn.scan(layer, length=3, **options)
    return nn.vmap(layer, axis_size=3, in_axes=None, **options)


@pytest.fixture(scope="module")
def variables():
    return Net().init(jax.random.key(0), X)


@pytest.mark.parametrize("mode", ["collect", "attach"])
@pytest.mark.parametrize("glob", ["unused", "head", "bodi"], ids=["never called", "another method", "misspelt"])
def test_a_rule_for_a_module_that_is_not_called_raises_while_tracing(variables, glob, mode):
    def step(variables):
        return regularized_apply(Net(), variables, X, rules={"body": L1(), glob: L2()}, mode=mode)

    with pytest.raises(ValueError, match=rf"{glob!r} matches none of the 3 sites(.|\n)*whose __call__ runs"):
        jax.eval_shape(step, variables)  # traces, and computes nothing


def test_a_rule_for_no_parameter_raises(variables):
    with pytest.raises(ValueError, match=r"'body\.weight' matches none.*body\.kernel"):
        regularized_apply(Net(), variables, X, rules={"weight:body.weight": L1()})


@pytest.mark.parametrize("transform", ["scan", "vmap"])
def test_a_transform_that_drops_the_collection_is_named_while_tracing(transform):
    naive = lifted(Naive, transform)()
    variables = jax.jit(naive.init)(jax.random.key(0), X)
    assert naive.apply(variables, X, None, mutable=["penalties"])[1] == {}  # the trap: nothing, and no error
    for own, rules, site in ((False, {"d": L2()}, "d"), (True, {}, "reg")):
        model = lifted(Layer, transform)(own)
        with pytest.raises(ValueError, match=rf"the penalties of \['{site}'\] were.*variable_axes"):
            jax.eval_shape(lambda: regularized_apply(model, variables, X, None, rules=rules))  # noqa: B023 - called here


def test_a_forgotten_collection_is_named():
    variables = Layer(own=True).init(jax.random.key(0), X)
    _, state = Layer(own=True).apply(variables, X, mutable=["batch_stats"])
    with pytest.raises(ValueError, match=r'mutable=\["penalties"\]'):
        combine(1.0, state)
    _, state = regularized_apply(Layer(own=True), variables, X, rules={})  # which cannot forget it
    assert set(values(state)) == {"reg/L2"}


def test_variables_that_are_fed_back_do_not_double():
    variables = Naive().init(jax.random.key(0), X)
    assert "penalties" in variables  # the trap
    once = Naive().apply({"params": variables["params"]}, X, mutable=["penalties"])[1]
    doubled = Naive().apply(variables, X, mutable=["penalties"])[1]
    np.testing.assert_allclose(doubled["penalties"]["l2"], 2 * once["penalties"]["l2"], rtol=1e-6)
    first = Layer(own=True).init(jax.random.key(0), X)
    assert set(first) == {"params"}
    rules = {"d": L1()}
    _, state = regularized_apply(Layer(own=True), first, X, rules=rules)
    _, again = regularized_apply(Layer(own=True), {**first, **state}, X, rules=rules)
    assert values(again) == values(state)


def test_a_detached_activation_is_named(variables):
    def collect(net):
        return lambda params: regularized_apply(net, {"params": params}, X, rules={"head.Dense_0": L1()})[1]

    norms = gradient_report(collect(Net()), variables["params"])
    assert set(norms["head.Dense_0/L1"]) >= {"body.kernel", "head.Dense_0.kernel"}
    norms = gradient_report(collect(Net(detach=True)), variables["params"])
    assert set(norms["head.Dense_0/L1"]) == {"head.Dense_0.kernel", "head.Dense_0.bias"}  # the body is not reached


def test_a_gradient_that_reaches_the_penalty_alone_is_named():
    class Detached(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Regularize(BatchEntropy(alpha=0.3), name="reg")(jax.lax.stop_gradient(nn.Dense(4)(x)))

    params = Detached().init(jax.random.key(0), X)["params"]
    collect = lambda params: Detached().apply({"params": params}, X, mutable=["penalties"])[1]  # noqa: E731
    slopes = jax.grad(lambda params: combine(1.0, collect(params)))(params)
    assert slopes["reg"]["alpha"] != 0  # the trap: something trains
    with pytest.raises(ValueError, match=r"no gradient of \['reg/BatchEntropy'\] reaches.*stop_gradient"):
        gradient_report(collect, params)


def test_a_gradient_report_of_nothing_or_of_what_is_attached_raises(variables):
    for options in ({"rules": {}}, {"rules": {"body": L1()}, "mode": "attach", "mutable": ["penalties"]}):
        with pytest.raises(ValueError, match="expected some, and in the mode"):
            gradient_report(lambda p: regularized_apply(Net(), {"params": p}, X, **options)[1], variables["params"])  # noqa: B023


def test_a_coefficient_of_zero_is_in_the_report(variables):
    """It is how a schedule starts, so it is no error."""
    _, state = regularized_apply(Net(), variables, X, rules={"body": 0.0 * L1()})
    assert combine(1.0, state) == 1.0
    assert report(state)["body/L1"].coefficient == 0
    assert report(state)["body/L1"].value > 0
    assert report(state, coefficients={"body/*": 0.5})["body/L1"].coefficient == 0.5


def test_what_a_mode_has_no_use_for_raises(variables):
    for options in ({"coefficients": {"body/L1": 1.0}}, {"loss_scale": 2.0}):
        with pytest.raises(ValueError, match='in mode="collect"'):
            regularized_apply(Net(), variables, X, rules={"body": L1()}, **options)
    with pytest.raises(ValueError, match="'body/L2' matches none"):
        regularized_apply(Net(), variables, X, rules={"body": L1()}, mode="attach", coefficients={"body/L2": 1.0})
    with pytest.raises(ValueError, match=r"multiplies the task loss(.|\n)*at the site 'body'"):
        regularized_apply(Net(), variables, X, rules={"body": coupled(L1())}, mode="attach")


@nn.jit
class Kept(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4, name="d")(x)


def test_a_trace_that_nn_jit_kept_has_the_penalties_of_this_call():
    variables = Kept().init(jax.random.key(0), X)

    def naive(factor):
        def interceptor(call, args, kwargs, context):
            output = call(*args, **kwargs)
            if context.module.path == ("d",):
                context.module.sow("penalties", "l2", factor * L2()(output))
            return output

        with nn.intercept_methods(interceptor):
            return jax.tree.leaves(Kept().apply(variables, X, mutable=["penalties"])[1])

    assert naive(1.0) == naive(2.0)  # the trap
    one, two = (values(regularized_apply(Kept(), variables, X, rules={"d": s})[1]) for s in (L1(), L2().named("L1")))
    assert one != two
    assert one == values(regularized_apply(Kept(), variables, X, rules={"d": L1()})[1])
    slopes = [
        jax.grad(lambda x, s=s: jnp.sum(regularized_apply(Kept(), variables, x, rules={"d": L2()}, mode="attach",
                                                          loss_scale=s)[0]))(X)
        for s in (0.0, 1.0, 2.0)
    ]  # fmt: skip
    np.testing.assert_allclose(slopes[2] - slopes[1], slopes[1] - slopes[0], atol=1e-6)
    assert np.any(slopes[1] != slopes[0])


def test_evaluation_and_initialization_record_nothing(variables):
    assert set(variables) == {"params"}
    y = regularized_apply(Net(), variables, X, rules={"body": L1()})[0]
    np.testing.assert_array_equal(y, Net().apply(variables, X))

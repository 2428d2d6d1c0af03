"""One walk on every array library, with the optimizers of frameworks, and as the page shows it."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from test_complexity import estimate

from regcore.complexity import default_nbeta, local_learning_coefficient


def by_hand(w):
    y = np.tanh(np.asarray(w["x"])) + np.asarray(w["y"][0])
    slope = 2 * y * (1 - np.tanh(np.asarray(w["x"])) ** 2)
    return np.sum(y**2), {"x": slope.astype(np.float32), "y": [np.sum(2 * y, axis=0).astype(np.float32)]}


def with_strict(w):
    value, grad = by_hand(w)
    strict = pytest.importorskip("array_api_strict", reason="array_api_strict is not installed")
    return value, {"x": strict.asarray(grad["x"]), "y": [strict.asarray(grad["y"][0])]}


def with_torch(w):
    torch = pytest.importorskip("torch")
    x, y = (array.requires_grad_() for array in (w["x"], w["y"][0]))
    loss = torch.sum((torch.tanh(x) + y) ** 2)
    dx, dy = torch.autograd.grad(loss, [x, y])
    return loss, {"x": dx, "y": [dy]}  # a loss that still holds its graph, as loops of training have it


def with_jax(w):
    jax = pytest.importorskip("jax")
    return jax.value_and_grad(lambda w: ((jax.numpy.tanh(w["x"]) + w["y"][0]) ** 2).sum())(w)


def with_tensorflow(w):
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_sum((tf.tanh(w["x"]) + w["y"][0]) ** 2)
    return loss, tape.gradient(loss, w)


GRADIENTS = {
    "numpy": by_hand,
    "array_api_strict": with_strict,
    "torch": with_torch,
    "jax": with_jax,
    "tensorflow": with_tensorflow,
}


class TestLibraries:
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    y = np.asarray([0.5, -0.25], np.float32)

    def trace(self, function, asarray):
        start, metric = (
            {"x": asarray(x), "y": [asarray(y)]} for x, y in ((self.x, self.y), (1 + self.x**2, 1 + self.y**2))
        )
        settings = {"nbeta": 50.0, "step_size": 4e-3, "localization": 3.0, "preconditioner": metric}
        return local_learning_coefficient(function, start, **settings, chains=2, draws=16, burn_in=4)

    def test_the_walk_is_the_same(self, library):
        llc, expected = self.trace(GRADIENTS[library.name], library.asarray), self.trace(by_hand, np.asarray)
        np.testing.assert_allclose(llc.trace, expected.trace, rtol=2e-5, atol=2e-5)
        assert llc.discretization == pytest.approx(expected.discretization, rel=1e-4)
        assert llc.localization == pytest.approx(expected.localization, rel=1e-4)


class TestOptimizers:
    """A regression in training, and a chain with the second moments of its optimizer as the preconditioner."""

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(200, 4)) * [1, 2, 4, 8]).astype(np.float32)
    y = (x @ [1, 1, 1, 1] + rng.normal(size=200)).astype(np.float32)
    minimum = np.linalg.lstsq(x, y, rcond=None)[0].astype(np.float32)
    settings: dict = {"nbeta": default_nbeta(200), "step_size": 1e-3, "draws": 80, "burn_in": 20}  # noqa: RUF012

    def test_torch_adam(self):
        torch = pytest.importorskip("torch", reason="torch is not installed")
        x, y = torch.asarray(self.x), torch.asarray(self.y)[:, None]
        model = torch.nn.Linear(4, 1, bias=False)
        model.weight.data[:] = torch.asarray(self.minimum)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for rows in torch.arange(200).reshape(10, 20):
            optimizer.zero_grad()
            (0.5 * ((model(x[rows]) - y[rows]) ** 2).mean()).backward()
            optimizer.step()
        scale = {k: 1 / (optimizer.state[p]["exp_avg_sq"].sqrt() + 1e-8) for k, p in model.named_parameters()}
        mean = torch.cat([s.flatten() for s in scale.values()]).mean()
        model.weight.data[:] = torch.asarray(self.minimum)

        def value_and_grad(params):
            params = {name: param.requires_grad_() for name, param in params.items()}
            loss = 0.5 * ((torch.func.functional_call(model, params, (x,)) - y) ** 2).mean()
            return loss, dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))

        metric = {k: s / mean for k, s in scale.items()}
        llc = estimate(value_and_grad, dict(model.named_parameters()), **self.settings, preconditioner=metric)
        assert abs(llc.value - 2) <= llc.error < 1.5, llc
        np.testing.assert_array_equal(model.weight.detach().numpy()[0], self.minimum)

    def test_optax_adam(self):
        jax, optax = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("jax", "optax"))
        loss = lambda p, x, y: 0.5 * ((x @ p["w"] - y) ** 2).mean()  # noqa: E731
        value_and_grad = jax.jit(jax.value_and_grad(loss))
        optimizer, params = optax.adam(1e-3), {"w": jax.numpy.asarray(self.minimum)}
        state = optimizer.init(params)
        for rows in np.arange(200).reshape(10, 20):
            _, state = optimizer.update(value_and_grad(params, self.x[rows], self.y[rows])[1], state)
        scale = jax.tree.map(lambda v: 1 / (jax.numpy.sqrt(v) + 1e-8), optax.tree_utils.tree_get(state, "nu"))
        mean = jax.flatten_util.ravel_pytree(scale)[0].mean()
        metric = jax.tree.map(lambda s: s / mean, scale)
        llc = estimate(lambda p: value_and_grad(p, self.x, self.y), params, **self.settings, preconditioner=metric)
        assert abs(llc.value - 2) <= llc.error < 1.5, llc


PAGE = Path(__file__).parent.parent / "docs" / "complexity.md"
EXAMPLES = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "print" in block]


@pytest.mark.parametrize(("framework", "code"), list(zip(["torch", "flax", "tensorflow"], EXAMPLES, strict=True)))
def test_the_examples_of_the_page_give_what_they_say(framework, code):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    if framework == "tensorflow" and pytest.importorskip("keras").backend.backend() != "tensorflow":
        pytest.skip("the example is for the TensorFlow backend of Keras")
    shorter = code.replace("**settings", "**settings, draws=80, burn_in=20")
    assert shorter != code
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(shorter, names)
    assert abs(names["llc"].value - 2) <= names["llc"].error < 2, names["llc"]
    assert printed.getvalue().strip() == str(names["llc"])

"""The derivative of a penalty is its closed form, in every mode in which a framework differentiates."""

import functools
import subprocess
import sys

import numpy as np
import pytest

import regcore
from regcore import AR, L1, L2, TAR, BatchEntropy, Orthogonality, exact

SPECS = [
    L1(),
    L2(),
    TAR(),
    BatchEntropy(alpha=0.75),
    Orthogonality(),
    Orthogonality(power=1, vector_axis=-1),
    2.0 * AR() + TAR(),
    exact(BatchEntropy(alpha=0.75)),
]
X = np.random.default_rng(0).normal(size=(4, 5, 3))
DIRECTION = np.random.default_rng(1).normal(size=X.shape)
UPSTREAM = -1.625
for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=repr)


def close(actual, expected, dtype=np.float64):
    """To a few roundings of the largest number; the bound proper is the conformance suite's."""
    scale = np.abs(expected).max(initial=1e-30)
    assert np.abs(np.asarray(actual) - expected).max() <= 64 * np.finfo(dtype).eps * scale


def closed_form(spec, x=X, upstream=UPSTREAM):
    return regcore.value_and_grad(spec, x, spec.init(), upstream=upstream)[1]


@functools.cache
def second_derivative(spec):
    """The change of the closed form along DIRECTION, by a central difference in float64."""
    step = 2.0**-18
    up, down = (closed_form(spec, X + sign * step * DIRECTION, 1.0)[0] for sign in (1, -1))
    return (up - down) / (2 * step)


def near(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-5, atol=1e-7)


class TestTorch:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    @staticmethod
    def function(spec, names):
        return lambda x, *params: UPSTREAM * spec(x, dict(zip(names, params, strict=True)))

    def inputs(self, spec):
        params = spec.init()
        leaves = [self.torch.tensor(array, requires_grad=True) for array in (X, *params.values())]
        return self.function(spec, tuple(params)), leaves

    @for_every_spec
    def test_eager(self, spec):
        function, leaves = self.inputs(spec)
        dx, *dparams = self.torch.autograd.grad(function(*leaves), leaves)
        expected, by_params = closed_form(spec)
        close(dx, expected)
        for d, by_param in zip(dparams, by_params.values(), strict=True):
            assert d.dtype == self.torch.float32
            close(d, by_param, np.float32)

    @for_every_spec
    def test_compiled_without_a_break(self, spec):
        function, leaves = self.inputs(spec)
        self.torch._dynamo.reset()
        with self.torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            value = self.torch.compile(function, fullgraph=True, backend="aot_eager")(*leaves)
            close(self.torch.autograd.grad(value, leaves)[0], closed_form(spec)[0])

    def test_compiled_with_a_size_that_changes(self):
        graphs = []

        def count(graph, _):
            graphs.append(graph)
            return graph.forward

        function = self.torch.compile(lambda x: (AR() + TAR())(x), fullgraph=True, backend=count)
        self.torch._dynamo.reset()
        for batch in (2, 3, 4, 5):
            x = X.repeat(2, axis=0)[:batch]
            close(function(self.torch.tensor(x)), regcore.value(AR() + TAR(), x))
        assert len(graphs) == 2  # one for the first size, one for any size

    def test_compiled_differences_are_not_written_to_memory(self):
        """What is concatenated would be, with all that goes into it, before anything is added to it."""
        from functorch.compile import make_boxed_func
        from torch._dynamo.backends.common import aot_autograd

        calls = []

        def count(graph, _):
            calls.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
            return make_boxed_func(graph.forward)

        spec, x = 2.0 * AR() + TAR(order=2), self.torch.tensor(X, requires_grad=True)
        function = self.torch.compile(lambda x: spec(x), fullgraph=True, backend=aot_autograd(fw_compiler=count))
        self.torch._dynamo.reset()
        close(self.torch.autograd.grad(function(x), x)[0], closed_form(spec, upstream=1.0)[0])
        _, backward = calls
        assert "aten.constant_pad_nd.default" in backward
        assert "aten.cat.default" not in backward

    @pytest.mark.parametrize("spec", [L1(), BatchEntropy()], ids=repr)
    def test_compiled_without_gradients(self, spec):
        params = {name: self.torch.tensor(array) for name, array in spec.init().items()}
        self.torch._dynamo.reset()
        function = self.torch.compile(lambda x: spec(x, params), fullgraph=True, backend="aot_eager")
        close(function(self.torch.tensor(X)), regcore.value(spec, X, spec.init()))

    def test_compiled_func_grad_has_the_closed_form_at_a_kink(self):
        self.torch._dynamo.reset()
        gradient = self.torch.compile(self.torch.func.grad(lambda x: L1()(x)), fullgraph=True, backend="aot_eager")
        assert gradient(self.torch.tensor([0.0, 2.0, -1.0, 0.0])).tolist() == [0.0, 0.25, -0.25, 0.0]

    @pytest.mark.long
    def test_compiled_before_the_first_eager_call(self):
        """In a fresh process: the backend is imported while torch.compile traces."""
        code = """
import regcore, torch
function = torch.compile(lambda x: regcore.L2()(x), fullgraph=True, backend="aot_eager")
print(float(function(torch.tensor([1.0, 3.0]))))
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
        assert done.stdout == "5.0\n", done.stderr

    @for_every_spec
    def test_func_grad_vmap_and_jvp(self, spec):
        func, (function, leaves) = self.torch.func, self.inputs(spec)
        x, *params = (leaf.detach() for leaf in leaves)
        expected = closed_form(spec)[0]
        close(func.grad(function)(x, *params), expected)
        batched = func.vmap(func.grad(function), in_dims=(0, *[None] * len(params)))
        both = batched(self.torch.stack([x, 2 * x]), *params)
        close(both[0], expected)
        close(both[1], closed_form(spec, 2 * X)[0])
        _, tangent = func.jvp(lambda x: function(x, *params), (x,), (self.torch.tensor(DIRECTION),))
        close(tangent, (expected * DIRECTION).sum(keepdims=True)[0, 0, 0], np.float32)

    @for_every_spec
    def test_double_backward_and_hessian(self, spec):
        function, (x, *params) = self.inputs(spec)
        direction = self.torch.tensor(DIRECTION)
        hessian = self.torch.func.hessian(lambda x: function(x, *params) / UPSTREAM)(x.detach()).detach()
        near(self.torch.tensordot(hessian, direction, dims=3), second_derivative(spec))
        (dx,) = self.torch.autograd.grad(function(x, *params) / UPSTREAM, x, create_graph=True)
        if dx.requires_grad:  # the gradient of L1 is constant
            near(self.torch.autograd.grad((dx * direction).sum(), x)[0], second_derivative(spec))
        else:
            assert not second_derivative(spec).any()

    def test_autocast_does_not_reach_the_maths(self):
        x = self.torch.tensor(X, dtype=self.torch.float32)
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16):
            inside = Orthogonality()(x)
        assert inside == Orthogonality()(x)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision(self, dtype):
        x = self.torch.full((100, 100), 300.0, dtype=getattr(self.torch, dtype), requires_grad=True)
        value = L2()(x)
        value.backward()
        assert value.dtype == self.torch.float32
        assert value.detach() == pytest.approx(90000.0, rel=0.01)  # which overflows float16
        assert x.grad.dtype == x.dtype

    def test_no_gradient_is_computed_for_what_needs_none(self):
        x, alpha = self.torch.tensor(X), self.torch.tensor(0.75, requires_grad=True)
        BatchEntropy()(x, {"alpha": alpha}).backward()
        assert x.grad is None
        assert alpha.grad != 0


class TestJax:
    jax = pytest.importorskip("jax", reason="jax is not installed")

    def function(self, spec):
        return lambda x, params: UPSTREAM * spec(x, params)

    def inputs(self, spec):
        return self.jax.tree.map(self.jax.numpy.asarray, (X.astype(np.float32), spec.init()))

    @for_every_spec
    @pytest.mark.parametrize("mode", ["eager", "jit"])
    def test_grad(self, spec, mode):
        gradient = self.jax.grad(self.function(spec), argnums=(0, 1))
        dx, dparams = (self.jax.jit(gradient) if mode == "jit" else gradient)(*self.inputs(spec))
        expected, by_params = closed_form(spec, X.astype(np.float32))
        close(dx, expected, np.float32)
        for name, by_param in by_params.items():
            close(dparams[name], by_param, np.float32)

    @for_every_spec
    def test_vmap_and_jvp(self, spec):
        x, params = self.inputs(spec)

        @self.jax.jit  # operation by operation each would be compiled by itself
        def both(x, params, direction):
            gradient = self.jax.vmap(self.jax.grad(self.function(spec)), in_axes=(0, None))
            _, tangent = self.jax.jvp(lambda x: self.function(spec)(x, params), (x,), (direction,))
            return gradient(self.jax.numpy.stack([2 * x, x]), params)[1], tangent

        gradient, tangent = both(x, params, DIRECTION.astype(np.float32))
        expected = closed_form(spec, X.astype(np.float32))[0]
        close(gradient, expected, np.float32)
        products = expected * DIRECTION  # which may cancel in the sum
        assert tangent == pytest.approx(products.sum(), abs=1e-6 * np.abs(products).sum())

    @for_every_spec
    def test_hessian(self, spec):
        x, params = self.inputs(spec)
        hessian = self.jax.jit(self.jax.hessian(lambda x: spec(x, params)))(x)
        near(np.tensordot(np.asarray(hessian, dtype=np.float64), DIRECTION, 3), second_derivative(spec))

    def test_an_exact_spec_is_exact_while_x64_is_off(self):
        spec, x = exact(L2()), X.astype(np.float32)
        assert not self.jax.config.jax_enable_x64
        dx = self.jax.grad(lambda x: UPSTREAM * spec(x))(self.jax.numpy.asarray(x))
        np.testing.assert_array_equal(dx, closed_form(spec, x)[0])
        assert dx.dtype == np.float32

    def test_equal_specs_do_not_trace_again(self):
        traces = []

        @functools.partial(self.jax.jit, static_argnums=0)
        def function(spec, x):
            traces.append(spec)
            return spec(x)

        for _ in range(3):
            function(2.0 * AR() + TAR(), self.jax.numpy.ones((2, 3, 4)))
        assert len(traces) == 1


class TestTensorFlow:
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")

    def gradient(self, spec, x, params):
        with self.tf.GradientTape() as tape:
            tape.watch((x, params))
            value = UPSTREAM * spec(x, params)
        return tape.gradient(value, (x, params))

    def inputs(self, spec):
        return self.tf.constant(X), {name: self.tf.Variable(array) for name, array in spec.init().items()}

    @for_every_spec
    @pytest.mark.parametrize("mode", ["eager", "function", "xla"])
    def test_tape(self, spec, mode):
        x, params = self.inputs(spec)
        function = functools.partial(self.gradient, spec, params=params)
        if mode != "eager":
            function = self.tf.function(function, jit_compile=mode == "xla")
        dx, dparams = function(x)
        expected, by_params = closed_form(spec)
        close(dx, expected)
        for name, by_param in by_params.items():
            close(dparams[name], by_param, np.float32)

    def test_a_variable(self):
        x = self.tf.Variable(X)
        with self.tf.GradientTape() as tape:
            value = L2()(x)
        close(tape.gradient(value, x), closed_form(L2(), upstream=1.0)[0])

    @pytest.mark.parametrize("spec", [s for s in SPECS if "Orthogonality" not in repr(s)], ids=repr)
    @pytest.mark.parametrize("jit", [False, True], ids=["function", "xla"])
    def test_a_batch_and_a_time_that_are_not_known(self, spec, jit):
        _, params = self.inputs(spec)
        traced = []

        def gradient(x):
            traced.append(tuple(x.shape))
            return self.gradient(spec, x, params)[0]

        signature = [self.tf.TensorSpec([None, None, 3], self.tf.float64)]
        function = self.tf.function(gradient, input_signature=signature, jit_compile=jit)
        for part in (X, X[:3, :4]):
            close(function(self.tf.constant(part)), closed_form(spec, part)[0])
        assert traced == [(None, None, 3)]

    @for_every_spec
    def test_nested_tapes(self, spec):
        x, params = self.inputs(spec)
        with self.tf.GradientTape() as outer:
            outer.watch(x)
            with self.tf.GradientTape() as inner:
                inner.watch(x)
                value = spec(x, params)
            along = self.tf.reduce_sum(inner.gradient(value, x) * DIRECTION)
        second = outer.gradient(along, x)
        near(np.zeros_like(X) if second is None else second, second_derivative(spec))

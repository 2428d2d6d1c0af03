"""`regcore.attach` gives the gradients of a loss to which the penalty was added."""

import numpy as np
import pytest

import regcore
from regcore import AR, L1, TAR, BatchEntropy, Orthogonality, SelfModel, added, exact

SPECS = [
    L1(),
    2.0 * AR() + TAR(),
    Orthogonality(),
    added(BatchEntropy(alpha=0.75)),
    exact(added(BatchEntropy(alpha=0.75))) + 0.5 * SelfModel(features=3),
]
SCALE = 0.1
RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(4, 5, 3)), RNG.normal(size=(3, 3))
MASK = RNG.random((4, 5)) < 0.7

for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=str)


def near(ours, explicit):
    for a, b in zip(ours, explicit, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12, atol=1e-14)


class TestTorch:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def gradients(self, loss, spec):
        leaves = [self.torch.tensor(array, dtype=self.torch.float64) for array in (X, W, *spec.init().values())]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        x, w, *params = leaves
        loss(x, w, dict(zip(spec.init(), params, strict=True))).backward()
        return [leaf.grad for leaf in leaves]

    def explicit(self, spec, upstream=1.0):
        def loss(x, w, params):
            h = (x @ w).tanh()
            return upstream * ((h * h).sum() + SCALE * spec(h, params))

        return self.gradients(loss, spec)

    def attached(self, spec, scale=SCALE):
        def loss(x, w, params):
            h = regcore.attach(spec, (x @ w).tanh(), params, scale=scale)
            return (h * h).sum()

        return loss

    @for_every_spec
    def test_eager_and_compiled(self, spec):
        self.torch._dynamo.reset()
        near(self.gradients(self.attached(spec), spec), self.explicit(spec))
        compiled = self.torch.compile(self.attached(spec), fullgraph=True, backend="aot_eager")
        near(self.gradients(compiled, spec), self.explicit(spec))

    @pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpointed(self, reentrant):
        from torch.utils.checkpoint import checkpoint

        spec = SPECS[-1]

        def loss(x, w, params):
            inner = lambda x: regcore.attach(spec, (x @ w).tanh(), params, scale=SCALE)  # noqa: E731
            h = checkpoint(inner, x, use_reentrant=reentrant)
            return (h * h).sum()

        near(self.gradients(loss, spec), self.explicit(spec))

    def test_the_scale_is_read_in_backward(self):
        scale = self.torch.tensor(0.0, dtype=self.torch.float64)

        def loss(x, w, params):
            total = self.attached(SPECS[1], scale)(x, w, params)
            scale.data.fill_(1024 * SCALE)
            return 1024 * total

        near(self.gradients(loss, SPECS[1]), self.explicit(SPECS[1], 1024.0))

    def test_a_mask_and_per_example_gradients(self):
        x = self.torch.tensor(X)
        by_hand = self.torch.func.vmap(self.torch.func.grad(lambda x: SCALE * AR()(x)))(x)
        attached = self.torch.func.grad(lambda x: (0.0 * regcore.attach(AR(), x, scale=SCALE)).sum())
        near([self.torch.func.vmap(attached)(x)], [by_hand])
        x.requires_grad_()
        (0.0 * regcore.attach(TAR(), x, scale=SCALE, mask=MASK)).sum().backward()
        near([x.grad], [regcore.value_and_grad(TAR(), X, mask=MASK, upstream=SCALE)[1][0]])

    def test_where_nothing_is_differentiated_it_is_the_array_itself(self):
        x = self.torch.tensor(X, requires_grad=True)
        with self.torch.no_grad():
            assert regcore.attach(L1(), x) is x


class TestJax:
    jax = pytest.importorskip("jax", reason="jax is not installed")

    def both(self, spec, wrap=lambda f: f):
        jnp = self.jax.numpy

        def explicit(x, w, params):
            h = jnp.tanh(x @ w)
            return jnp.sum(h * h) + SCALE * spec(h, params)

        def attached(x, w, params):
            h = wrap(lambda x: regcore.attach(spec, jnp.tanh(x @ w), params, scale=SCALE))(x)
            return jnp.sum(h * h)

        params = {name: np.asarray(initial, np.float64) for name, initial in spec.init().items()}
        with self.jax.enable_x64(True):
            arguments = self.jax.tree.map(jnp.asarray, (X, W, params))
            return [
                self.jax.tree.leaves(self.jax.jit(self.jax.grad(f, argnums=(0, 1, 2)))(*arguments))
                for f in (attached, explicit)
            ]

    @for_every_spec
    def test_jit(self, spec):
        near(*self.both(spec))

    def test_checkpointed(self):
        near(*self.both(SPECS[-1], self.jax.checkpoint))

    def test_in_a_scan(self):
        jax, jnp = self.jax, self.jax.numpy

        def attached(w):
            def layer(h, w):
                return regcore.attach(SPECS[1], jnp.tanh(h @ w), scale=SCALE), None

            return jnp.sum(jax.lax.scan(jax.checkpoint(layer), jnp.asarray(X), w)[0] ** 2)

        def explicit(w):
            h, penalty = jnp.asarray(X), 0.0
            for i in range(3):
                h = jnp.tanh(h @ w[i])
                penalty += SPECS[1](h)
            return jnp.sum(h**2) + SCALE * penalty

        with jax.enable_x64(True):
            stack = jnp.asarray(RNG.normal(size=(3, 3, 3)))
            near([jax.grad(attached)(stack)], [jax.grad(explicit)(stack)])

    def test_a_mask(self):
        dx = self.jax.grad(lambda x: self.jax.numpy.sum(0.0 * regcore.attach(TAR(), x, scale=SCALE, mask=MASK)))(X)
        np.testing.assert_allclose(dx, regcore.value_and_grad(TAR(), X, mask=MASK, upstream=SCALE)[1][0], rtol=1e-5)


class TestTensorFlow:
    @for_every_spec
    def test_eager_and_traced(self, spec):
        tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
        variables = [tf.constant(array, tf.float64) for array in (X, W, *spec.init().values())]

        def gradients(attached):
            with tf.GradientTape() as tape:
                tape.watch(variables)
                x, w, *params = variables
                params = dict(zip(spec.init(), params, strict=True))
                h = tf.tanh(x @ w)
                if attached:
                    h = regcore.attach(spec, h, params, scale=SCALE)
                loss = tf.reduce_sum(h * h)
                if not attached:
                    loss += SCALE * tf.cast(spec(h, params), tf.float64)
            return tape.gradient(loss, variables)

        explicit = gradients(False)
        near(gradients(True), explicit)
        near(tf.function(gradients)(True), explicit)
        near(tf.function(gradients, jit_compile=True)(True), explicit)


def test_what_cannot_be_attached_is_refused():
    with pytest.raises(ValueError, match=r"\['BatchEntropy'\].*multiplies the task loss.*regcore\.added"):
        regcore.attach(BatchEntropy(), X, BatchEntropy().init())
    with pytest.raises(TypeError, match=r"attached to an array of numpy.*value_and_grad"):
        regcore.attach(L1(), X)

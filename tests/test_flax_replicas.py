"""A batch over several replicas has the value and the gradients of one device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

jax = pytest.importorskip("jax", reason="jax is not installed")
nn = pytest.importorskip("flax.linen", reason="flax is not installed")

import jax.numpy as jnp  # noqa: E402 - after the check that jax is there
import numpy as np  # noqa: E402

from regcore import BatchEntropy, added  # noqa: E402
from regcore_flax import Regularize, Replicas, combine  # noqa: E402

SPEC = added(BatchEntropy(alpha=0.75))
AXIS = "data"
X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)


class Net(nn.Module):
    across: object = None
    mode: str = "collect"

    @nn.compact
    def __call__(self, x):
        h = nn.tanh(nn.Dense(3)(x))
        options = {} if self.across is None else {"across": self.across}
        return Regularize(SPEC, mode=self.mode, name="reg", **options)(h)


def gradients(params, x, across=None, mode="collect"):
    def loss(params):
        y, state = Net(across, mode).apply({"params": params}, x, mutable=["penalties"])
        return combine(jnp.mean(y**2), state)

    value, grads = jax.value_and_grad(loss)(params)
    return (value, grads) if across is None else jax.lax.pmean((value, grads), AXIS)


def near(found, expected, mode="collect"):
    if mode == "collect":
        np.testing.assert_allclose(found[0], np.broadcast_to(expected[0], found[0].shape), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=2e-4, atol=1e-7),
        found[1], expected[1],
    )  # fmt: skip


def params_and_expected():
    params = Net().init(jax.random.key(0), X)["params"]
    return params, jax.jit(gradients)(params, X)


def on_devices():
    """All of it on 8 devices; run in a process that has them."""
    from jax.sharding import NamedSharding, PartitionSpec

    params, expected = params_and_expected()
    mesh = jax.make_mesh((8,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    batch, everywhere = PartitionSpec(AXIS), PartitionSpec()
    near(jax.jit(gradients)(params, jax.device_put(X, NamedSharding(mesh, batch))), expected)  # nothing to do

    def shard(params, x, mode, across=Replicas(AXIS)):  # noqa: B008 - frozen
        params = jax.lax.pcast(params, AXIS, to="varying")
        return gradients(params, x, across, mode)

    for check in (True, False):
        for mode in ("collect", "attach"):
            step = lambda params, x, mode=mode: shard(params, x, mode)  # noqa: E731
            specs = {"in_specs": (everywhere, batch), "out_specs": everywhere}
            near(jax.jit(jax.shard_map(step, mesh=mesh, check_vma=check, **specs))(params, X), expected, mode)
    naive = lambda params, x: jax.lax.pmean(gradients(jax.lax.pcast(params, AXIS, to="varying"), x), AXIS)  # noqa: E731
    value, _ = jax.jit(jax.shard_map(naive, mesh=mesh, **specs))(params, X)
    assert abs(value - expected[0]) > 0.01 * abs(expected[0]), "the trap: statistics of each shard alone"
    print("right on", len(jax.devices()), "devices")


def test_a_named_axis_of_vmap():
    params, expected = params_and_expected()
    shards = X.reshape(4, 8, 4)
    for mode in ("collect", "attach"):
        step = jax.vmap(lambda x, mode=mode: gradients(params, x, Replicas(AXIS), mode), axis_name=AXIS)
        near(jax.jit(step)(shards), expected, mode)


def test_shard_map_and_sharded_arrays_on_eight_devices():
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_flax_replicas; test_flax_replicas.on_devices()"
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, folder], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.stdout.endswith("right on 8 devices\n"), done.stderr


def test_an_axis_that_is_not_bound_and_equality():
    assert Replicas(AXIS) == Replicas(AXIS)
    assert hash(Replicas(AXIS)) == hash(Replicas(AXIS))
    with pytest.raises(NameError, match=AXIS):
        Net(Replicas(AXIS)).apply(Net().init(jax.random.key(0), X), X, mutable=["penalties"])

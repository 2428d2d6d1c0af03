"""Keras models on several devices train as on one: on JAX all penalties, under MirroredStrategy additive ones."""

import importlib.util
import os
import subprocess
import sys

import pytest

TRAIN = """
import sys, numpy as np, keras, regcore, regcore_keras

def history(spec):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    hidden = regcore_keras.Regularize(spec)(keras.layers.Dense(4, activation="tanh")(inputs))
    model = regcore_keras.RegularizedModel(inputs, keras.layers.Dense(2)(hidden))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return np.concatenate([w.numpy().ravel() for w in model.trainable_weights])  # last values are those of a replica
"""
ON_JAX = (
    TRAIN
    + """
SPEC = regcore.L2() + regcore.BatchEntropy()
alone = history(SPEC)
keras.distribution.set_distribution(keras.distribution.DataParallel())
import jax
assert jax.device_count() == 4
np.testing.assert_allclose(history(SPEC), alone, rtol=1e-5, atol=1e-6)
print("done")
"""
)
ON_TENSORFLOW = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
""" + (
    TRAIN
    + """
alone, entropy = history(regcore.L2()), regcore.BatchEntropy()
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    np.testing.assert_allclose(history(regcore.L2()), alone, rtol=1e-5, atol=1e-6)
    try:
        history(entropy)
    except Exception as error:
        assert "BatchEntropy" in str(error) and "on 2 replicas" in str(error), error
    else:
        raise AssertionError("statistics of a replica were taken for those of the batch")
print("done")
"""
)


@pytest.mark.parametrize(
    ("backend", "code"), [("jax", ON_JAX), ("tensorflow", ON_TENSORFLOW)], ids=["jax", "tensorflow"]
)
def test_replicas(backend, code, tmp_path):
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    settings = {
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(tmp_path),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    run = subprocess.run(
        [sys.executable, "-c", {"jax": ON_JAX, "tensorflow": ON_TENSORFLOW}[backend]],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert run.stdout.endswith("done\n")

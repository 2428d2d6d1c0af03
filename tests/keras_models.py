"""Models of every kind that the Keras suites regularize."""

import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

import regcore_keras
from regcore import BatchEntropy

LEARNED = 0.5 * BatchEntropy(alpha=0.75, correction=0)
X = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
SEQUENCES = np.random.default_rng(2).normal(size=(4, 6, 5)).astype(np.float32)


def dense(units, name, **options):
    return keras.layers.Dense(units, name=name, **options)


def functional():
    inputs = keras.Input((5,))
    return keras.Model(inputs, dense(2, "out")(dense(4, "hidden")(inputs)))


def encoder():
    inputs = keras.Input((5,))
    return keras.Model(inputs, dense(4, "hidden")(inputs), name="encoder")


def nested():
    inputs = keras.Input((5,))
    return keras.Model(inputs, dense(2, "out")(encoder()(inputs)))


def sequential():
    return keras.Sequential([keras.Input((5,)), dense(4, "hidden"), dense(2, "out")])


def nested_sequential():
    inner = keras.Sequential([dense(4, "hidden")], name="encoder")
    return keras.Sequential([keras.Input((5,)), inner, dense(2, "out")])


@keras.saving.register_keras_serializable(package="tests")
class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = dense(4, "hidden")

    def call(self, x):
        return self.hidden(x)


@keras.saving.register_keras_serializable(package="tests")
class Mine(keras.Model):
    def __init__(self, kind="attribute", **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        if kind == "sequential":
            self.encoder = keras.Sequential([dense(4, "hidden")], name="encoder")
        elif kind == "functional":
            self.encoder = encoder()
        elif kind == "block":
            self.encoder = Block(name="encoder")
        else:
            self.encoder = {"attribute": dense(4, "encoder"), "list": [dense(4, "encoder")]}[kind]
        self.out = dense(2, "out")

    def call(self, x):
        return self.out((self.encoder[0] if self.kind == "list" else self.encoder)(x))

    def get_config(self):
        return {"kind": self.kind}


MODELS = {
    "functional": (functional, "hidden"),
    "nested": (nested, "encoder.hidden"),
    "sequential": (sequential, "hidden"),
    "nested_sequential": (nested_sequential, "encoder.hidden"),
    "attribute": (Mine, "encoder"),
    "list": (lambda: Mine("list"), "encoder"),
    "block": (lambda: Mine("block"), "encoder.hidden"),
    "sequential_inside": (lambda: Mine("sequential"), "encoder.hidden"),
    "functional_inside": (lambda: Mine("functional"), "encoder.hidden"),
}


def compiled(model, rate=0.1, **options):
    model.compile(keras.optimizers.SGD(rate), "mse", **options)
    return model


def value(model, key):
    return regcore_keras.report(model)[key]["value"]


def hidden(model, x=X):
    """Of a model that starts with Dense "hidden" or "encoder", by hand."""
    kernel, bias, *_ = [w.numpy() for w in model.weights if w.name in ("kernel", "bias") and w.shape[-1] == 4]
    return x @ kernel + bias

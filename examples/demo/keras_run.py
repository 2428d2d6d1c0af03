"""The demo in Keras on TensorFlow: `Regularize` layers in a `RegularizedModel`, which puts penalties into its loss."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import regcore
import regcore_keras

from .initial import Affine, Deep, Net, Recurrent


class Training:
    """A network in training, with or without its penalty."""

    def __init__(self, net: Net, regularized: bool) -> None:
        inputs = keras.Input(net.input_shape)
        body = _deep if isinstance(net, Deep) else _recurrent
        self.model = regcore_keras.RegularizedModel(inputs, body(net, inputs, regularized))
        self.model.compile(
            keras.optimizers.Adam(net.learning_rate, epsilon=1e-8),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.model.optimizer.build(self.model.trainable_variables)  # left to the first step, that is traced twice

    def step(self, x: np.ndarray, y: np.ndarray) -> None:
        self.model.train_on_batch(x, y)

    def penalties(self) -> dict[str, float]:
        return {name: term["value"] for name, term in regcore_keras.report(self.model).items()}

    def logits(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict_on_batch(x)


def value_and_grad(spec: regcore.Penalty, x: np.ndarray, params: Mapping[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """A penalty of bare tensors and its derivative, as TensorFlow takes it."""
    x = tf.constant(x)
    params = {name: tf.constant(param) for name, param in params.items()}
    with tf.GradientTape() as tape:
        tape.watch([x, params])
        value = spec(x, params)
    return value, *tape.gradient(value, (x, params))


def _deep(net: Deep, x: keras.KerasTensor, regularized: bool) -> keras.KerasTensor:
    for layer in net.hidden:
        x = _dense(layer, x, activation="relu")
        x = regcore_keras.Regularize(net.spec)(x) if regularized else x
    return _dense(net.out, x)


def _recurrent(net: Recurrent, x: keras.KerasTensor, regularized: bool) -> keras.KerasTensor:
    rnn = keras.layers.SimpleRNN(net.units, return_sequences=True, unroll=True)
    states = rnn(x)
    rnn.set_weights([net.input.kernel, net.recurrent, net.input.bias])
    states = regcore_keras.Regularize(net.spec)(states) if regularized else states
    return _dense(net.out, states[:, -1])


def _dense(layer: Affine, x: keras.KerasTensor, activation: str | None = None) -> keras.KerasTensor:
    dense = keras.layers.Dense(layer.bias.size, activation)
    outputs = dense(x)
    dense.set_weights(layer)
    return outputs

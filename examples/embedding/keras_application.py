"""MobileNetV2 of keras.applications without weights: L1 and FLOPS on its last features, which become sparse.

Run it by `KERAS_BACKEND=jax python -m examples.embedding.keras_application`.
"""

import keras
import numpy as np

import regcore  # + import
import regcore_keras  # + import

from .data import digits
from .outcome import Outcome, difference, show

RULES = {"global_average_pooling2d": 0.1 * regcore.L1() + 0.1 * regcore.FLOPS()}  # +
TASK = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def build() -> tuple[keras.Model, keras.Model]:
    """The regularized model, and one of the same layers that has the features as an output beside the logits."""
    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    model = keras.Model(network.input, keras.layers.Dense(10)(network.output))
    hand = keras.Model(model.input, [model.output, network.output])
    model = regcore_keras.regularize(model, RULES)  # +
    return model, hand


def by_hand(_: np.ndarray, features: keras.KerasTensor) -> keras.KerasTensor:
    penalty = 0.1 * keras.ops.mean(features) + 0.1 * keras.ops.sum(keras.ops.mean(features, axis=0) ** 2)
    return penalty * keras.ops.ones_like(features[:, 0])  # Keras takes a value for each sample, and their mean


def gradients(model: keras.Model, x: np.ndarray, y: np.ndarray | list[np.ndarray]) -> list[np.ndarray]:
    """By a step of SGD at the rate 1, after which the weights are as before."""
    before, weights = model.get_weights(), [weight.numpy() for weight in model.trainable_weights]
    model.optimizer.learning_rate = 1.0
    model.train_on_batch(x, y)
    after = [weight.numpy() for weight in model.trainable_weights]
    model.set_weights(before)
    return [old - new for old, new in zip(weights, after, strict=True)]


def main(steps: int = 20) -> Outcome:
    pixels, classes = digits(32)
    images = np.kron(pixels.reshape(-1, 8, 8, 1), np.ones((1, 4, 4, 3))).astype("float32")
    model, hand = build()
    task = keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="task")
    model.compile(keras.optimizers.SGD(0.02), TASK, metrics=[task])
    losses = [model.train_on_batch(images, classes, return_dict=True)["task"] for _ in range(steps)]
    terms = {name: row["value"] for name, row in regcore_keras.report(model).items()}
    hand.compile(keras.optimizers.SGD(), [TASK, by_hand])
    ours, theirs = gradients(model, images, classes), gradients(hand, images, [classes, classes])
    return Outcome([float(loss) for loss in losses], terms, difference(ours, theirs))


if __name__ == "__main__":
    show(main())

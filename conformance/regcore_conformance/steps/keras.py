"""The step through `regcore_keras.Regularize` in a `RegularizedModel`, by `fit`, on the backend of the process."""

import keras
import numpy as np

from regcore_keras import Regularize, RegularizedModel

from . import RATE, SPEC, Problem


def step(problem: Problem) -> dict[str, np.ndarray]:
    x = keras.Input((5,))
    dense, site = keras.layers.Dense(4), Regularize(SPEC)
    model = RegularizedModel(x, site(dense(x)))
    dense.set_weights([problem.W, problem.b])
    model.compile(keras.optimizers.SGD(RATE), loss="mse")
    model.fit(problem.x, problem.target, batch_size=len(problem.x), epochs=1, shuffle=False, verbose=0)
    (alpha,) = site.trainable_weights
    after = {"W": dense.kernel, "b": dense.bias, "alpha": alpha}
    return {name: keras.ops.convert_to_numpy(weight) for name, weight in after.items()}

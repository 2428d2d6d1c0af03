"""What `regcore_keras.parametrize` promises, on the backend of this process; test_keras.py runs it on every backend."""

import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

from regcore import L2
from regcore.parametrizations import Difference, Exp, FixedSign, Sinh, Softmax, SoftSign
from regcore_keras import Regularize
from regcore_keras.parametrize import Parametrized

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
RATE = 0.1
X = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
KERNEL = np.random.default_rng(2).uniform(0.1, 0.9, size=(5, 3)).astype(np.float32)
BIAS = np.asarray([0.5, -0.25, 0.0], np.float32)
SIGNED = KERNEL * np.where(np.arange(15).reshape(5, 3) % 3, 1, -1).astype(np.float32)
CASES = [
    (Exp(), KERNEL),
    (Sinh(), SIGNED),
    (Softmax(axis=0), KERNEL / KERNEL.sum(0)),
    (Difference(), SIGNED),
    (FixedSign(), SIGNED),
    (SoftSign(), SIGNED),
]


def constant(array):
    return lambda shape, dtype=None: keras.ops.convert_to_tensor(array, dtype)


def dense(kernel=KERNEL, **options):
    return keras.layers.Dense(3, kernel_initializer=constant(kernel), bias_initializer=constant(BIAS), **options)


def model_of(*layers):
    inputs = x = keras.Input((5,))
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model


def fit(model, x=X, y=Y):
    return model.fit(x, y, batch_size=len(x), epochs=1, shuffle=False, verbose=0).history["loss"][0]


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(("spec", "kernel"), CASES, ids=lambda case: repr(case)[:20])
def test_a_step_of_fit_is_that_of_the_raw_variable(spec, kernel):
    layer = Parametrized(dense(kernel), {"kernel": spec})
    model = model_of(layer)
    error = X @ kernel + BIAS - Y
    np.testing.assert_allclose(fit(model), np.mean(error**2), rtol=1e-5)
    by_kernel = 2 * X.T @ error / error.size
    raw = spec.right_inverse(kernel)
    by_raw = spec.pullback(raw, by_kernel)
    after = {n: raw[n] - RATE * by_raw[n] for n in raw} if spec.parts else raw - RATE * by_raw
    np.testing.assert_allclose(numbers(layer.effective()["kernel"]), spec(after), rtol=2e-5, atol=1e-6)
    assert not np.allclose(spec(after), kernel, rtol=1e-4)
    np.testing.assert_allclose(numbers(layer.layer.bias.value), BIAS - RATE * 2 * error.sum(0) / error.size, rtol=1e-5)
    trained = len(spec.parts or ("raw",)) - len(spec.fixed)
    assert len(model.trainable_variables) == trained + 1


def test_a_model_survives_saving_whatever_its_initializer_would_give(tmp_path):
    inner = keras.layers.Dense(3)  # whose initializer gives weights of both signs, outside the domain
    inner.build((None, 5))
    inner.kernel.assign(KERNEL)
    model = model_of(Parametrized(inner, {"kernel": Exp(), "bias": Difference(delta=0.5)}, name="mine"))
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("mine").rules == {"kernel": Exp(), "bias": Difference(delta=0.5)}
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert fit(loaded) == fit(model)
    copy = keras.models.model_from_json(model.to_json())
    with pytest.raises(ValueError, match=r"mine: the weight kernel: Exp\(\) got the weight -"):
        copy.predict(X, verbose=0)  # built without the weights of the file
    model.save_weights(tmp_path / "model.weights.h5")
    copy.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(copy.predict(X, verbose=0), model.predict(X, verbose=0))


def test_what_the_layer_does_besides_is_kept():
    inner = keras.Sequential(
        [
            dense(kernel_regularizer=keras.regularizers.L2(0.5), name="in"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=0),
        ]
    )
    layer = Parametrized(inner, {"**.kernel": Exp()})
    model = model_of(layer)
    (path,) = layer.effective()
    assert path.endswith("in.kernel")
    np.testing.assert_allclose(numbers(sum(model.losses)), 0.5 * (KERNEL**2).sum(), rtol=1e-5)
    before = {v.path: numbers(v.value).copy() for v in model.non_trainable_variables}
    assert fit(model) > 0.5 * (KERNEL**2).sum()
    moved = [p for p, v in before.items() for now in model.non_trainable_variables if now.path == p]
    assert len(moved) == len(before)
    changed = {
        v.path.split("/")[-1] for v in model.non_trainable_variables if (numbers(v.value) != before[v.path]).any()
    }
    assert changed == {"moving_mean", "moving_variance", "seed_generator_state"}
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))  # no dropout


class Lazy(keras.Model):
    """Builds its layers in the first step of fit, where the library may be tracing."""

    def __init__(self, kernel):
        super().__init__()
        self.inner = Parametrized(dense(kernel), {"kernel": Exp()})

    def call(self, x):
        return self.inner(x)


def test_a_model_that_is_built_while_it_trains():
    model = Lazy(KERNEL)
    model.compile(keras.optimizers.SGD(RATE), "mse")
    np.testing.assert_allclose(fit(model), np.mean((X @ KERNEL + BIAS - Y) ** 2), rtol=1e-5)
    refused = Lazy(-KERNEL)
    refused.compile(keras.optimizers.SGD(RATE), "mse")
    with pytest.raises(Exception, match=r"the weight kernel: Exp\(\) got the weight -"):
        fit(refused)
    keras.layers.Dense(2).build((None, 3))  # and Keras is in order after the refusal


def test_recurrent_layers_and_masks():
    plain = keras.layers.LSTM(3, name="lstm")
    plain.build((None, 5, 1))
    x = keras.layers.Masking()(np.where(np.arange(5) < 3, X, 0.0)[..., None])
    expected = numbers(plain(x))
    layer = Parametrized(plain, {"**.kernel": Sinh(), "**.recurrent_kernel": SoftSign()})
    np.testing.assert_allclose(numbers(layer(x)), expected, rtol=1e-4, atol=1e-6)
    assert sorted(layer.effective()) == ["lstm_cell.kernel", "lstm_cell.recurrent_kernel"]


def test_unwrapping_gives_the_layer_with_its_weights():
    layer = Parametrized(dense(), {"kernel": Exp()})
    model = model_of(layer)
    layer.trainable = False
    assert not model.trainable_variables
    layer.trainable = True
    assert [v.path.split("/")[-1] for v in model.trainable_variables] == ["kernel_raw", "bias"]
    fit(model)
    expected = model.predict(X, verbose=0)
    plain = layer.unwrap()
    np.testing.assert_array_equal(numbers(plain(X)), expected)
    assert [v.name for v in plain.trainable_variables] == ["kernel", "bias"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Parametrized(dense(), {"kernle": Exp()}).build((None, 5)),
            ValueError,
            "'kernle' matches none.*kernel",
        ),
        (lambda: Parametrized(dense(-KERNEL), {"kernel": Exp()}).build((None, 5)), ValueError, "got the weight -"),
        (lambda: Parametrized(dense(), {"*": Sinh(), "bias": Exp()}).build((None, 5)), ValueError, "narrow the globs"),
        (
            lambda: Parametrized(dense(kernel_constraint="non_neg"), {"kernel": Exp()}).build((None, 5)),
            ValueError,
            "kernel has the constraint.*leave it out",
        ),
        (lambda: Parametrized(dense(), {"kernel": L2()}), TypeError, "expected a parametrization"),
        (lambda: Parametrized(dense(), {}), ValueError, "got no rules"),
        (lambda: Parametrized(keras.Sequential([Regularize(L2())]), {"*": Exp()}), ValueError, "holds a Regularize"),
    ],
)
def test_what_would_be_lost_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()

"""Set-ups that would lose a penalty, each found and named, on the backend of this process; see test_keras.py."""

import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

import regcore_keras
from regcore import L1, L2, BatchEntropy, added
from regcore_keras import ActivityRegularizer, Regularize, RegularizedModel, regularize, verify

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
X = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
STEPS = np.random.default_rng(2).normal(size=(8, 3, 5)).astype(np.float32)
TARGETS = STEPS[..., :2]


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def functional(*layers, shape=(5,), kind=RegularizedModel):
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return compiled(kind(inputs, x))


class Derived(RegularizedModel):
    def __init__(self, spec=None):
        super().__init__()
        self.first, self.out = keras.layers.Dense(4), keras.layers.Dense(2)
        self.reg = Regularize(spec or L2(), name="reg")


class NeverCalled(Derived):
    def call(self, x):
        return self.out(self.first(x))


class NoPhase(Derived):
    def call(self, x):
        return self.out(self.reg(self.first(x)))


class WrongPhase(Derived):
    def call(self, x, training=None):
        return self.out(self.reg(self.first(x), training=False))


class Detached(Derived):
    def call(self, x):
        h = self.first(x)
        self.reg(keras.ops.stop_gradient(h))
        return self.out(h)


class Untracked(Derived):
    def __init__(self):
        super().__init__()
        hidden = Regularize(added(BatchEntropy()), name="hidden")
        self.untracked = lambda x, training: hidden(x, training=training)

    def call(self, x, training=None):
        return self.out(self.untracked(self.reg(self.first(x), training=training), training))


def activity(units=4, **options):
    return keras.layers.Dense(units, name="inner", activity_regularizer=ActivityRegularizer(L2()), **options)


def states(**options):
    x = keras.Input((3, 5))
    lstm = keras.layers.LSTM(
        4, name="lstm", return_state=True, activity_regularizer=ActivityRegularizer(L2(), **options)
    )
    return compiled(RegularizedModel(x, keras.layers.Dense(2)(lstm(x)[0])))


def each():
    return functional(keras.layers.TimeDistributed(activity(2), name="each"), shape=(3, 5))


def in_a_cell():
    class Cell(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="cell")
            self.inner, self.state_size, self.output_size = activity(4), 4, 4

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x, states):
            return self.inner(x), states

    return functional(keras.layers.RNN(Cell(), name="rnn"), keras.layers.Dense(2), shape=(3, 5))


@pytest.mark.parametrize(
    ("make", "x", "error", "message"),
    [
        (NeverCalled, X, RuntimeError, r"nothing was recorded at \['reg'\]"),
        (WrongPhase, X, RuntimeError, r"nothing was recorded at \['reg'\]"),
        (NoPhase, X, RuntimeError, r"nothing was recorded at \['reg'\].*does the call of the model take training"),
        (Untracked, X, RuntimeError, "hidden runs in untracked.*, which does not track it"),
        (
            each,
            STEPS,
            ValueError,
            "each.inner has an ActivityRegularizer, but Keras counts none in each, a TimeDistributed",
        ),
        (
            in_a_cell,
            STEPS,
            ValueError,
            "rnn.cell.inner has an ActivityRegularizer, but its value cannot leave the cell",
        ),
        (states, STEPS, ValueError, "lstm has an ActivityRegularizer, but it gives out its states too"),
        (lambda: states(ndim=2), STEPS, ValueError, "lstm has an ActivityRegularizer, but it gives out its states too"),
    ],
    ids=[
        "never called",
        "wrong phase",
        "no phase",
        "untracked",
        "TimeDistributed",
        "RNN cell",
        "states",
        "states by ndim",
    ],
)
def test_training_refuses_and_names_the_site(make, x, error, message):
    with pytest.raises(error, match=message):
        compiled(make()).train_on_batch(x, TARGETS if make is each else Y)


def test_the_traps_are_silent_in_plain_keras():
    layer = keras.layers.TimeDistributed(activity(2))
    model = functional(layer, shape=(3, 5), kind=keras.Model)
    model(STEPS)
    assert model.losses == []
    plain = keras.layers.LSTM(4, return_state=True, activity_regularizer=lambda x: keras.ops.mean(x**2))
    plain(keras.ops.convert_to_tensor(STEPS))
    assert len(plain.losses) == 3  # the sequence and both states
    ours = keras.layers.LSTM(
        4, return_sequences=True, return_state=True, activity_regularizer=ActivityRegularizer(L2(), ndim=3)
    )
    sequence, *_ = ours(keras.ops.convert_to_tensor(STEPS))
    total = float(keras.ops.convert_to_numpy(sum(ours.losses)))
    np.testing.assert_allclose(total, np.mean(keras.ops.convert_to_numpy(sequence) ** 2), rtol=1e-5)


def test_layers_that_are_skipped_on_purpose():
    model = compiled(NeverCalled())
    model.on_missing = "ignore"
    assert np.isfinite(model.train_on_batch(X, Y))


def frozen():
    dense = keras.layers.Dense(4)
    dense.trainable = False
    return functional(dense, Regularize(L2(), name="reg"), keras.layers.Dense(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Detached, "reg has a gradient that arrives at no weight: is its input detached"),
        (frozen, "reg has a gradient that arrives at no weight.*frozen"),
        (lambda: functional(keras.layers.Dense(4), Regularize(0.0 * L2(), name="reg")), "reg has coefficients of zero"),
        (NeverCalled, "reg recorded nothing in a call with training=True"),
    ],
    ids=["detached", "frozen", "zero coefficient", "never called"],
)
def test_verify_names_the_site(make, message):
    with pytest.raises(RuntimeError, match=message):
        verify(compiled(make()), X)


@pytest.mark.parametrize("mode", ["collect", "attach"])
def test_verify_gives_the_gradient_of_each_site_and_changes_nothing(mode):
    inputs = keras.Input((5,))
    h = keras.layers.Dense(4, name="hidden", activity_regularizer=ActivityRegularizer(L2()))(inputs)
    plain = keras.Model(inputs, keras.layers.Dense(2, name="out")(h))
    rules = {"hidden": 2.0 * L2(), "out": L1(), "weight:out.kernel": L2()}
    model = compiled(regularize(plain, rules, mode=mode))
    before = [w.numpy() for w in model.variables]
    found = verify(model, X)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    kernel, bias = plain.get_layer("hidden").get_weights()
    by_h = 2.0 * 2.0 * (X @ kernel + bias) / (8 * 4)
    expected = np.sqrt(np.sum((X.T @ by_h) ** 2) + np.sum(by_h.sum(0) ** 2))
    np.testing.assert_allclose(found["hidden/L2"]["gradient"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["hidden/activity_regularizer"]["gradient"], expected / 2.0, rtol=1e-5)
    weight = plain.get_layer("out").get_weights()[0]
    by_weight = np.linalg.norm(2.0 * weight / weight.size)
    np.testing.assert_allclose(found["weight:out.kernel/L2"]["gradient"], by_weight, rtol=1e-5)
    assert found["out/L1"]["gradient"] > 0.0
    assert regcore_keras.report(model)["hidden/L2"]["calls"] == 0


def test_statistics_of_a_batch_on_several_replicas(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has replicas that see a part of the batch each")
    model = functional(Regularize(L2() + BatchEntropy(), name="reg"))
    strategy = type("Strategy", (), {"num_replicas_in_sync": 2})
    monkeypatch.setattr(type(model), "distribute_strategy", strategy)
    with pytest.raises(ValueError, match=r"reg has \['BatchEntropy'\] on 2 replicas"):
        model(X, training=True)

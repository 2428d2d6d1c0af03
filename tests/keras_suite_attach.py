"""What mode="attach" promises in Keras, on the backend of this process; test_keras.py runs it on every backend."""

import contextlib
import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

import regcore
import regcore_keras
from regcore import AR, L1, L2, TAR, BatchEntropy, added
from regcore_keras import Regularize, RegularizedModel

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
BACKEND = keras.backend.backend()
SPEC = 0.3 * AR() + 0.5 * added(BatchEntropy(alpha=0.75, correction=0)) + 0.1 * TAR()
X = np.random.default_rng(0).normal(size=(4, 6, 5))
Y = np.random.default_rng(1).normal(size=(4, 6, 2))


def wide():
    """Float64, which JAX has only where it is told."""
    if BACKEND != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


@pytest.fixture
def _float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    with wide():
        yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


class Block(keras.layers.Layer):
    def __init__(self, spec, mode):
        super().__init__(name="block")
        self.first = keras.layers.Dense(4, activation="tanh", name="first")
        self.reg = Regularize(spec, mode=mode, name="reg")

    def build(self, shape):
        self.first.build(shape)

    def call(self, x):
        return self.reg(self.first(x))


def model_of(mode, spec=SPEC, kind=RegularizedModel, remat=()):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 5))
    with keras.RematScope("list_of_layers", layer_names=list(remat)):
        block = Block(spec, mode)
    return kind(inputs, keras.layers.Dense(2, name="second")(block(inputs)))


def compiled(model, optimizer=None, **options):
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", **options)
    return model


def trained(model, steps=2, x=X, y=Y):
    for _ in range(steps):
        model.train_on_batch(x, y)
    return {"/".join(w.path.split("/")[-2:]): w.numpy() for w in model.trainable_weights}


def assert_near(ours, explicit, tolerance):
    assert ours.keys() == explicit.keys()
    for name, value in explicit.items():
        np.testing.assert_allclose(ours[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("eagerly", [True, False])
def test_training_is_that_of_the_loss(eagerly):
    if eagerly and BACKEND == "jax":
        pytest.skip("JAX traces the gradient in either case, and compiles every operation alone if told to run eagerly")
    explicit = trained(compiled(model_of("collect"), run_eagerly=eagerly))
    model = compiled(model_of("attach"), run_eagerly=eagerly)
    assert_near(trained(model), explicit, 1e-12)
    plain = trained(compiled(model_of("attach", 0.0 * L1()), run_eagerly=eagerly))
    assert abs(plain["first/kernel"] - explicit["first/kernel"]).max() > 1e-3
    entries = regcore_keras.report(model)
    assert list(entries) == ["block.reg/L2", "block.reg/BatchEntropy", "block.reg/TAR"]
    assert all(entry["calls"] == 2 and np.isfinite(entry["value"]) for entry in entries.values())


@pytest.mark.usefixtures("_float64")
def test_it_works_where_a_loss_cannot_leave():
    """The trap: in a plain model the loss is an error on JAX, and its gradient is lost without a word on TensorFlow."""
    explicit = trained(compiled(model_of("collect")))
    naive = compiled(model_of("collect", kind=keras.Model, remat=["block"]))
    if BACKEND == "jax":
        with pytest.raises(Exception, match=r"Tracer|build the model"):
            trained(naive)
    if BACKEND == "tensorflow":
        assert abs(trained(naive)["first/kernel"] - explicit["first/kernel"]).max() > 1e-3
    with pytest.raises(ValueError, match=r"reg is in the RematScope of block.*mode=\"attach\""):
        trained(compiled(model_of("collect", remat=["block"])))
    model = compiled(model_of("attach", remat=["block"]))
    assert_near(trained(model), explicit, 1e-12)
    assert np.isnan(regcore_keras.report(model)["block.reg/L2"]["value"])


def test_in_a_remat_scope_of_its_own_there_is_nothing_to_recompute():
    with keras.RematScope("full"):
        layer = Regularize(L2(), name="reg")
    inputs = keras.Input((5,))
    model = compiled(RegularizedModel(inputs, keras.layers.Dense(2)(layer(inputs))))
    model.train_on_batch(X[0], Y[0])
    np.testing.assert_allclose(regcore_keras.report(model)["reg/L2"]["value"], np.mean(X[0] ** 2), rtol=1e-6)


def test_a_changed_coefficient_counts():
    model = compiled(model_of("attach"))
    trained(model, 1)
    model.get_layer("block").reg.set_coefficient("L2", 7.0)
    explicit = compiled(model_of("collect"))
    trained(explicit, 1)
    explicit.get_layer("block").reg.set_coefficient("L2", 7.0)
    assert_near(trained(model, 1), trained(explicit, 1), 1e-5)


@pytest.mark.parametrize("scaled", ["dynamic", "static"])
def test_the_scale_of_the_loss_is_known(scaled):
    def optimizer():
        if scaled == "static":
            return keras.optimizers.SGD(0.1, loss_scale_factor=1024.0)
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), 1024.0, dynamic_growth_steps=2)

    explicit = trained(compiled(model_of("collect"), optimizer()), 4)
    assert_near(trained(compiled(model_of("attach"), optimizer()), 4), explicit, 1e-5)


def test_where_the_scale_is_not_known_it_is_an_error():
    with pytest.raises(RuntimeError, match=r"reg has mode=\"attach\" and is not told.*RegularizedModel"):
        trained(compiled(model_of("attach", kind=keras.Model)), 1)
    layer = Regularize(L1(), mode="attach")
    with regcore_keras.loss_scale(1.0):
        layer(X, training=True)
    assert layer.report()["L1"]["calls"] == 1


class Cell(keras.layers.Layer):
    def __init__(self, mode):
        super().__init__(name="cell")
        self.cell, self.reg = (
            keras.layers.SimpleRNNCell(3, name="simple"),
            Regularize(2.0 * L2(), mode=mode, name="reg"),
        )
        self.state_size = self.output_size = 3

    def build(self, shape):
        self.cell.build(shape)

    def call(self, x, states, training=None):
        h, states = self.cell(x, states)
        return self.reg(h, training=training), states


def rnn(mode, **options):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 5))
    h = keras.layers.RNN(Cell(mode), return_sequences=True, name="rnn", **options)(inputs)
    return compiled(RegularizedModel(inputs, keras.layers.Dense(2, name="out")(h)))


def test_in_the_cell_of_an_rnn():
    with pytest.raises(ValueError, match=r"reg is in the cell of rnn, a loop.*mode=\"attach\""):
        trained(rnn("collect"), 1)
    assert_near(trained(rnn("attach"), 1), trained(rnn("collect", unroll=True), 1), 1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(policy):
    if policy == "mixed_bfloat16" and BACKEND != "torch":
        pytest.skip("float16 takes the same path and has a scaled loss as well; compiling both takes long")
    keras.config.set_dtype_policy(policy)
    try:
        after = [trained(compiled(model_of(mode)), 2) for mode in ("attach", "collect")]
    finally:
        keras.config.set_dtype_policy("float32")
    assert_near(*after, 1e-2)


def test_what_cannot_be_attached_is_refused():
    with pytest.raises(ValueError, match=r"\['BatchEntropy'\].*multiplies the task loss.*regcore\.added"):
        Regularize(BatchEntropy(), mode="attach")
    with pytest.raises(ValueError, match="evaluation has none"):
        Regularize(L1(), mode="attach", train_only=False)
    with pytest.raises(ValueError, match='expected "collect" or "attach"'):
        Regularize(regcore.L1(), mode="add")

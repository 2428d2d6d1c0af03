"""What the Keras adapter promises, on the backend of this process; test_keras.py runs it on every backend."""

import json
import math
import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

import regcore
import regcore_keras
from regcore import AR, L1, L2, TAR, BatchEntropy, Orthogonality, added, coupled, exact
from regcore_keras import ActivityRegularizer, Regularize, RegularizedFunctional, RegularizedModel, WeightRegularizer

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
BACKEND = keras.backend.backend()
RATE = 0.1
LEARNED = BatchEntropy(alpha=0.75, correction=0)
MIXED = 0.5 * LEARNED + 0.3 * AR() + 0.1 * L1()


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, Y = data(8, 5), data(8, 2, seed=1)


@pytest.fixture(autouse=True)
def _same_weights():
    keras.utils.set_random_seed(1)


def names(spec):
    return "+".join(term.name for term in spec.terms())


def layers(spec):
    return keras.layers.Dense(4, name="first"), Regularize(spec, name="reg"), keras.layers.Dense(2, name="second")


def functional(spec, kind=keras.Model):
    inputs = x = keras.Input((5,))
    for layer in layers(spec):
        x = layer(x)
    return kind(inputs, x)


def sequential(spec):
    return keras.Sequential(layers(spec), name="encoder")


def nested(spec):
    inputs = keras.Input((5,))
    return RegularizedModel(inputs, sequential(spec)(inputs))


class Derived(RegularizedModel):
    def __init__(self, spec):
        super().__init__()
        self.first, self.reg, self.second = layers(spec)

    def call(self, x, training=None):
        return self.second(self.reg(self.first(x), training=training))


class DerivedFunctional(RegularizedFunctional):
    pass


def compiled(model, **options):
    model.compile(keras.optimizers.SGD(RATE), "mse", **options)
    return model


def weights(model):
    """By the names of layer and weight, of a built model."""
    return {"/".join(w.path.split("/")[-2:]): w.numpy() for w in model.weights}


def reg(model):
    return next(layer for layer in model._flatten_layers() if isinstance(layer, Regularize))


def numpy_step(w, spec, x, y):
    """The loss, and the weights after a step of gradient descent, in float64 and by hand."""
    w = {name: np.asarray(value, np.float64) for name, value in w.items()}
    h = x @ w["first/kernel"] + w["first/bias"]
    error = h @ w["second/kernel"] + w["second/bias"] - y
    task, factor, total = np.mean(error**2), 1.0, 0.0
    by_h, by_params = 0.0, {}
    for term in spec.terms():
        params = {name: w[f"reg/{term.prefix}{name}"] for name in term.penalty.init()}
        value, (dx, dparams) = regcore.value_and_grad(term.spec, h, params)
        scale = term.weight * (task if term.coupled else 1.0)
        factor, total = factor + term.coupled * term.weight * value, total + (not term.coupled) * term.weight * value
        by_h = by_h + scale * dx
        by_params.update({f"reg/{term.prefix}{name}": scale * d for name, d in dparams.items()})
    by_out = factor * 2.0 * error / error.size
    by_h = by_h + by_out @ w["second/kernel"].T
    by = {
        "second/kernel": h.T @ by_out,
        "second/bias": by_out.sum(0),
        "first/kernel": x.T @ by_h,
        "first/bias": by_h.sum(0),
    }
    return task * factor + total, {name: w[name] - RATE * d for name, d in {**by, **by_params}.items()}


def assert_step(model, spec, step, x=X, y=Y):
    before = weights(model)
    loss, after = numpy_step(before, spec, x, y)
    np.testing.assert_allclose(step(model, x, y), loss, rtol=2e-6)
    got = weights(model)
    for name, expected in after.items():
        np.testing.assert_allclose(got[name], expected, rtol=2e-5, atol=2e-7, err_msg=name)
        assert not np.array_equal(got[name], before[name]), name


def train_on_batch(model, x=X, y=Y):
    return model.train_on_batch(x, y)


def fit(model, x=X, y=Y):
    return model.fit(x, y, batch_size=len(x), epochs=1, shuffle=False, verbose=0).history["loss"][0]


def traced(function):
    """As users of the library have it traced; JAX traces only what is stateless, as Keras has it do in every fit."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "torch":
        import torch

        return torch.compile(function, backend="eager")
    return function


class TestRegularize:
    @pytest.mark.parametrize("spec", [L1(), TAR(), BatchEntropy()], ids=names)
    def test_value_has_the_bits_of_numpy(self, spec):
        x = data(6, 4, 3)
        layer = Regularize(exact(added(0.5 * spec)))
        layer(x, training=True)
        expected = regcore.value(exact(added(spec)), x, spec.init())
        (entry,) = layer.report().values()
        assert entry == {"calls": 1, "value": float(expected), "coefficient": 0.5}
        (loss,) = layer.losses
        assert keras.ops.convert_to_numpy(loss) == np.float32(0.5) * expected

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_the_output_is_the_input(self, dtype):
        x = keras.ops.cast(keras.ops.convert_to_tensor(data(4, 3)), dtype)
        layer = Regularize(AR())
        assert layer(x, training=True) is x
        assert keras.backend.standardize_dtype(layer.losses[0].dtype) == "float32"
        symbol = keras.Input((None, 3), dtype=dtype)
        out = Regularize(AR())(symbol)
        assert (out.shape, out.dtype) == (symbol.shape, dtype)
        assert Regularize(AR()).compute_output_shape((None, 3)) == (None, 3)

    def test_a_step_is_that_of_numpy(self):
        assert_step(compiled(functional(added(MIXED))), added(MIXED), train_on_batch)

    def test_a_step_of_any_batch_size_is_that_of_numpy(self):
        model = compiled(functional(2.0 * L2()))
        for n in (1, 5):
            assert_step(model, 2.0 * L2(), train_on_batch, X[:n], Y[:n])

    def test_the_gradient_by_the_input_is_the_closed_form(self):
        spec, x = 3.0 * TAR(), data(2, 5, 3)
        inputs = keras.Input((5, 3))
        dense = keras.layers.Dense(4)
        model = keras.Model(inputs, Regularize(spec)(dense(inputs)))
        model.compile(keras.optimizers.SGD(RATE))
        kernel, bias = dense.get_weights()
        _, (by_output, _) = regcore.value_and_grad(spec, x @ kernel + bias)
        model.train_on_batch(x)
        by_kernel = np.einsum("bti,bto->io", x, by_output)
        np.testing.assert_allclose(dense.get_weights()[0], kernel - RATE * by_kernel, rtol=1e-5, atol=1e-6)

    def test_evaluation_and_prediction_count_nothing(self):
        model = compiled(functional(added(MIXED), RegularizedModel))
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), task, rtol=1e-6)
        assert all(math.isnan(entry["value"]) for entry in regcore_keras.report(model).values())

    def test_evaluation_counts_it_where_asked(self):
        x = data(4, 3)
        model = keras.Sequential([Regularize(2.0 * L2(), train_only=False)])
        model.compile(loss="mse")
        np.testing.assert_allclose(model.evaluate(x, x, verbose=0), 2.0 * np.mean(x**2), rtol=1e-6)

    def test_a_layer_called_twice_counts_twice(self):
        inputs, layer = keras.Input((5,)), Regularize(L2())
        model = compiled(keras.Model(inputs, keras.layers.Dense(2)(layer(2.0 * layer(inputs)))))
        task = model.evaluate(X, Y, verbose=0)
        np.testing.assert_allclose(model.train_on_batch(X, Y) - task, 5.0 * np.mean(X**2), rtol=1e-5)

    def test_a_coefficient_changes_after_compile_and_fit(self):
        model = compiled(functional(MIXED, RegularizedModel))
        fit(model)
        reg(model).set_coefficient("L2", 7.0)
        reg(model).set_coefficient("BatchEntropy", 2.0)
        assert_step(model, 2.0 * LEARNED + 7.0 * AR() + 0.1 * L1(), fit)

    def test_the_mask_of_an_embedding_counts(self):
        tokens = np.asarray([[3, 1, 2, 0, 0], [2, 2, 1, 3, 0], [1, 0, 0, 0, 0]])
        inputs = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(4, 3, mask_zero=True, embeddings_initializer="glorot_normal")(inputs)
        sequence = keras.layers.SimpleRNN(4, return_sequences=True)(x)
        x = Regularize(TAR() + AR(), name="reg")(sequence)
        model = compiled(keras.Model(inputs, keras.layers.Dense(2)(x)))
        h = keras.ops.convert_to_numpy(keras.Model(inputs, sequence)(tokens))
        model.train_on_batch(tokens, data(3, 5, 2))
        got = regcore_keras.report(model)
        for name, spec in {"reg/TAR": TAR(), "reg/L2": AR()}.items():
            expected = float(regcore.value(spec, h, mask=tokens != 0))
            assert abs(expected - float(regcore.value(spec, h))) > 1e-3
            np.testing.assert_allclose(got[name]["value"], expected, rtol=1e-5)

    def test_half_precision_is_penalized_in_float32(self):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = compiled(functional(MIXED, RegularizedModel))
        finally:
            keras.config.set_dtype_policy("float32")
        first = keras.Model(model.inputs[0], model.get_layer("first").output)
        h = keras.ops.convert_to_numpy(keras.ops.cast(first(X), "float32"))
        train_on_batch(model)
        assert {w.dtype for w in reg(model).weights} == {"float32"}
        for term in MIXED.terms():
            expected = regcore.value(term.spec, h, term.penalty.init())
            np.testing.assert_allclose(reg(model).report()[term.name]["value"], expected, rtol=1e-6, atol=1e-7)

    def test_float64_is_penalized_in_float64(self):
        if BACKEND == "jax":
            pytest.skip("JAX computes in float64 only where its x64 mode is on")
        x = data(4, 3).astype(np.float64) / 3.0
        layer = Regularize(0.1 * L1(), dtype="float64")
        layer(x, training=True)
        value = pytest.approx(np.mean(np.abs(x)), rel=1e-15)
        assert layer.report() == {"L1": {"calls": 1, "value": value, "coefficient": 0.1}}

    @pytest.mark.parametrize("time", [4, None])
    def test_a_time_distributed_layer_counts_every_step(self, time):
        x = data(3, 4, 5)
        inputs = keras.Input((time, 5))
        inner = keras.Sequential([keras.layers.Dense(2), Regularize(L2())])
        model = compiled(keras.Model(inputs, keras.layers.TimeDistributed(inner)(inputs)))
        out = model.predict(x, verbose=0)
        np.testing.assert_allclose(model.train_on_batch(x, np.zeros_like(out)), 5.0 * np.mean(out**2), rtol=1e-5)

    @pytest.mark.parametrize(
        ("mistake", "error", "message"),
        [
            (lambda: Regularize("L2"), TypeError, "Regularize got 'L2'; expected a penalty"),
            (lambda: Regularize(TAR(time_axis=2))(keras.Input((5,))), ValueError, "time_axis=2 does not exist"),
            (lambda: Regularize(TAR(time_axis=2))(X, training=True), ValueError, "time_axis=2 does not exist"),
            (lambda: Regularize(L2())([keras.Input((5,))] * 2), TypeError, "takes one tensor"),
            (lambda: Regularize(L2())(np.ones((2, 3), "int32"), training=True), TypeError, "real floating-point"),
            (lambda: Regularize(BatchEntropy())(X[:1], training=True), ValueError, "a batch of 1"),
            (lambda: Regularize(L2()).set_coefficient("AR", 1.0), ValueError, r"no term 'AR'; it has \['L2'\]"),
            (lambda: Regularize(L2()).set_coefficient("L2", math.nan), ValueError, "must be a finite number"),
        ],
    )
    def test_mistakes_are_told(self, mistake, error, message):
        with pytest.raises(error, match=message):
            mistake()

    def test_a_penalty_that_cannot_train_can_still_predict(self):
        assert Regularize(BatchEntropy())(X[:1]).shape == (1, 5)


class TestRegularizedModel:
    @pytest.mark.parametrize("spec", [AR() + coupled(2.0 * L2()), 0.5 * L2()], ids=names)
    def test_a_step_is_that_of_numpy(self, spec):
        assert_step(compiled(functional(spec, RegularizedModel)), spec, train_on_batch)

    def test_a_step_of_every_kind_of_model_is_that_of_numpy(self):
        derived = Derived(MIXED)
        derived(X)
        kinds = [functional(MIXED, RegularizedModel), derived, nested(MIXED), functional(MIXED, DerivedFunctional)]
        for model in kinds:  # side by side, because Keras would turn one into the other
            assert isinstance(model, RegularizedModel)
            assert_step(compiled(model), MIXED, train_on_batch)
        assert math.isfinite(train_on_batch(compiled(Derived(MIXED))))  # not built

    def test_a_step_compiled_by_xla_is_that_of_numpy(self):
        if BACKEND != "tensorflow":
            pytest.skip("JAX always compiles by XLA, and PyTorch never")
        assert_step(compiled(functional(MIXED, RegularizedModel), jit_compile=True), MIXED, train_on_batch)

    # Dynamo looks at the losses that Keras holds
    @pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
    def test_a_loop_by_hand_uses_compute_loss(self):
        model = compiled(functional(MIXED, RegularizedModel))
        expected, _ = numpy_step(weights(model), MIXED, X, Y)

        def loss(x, y):
            return model.compute_loss(x, y, model(x, training=True))

        for function in (loss, loss, traced(loss)):
            got = function(*map(keras.ops.convert_to_tensor, (X, Y)))
            np.testing.assert_allclose(keras.ops.convert_to_numpy(got), expected, rtol=1e-6)
        with pytest.raises(RuntimeError, match=r"reg has a loss.*compute_loss.*regcore\.added"):
            _ = model.losses

    def test_sample_weights_and_other_losses_keep_their_meaning(self):
        spec, weight = 0.5 * coupled(L2()), np.asarray([0.0, 1.0, 2.0, 1.0, 0.5, 0.5, 1.0, 3.0], np.float32)
        inputs = keras.Input((5,))
        outputs = keras.layers.Dense(2, kernel_regularizer=WeightRegularizer(L1()))(Regularize(spec)(inputs))
        model = compiled(RegularizedModel(inputs, outputs))
        kernel, bias = model.layers[-1].get_weights()
        task = np.mean(weight[:, None] * (X @ kernel + bias - Y) ** 2)
        expected = task * (1.0 + 0.5 * np.mean(X**2)) + np.mean(np.abs(kernel))
        np.testing.assert_allclose(model.train_on_batch(X, Y, sample_weight=weight), expected, rtol=1e-5)

    def test_a_model_may_have_no_loss_but_penalties(self):
        inputs = keras.Input((5,))
        model = RegularizedModel(inputs, Regularize(2.0 * L2())(keras.layers.Dense(2)(inputs)))
        model.compile("sgd")
        out = model.predict(X, verbose=0)
        np.testing.assert_allclose(model.train_on_batch(X), 2.0 * np.mean(out**2), rtol=1e-5)

    def test_a_regularizer_on_the_layer_is_added(self):
        both = Regularize(coupled(L1()), activity_regularizer=ActivityRegularizer(L2()))
        inputs = keras.Input((5,))
        model = compiled(RegularizedModel(inputs, keras.layers.Dense(2)(both(both(inputs)))))
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        expected = task * (1.0 + 2.0 * np.mean(np.abs(X))) + 2.0 * np.mean(X**2)
        np.testing.assert_allclose(model.train_on_batch(X, Y), expected, rtol=1e-5)

    @pytest.mark.parametrize("kind", ["functional", "sequential", "nested"])
    def test_a_coupled_term_elsewhere_is_an_error(self, kind):
        if kind == "nested":  # in a model that was compiled, but is not the one that trains
            inner, inputs = compiled(functional(BatchEntropy(), RegularizedModel)), keras.Input((5,))
            train_on_batch(inner)
            model = keras.Model(inputs, inner(inputs))
        else:
            model = {"functional": functional, "sequential": sequential}[kind](BatchEntropy())
        with pytest.raises(RuntimeError, match=r"reg has a loss.*RegularizedModel.*regcore\.added"):
            train_on_batch(compiled(model))

    def test_a_derived_class_cannot_be_functional(self):
        class WithoutCall(RegularizedModel):
            pass

        with pytest.raises(TypeError, match=r"WithoutCall derives from RegularizedModel.*RegularizedFunctional"):
            functional(L2(), WithoutCall)

    def test_no_tracer_is_left_behind(self):
        if BACKEND != "jax":
            pytest.skip("only JAX can check for leaked tracers")
        import jax

        with jax.checking_leaks():
            train_on_batch(compiled(functional(MIXED, RegularizedModel)))


class TestSaving:
    def test_a_model_survives(self, tmp_path):
        model = compiled(functional(MIXED, RegularizedModel))
        model.fit(X, Y, batch_size=len(X), epochs=2, verbose=0)
        reg(model).set_coefficient("L2", 3.0)
        assert weights(model)["reg/BatchEntropy_alpha"] != LEARNED.alpha
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded) is type(model)
        assert reg(loaded).spec == MIXED
        assert regcore_keras.report(loaded) == regcore_keras.report(model)
        assert train_on_batch(loaded) == train_on_batch(model)
        for name, value in weights(model).items():
            np.testing.assert_array_equal(weights(loaded)[name], value)

    def test_weights_survive(self, tmp_path):
        model = compiled(functional(added(MIXED)))
        train_on_batch(model)
        model.save_weights(tmp_path / "model.weights.h5")
        fresh = functional(added(MIXED))
        fresh.load_weights(tmp_path / "model.weights.h5")
        for name, value in weights(model).items():
            np.testing.assert_array_equal(weights(fresh)[name], value)

    def test_json_and_clones_keep_the_spec(self):
        model = functional(exact(MIXED), RegularizedModel)
        for copy in (keras.models.model_from_json(model.to_json()), keras.models.clone_model(model)):
            assert reg(copy).spec == exact(MIXED)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [(Regularize, {}), (Regularize, {"train_only": False}), (ActivityRegularizer, {}), (WeightRegularizer, {})],
    )
    def test_configs_are_json(self, kind, options):
        one = kind(0.5 * L2(), **options)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(one)))
        other = keras.saving.deserialize_keras_object(config)
        assert (type(other), other.spec) == (kind, one.spec)
        assert other.get_config() == one.get_config()
        assert other.get_config().items() >= options.items()


class TestRegularizers:
    @pytest.mark.parametrize("n", [1, 5, 8])
    def test_an_activity_counts_whatever_the_batch_size(self, n):
        inputs = keras.Input((5,))
        dense = keras.layers.Dense(4, activity_regularizer=ActivityRegularizer(0.5 * L2() + L1()))
        model = keras.Model(inputs, dense(inputs))
        model.compile(keras.optimizers.SGD(RATE))
        kernel, bias = dense.get_weights()
        value, (by_output, _) = regcore.value_and_grad(0.5 * L2() + L1(), X[:n] @ kernel + bias)
        np.testing.assert_allclose(model.train_on_batch(X[:n]), value, rtol=1e-5)
        np.testing.assert_allclose(dense.get_weights()[0], kernel - RATE * X[:n].T @ by_output, rtol=1e-5, atol=1e-6)

    def test_an_activity_counts_where_keras_does_not_divide(self, monkeypatch):
        monkeypatch.setattr("regcore_keras.regularizers._keras_divides_by_batch_size", lambda: False)
        assert float(ActivityRegularizer(L2())(keras.ops.ones((4, 3)))) == 1.0

    def test_the_probe_works_while_keras_traces(self):
        class Late(keras.layers.Layer):
            def build(self, shape):
                regcore_keras.regularizers._keras_divides_by_batch_size.cache_clear()
                self.dense = keras.layers.Dense(2, activity_regularizer=ActivityRegularizer(L2()))
                self.dense.build(shape)

            def call(self, x):
                return self.dense(x)

        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.late = Late()

            def call(self, x):
                return self.late(x)

        model = compiled(Model())
        out = model.predict(X, verbose=0)
        np.testing.assert_allclose(train_on_batch(model), np.mean((out - Y) ** 2) + np.mean(out**2), rtol=1e-5)

    def test_a_weight_counts_as_it_is(self):
        spec = 0.5 * Orthogonality(vector_axis=1)
        inputs = keras.Input((5,))
        dense = keras.layers.Dense(4, kernel_regularizer=WeightRegularizer(spec), use_bias=False)
        model = keras.Model(inputs, dense(inputs))
        model.compile(keras.optimizers.SGD(RATE))
        (kernel,) = dense.get_weights()
        value, (by_kernel, _) = regcore.value_and_grad(spec, kernel)
        np.testing.assert_allclose(model.train_on_batch(X), value, rtol=1e-6)
        np.testing.assert_allclose(dense.get_weights()[0], kernel - RATE * by_kernel, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("kind", [ActivityRegularizer, WeightRegularizer])
    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            (added(BatchEntropy()), ValueError, r"learns \['alpha'\].*regcore_keras\.Regularize"),
            (AR() + coupled(L1()), ValueError, r"\['L1'\] multiply the task loss.*Regularize"),
            (0.5, TypeError, "got 0.5; expected a penalty"),
        ],
    )
    def test_what_keras_cannot_keep_is_refused(self, kind, spec, error, message):
        with pytest.raises(error, match=message):
            kind(spec)


class TestReport:
    def test_terms_are_named_by_the_path_of_their_layer(self):
        model = compiled(nested(0.5 * BatchEntropy() + 0.3 * AR()))
        before = regcore_keras.report(model)
        assert list(before) == ["encoder.reg/BatchEntropy", "encoder.reg/L2"]
        assert all(math.isnan(entry["value"]) for entry in before.values())
        train_on_batch(model)
        after = regcore_keras.report(model)
        assert [entry["coefficient"] for entry in after.values()] == [0.5, pytest.approx(0.3)]
        assert all(math.isfinite(entry["value"]) for entry in after.values())

    def test_one_layer_is_reported_once_and_two_never_under_one_path(self):
        shared, inputs = Regularize(L2(), name="reg"), keras.Input((5,))
        one, two = keras.Sequential([shared], name="one"), keras.Sequential([shared], name="two")
        assert list(regcore_keras.report(keras.Model(inputs, two(one(inputs))))) == ["one.reg/L2"]

        class Twins(keras.Model):
            def __init__(self):
                super().__init__()
                self.one, self.two = Regularize(L2(), name="reg"), Regularize(L1(), name="reg")

        with pytest.raises(ValueError, match=r"\['reg', 'reg'\]; give each a name of its own"):
            regcore_keras.report(Twins())


def test_a_variable_is_no_array():
    with pytest.raises(TypeError, match=r"pass a keras\.Variable as its \.value"):
        L2()(keras.Variable(X))
    value = keras.ops.convert_to_numpy(L2()(keras.Variable(X).value))
    np.testing.assert_allclose(value, L2()(X), rtol=1e-6)

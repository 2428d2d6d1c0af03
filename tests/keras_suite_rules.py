"""What `regcore_keras.regularize` promises, on the backend of this process; test_keras.py runs it on every backend."""

import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras
from keras_models import LEARNED, MODELS, SEQUENCES, Mine, X, Y, compiled, dense, functional, hidden, nested, value

import regcore_keras
from regcore import AR, L1, L2, TAR, BatchEntropy
from regcore_keras import Regularized, RegularizedModel, regularize

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _same_weights():
    keras.utils.set_random_seed(1)


class TestActivations:
    @pytest.mark.parametrize("kind", MODELS)
    def test_a_site_of_every_kind_of_model_counts_and_is_saved(self, kind, tmp_path):
        make, site = MODELS[kind]
        model = compiled(regularize(make(), {site: 0.5 * AR() + LEARNED}))
        model(X)
        h, task = hidden(model), np.mean((model.predict(X, verbose=0) - Y) ** 2)
        entropy = float(BatchEntropy(alpha=0.75, correction=0)(h, LEARNED.init()))
        expected = task * (1 + 0.5 * entropy) + 0.5 * np.mean(h**2)
        np.testing.assert_allclose(model.train_on_batch(X, Y), expected, rtol=1e-5)
        assert list(regcore_keras.report(model)) == [f"{site}/L2", f"{site}/BatchEntropy"]
        np.testing.assert_allclose(value(model, f"{site}/L2"), np.mean(h**2), rtol=1e-5)
        model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert regcore_keras.report(loaded) == regcore_keras.report(model)
        fresh = regularize(make(), {site: 0.5 * AR() + LEARNED})
        fresh(X)
        fresh.load_weights(tmp_path / "model.weights.h5")
        for copy in (loaded, fresh):
            for ours, theirs in zip(copy.weights, model.weights, strict=True):
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        (alpha,) = [w.numpy() for w in model.trainable_weights if "alpha" in w.name]
        assert alpha != 0.75

    def test_layers_are_shared_and_the_model_is_left_as_it_was(self):
        plain = nested()
        model = compiled(regularize(plain, {"**.hidden": L1()}))
        assert isinstance(model, RegularizedModel)
        model.train_on_batch(X, Y)
        np.testing.assert_array_equal(plain.predict(X, verbose=0), model.predict(X, verbose=0))
        assert regcore_keras.report(plain) == {}
        assert len(plain.layers) == 3

    def test_rules_add_up_and_can_be_applied_again(self):
        model = regularize(functional(), {"hid*": L1(), "**": 0.5 * L2()})
        assert list(regcore_keras.report(model)) == ["hidden/L1", "hidden/L2", "out/L2"]
        again = compiled(regularize(regularize(functional(), {"hidden": L1()}), {"out": L2(), "weight:out.*": L1()}))
        again.train_on_batch(X, Y)
        assert [entry["calls"] for entry in regcore_keras.report(again).values()] == [1, 1, 1, 1]

    def test_a_shared_layer_counts_every_call(self):
        inputs, layer = keras.Input((5,)), dense(5, "shared", use_bias=False, kernel_initializer="identity")
        model = regularize(keras.Model(inputs, dense(2, "out")(layer(2.0 * layer(inputs)))), {"shared": L2()})
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        np.testing.assert_allclose(compiled(model).train_on_batch(X, Y) - task, 5.0 * np.mean(X**2), rtol=1e-4)
        assert regcore_keras.report(model)["shared/L2"]["calls"] == 2

    @pytest.mark.parametrize(("select", "shape"), [(None, "sequence"), (2, "state")])
    def test_of_several_outputs_the_first_counts_or_the_selected(self, select, shape):
        inputs = keras.Input((6, 5))
        sequence, h, c = keras.layers.LSTM(3, return_sequences=True, return_state=True, name="lstm")(inputs)
        plain = keras.Model(inputs, [sequence, h, c])
        outputs = plain.predict(SEQUENCES, verbose=0)
        model = regularize(plain, {"lstm": L2()}, select=select)
        model(SEQUENCES, training=True)
        expected = np.mean(outputs[2 if shape == "state" else 0] ** 2)
        np.testing.assert_allclose(value(model, "lstm/L2"), expected, rtol=1e-5)

    def test_masks_and_wrapping_layers(self):
        inputs = keras.Input((6, 5))
        x = keras.layers.Masking(name="masking")(inputs)
        x = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), name="both")(x)
        x = keras.layers.TimeDistributed(dense(4, "inner"), name="each")(x)
        x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
        plain = keras.Model(inputs, x)
        specs = {"both": TAR(), "each": L2(), "attention": L2()}
        model = regularize(plain, specs)
        model.compile(keras.optimizers.SGD(0.0))
        masked = np.where(np.arange(6)[:, None] < 4, SEQUENCES, 0.0).astype(np.float32)
        outputs = keras.Model(inputs, [plain.get_layer(name).output for name in specs]).predict(masked, verbose=0)
        model.train_on_batch(masked)
        mask = np.broadcast_to(np.arange(6) < 4, (4, 6))
        for (name, spec), h in zip(specs.items(), outputs, strict=True):
            got = value(model, f"{name}/{type(spec).__name__}")
            np.testing.assert_allclose(got, float(spec(h, mask=mask)), rtol=1e-4)

    def test_a_wrapped_layer_takes_what_the_layer_takes(self):
        layer = Regularized(keras.layers.MultiHeadAttention(2, 3, name="attention"), L2())
        x = keras.ops.convert_to_tensor(SEQUENCES)
        out = layer(x, value=x, attention_mask=np.ones((4, 6, 6), bool), training=True)
        expected = np.mean(keras.ops.convert_to_numpy(out) ** 2)
        np.testing.assert_allclose(layer.penalty.report()["L2"]["value"], expected, rtol=1e-5)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert (copy.penalty.spec, copy.name) == (L2(), "attention")


class WithStep(keras.Model):
    def train_step(self, data):
        return {}


def built():
    model = Mine()
    model(X)
    return model


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: regularize(nested(), {"hiden": L1()}), ValueError, "'hiden' matches none.*'encoder.hidden'"),
        (lambda: regularize(Mine(), {"encodr": L1()}), ValueError, "'encodr' matches none.*'encoder'"),
        (lambda: regularize(functional(), {"weight:hidden.kernl": L1()}), ValueError, "matches none.*hidden.kernel"),
        (lambda: regularize(functional(), {"hidden": "L1"}), TypeError, "the rule 'hidden' got 'L1'; expected a pen"),
        (lambda: regularize(built(), {"encoder": L1()}), ValueError, "is a Mine and built.*regularize it before"),
        (lambda: regularize(WithStep(), {}), ValueError, "WithStep has a train_step of its own"),
        (lambda: regularize(functional(), {"hidden": L1()}, select=1), ValueError, "select=1.*expected one of"),
        (lambda: regularize(functional(), {"hidden": L1()}, mode="add"), ValueError, "mode='add'; expected"),
        (lambda: regularize(functional(), {"hidden": LEARNED}, mode="attach"), ValueError, "multiplies the task loss"),
    ],
)
def test_mistakes_are_told(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()

"""What rules for weights promise in Keras, on the backend of this process; test_keras.py runs it on every backend."""

import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras
from keras_models import LEARNED, Mine, X, Y, compiled, dense, functional, hidden

import regcore
import regcore_keras
from regcore import L1, L2, BatchEntropy, added, every
from regcore.parametrizations import Exp
from regcore_keras import Parametrized, regularize

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _same_weights():
    keras.utils.set_random_seed(1)


class TestWeights:
    def test_tied_weights_count_once(self):
        inputs, tied = keras.Input((5,)), dense(5, "tied")
        block = keras.Model(inputs, tied(inputs), name="block")
        model = keras.Model(inputs, dense(2, "out")(tied(block(inputs))))
        for glob in ("**.tied.kernel", "block.**.kernel"):
            rules = {f"weight:{glob}": L2()}
            (site,) = regcore_keras.report(regularize(model, rules))
            assert site in ("weight:block.tied.kernel/L2", "weight:tied.kernel/L2")

    def test_effective_weights_count_and_are_saved(self, tmp_path):
        inputs, tied = keras.Input((5,)), dense(5, "tied")
        positive = Parametrized(dense(2, "inner", kernel_initializer="ones"), {"kernel": Exp()}, name="positive")
        model = keras.Model(inputs, positive(tied(inputs)))
        model = compiled(regularize(model, {"weight:**.kernel": L2(), "weight:tied.kernel": added(LEARNED)}))
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        kernel, _ = tied.get_weights()
        entropy = float(regcore.value(BatchEntropy(alpha=0.75, correction=0), kernel, LEARNED.init()))
        expected = task + np.mean(kernel**2) + 1.0 + 0.5 * entropy
        np.testing.assert_allclose(model.train_on_batch(X, Y), expected, rtol=1e-5)
        keys = ["weight:tied.kernel/L2", "weight:tied.kernel/BatchEntropy", "weight:positive.kernel/L2"]
        assert sorted(regcore_keras.report(model)) == sorted(keys)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert regcore_keras.report(loaded) == regcore_keras.report(model)
        assert loaded.train_on_batch(X, Y) == model.train_on_batch(X, Y)

    def test_a_penalty_of_every_third_step_counts_three_times_on_it(self, tmp_path):
        plain = functional()
        kernel, _ = plain.get_layer("out").get_weights()
        rules = {"weight:out.kernel": 0.5 * every(3, L2())}
        model = regularize(plain, rules)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        extra = 3.0 * 0.5 * np.mean(kernel**2)
        expected = [task + extra, task, task, task + extra, task]
        np.testing.assert_allclose([model.train_on_batch(X, Y) for _ in range(5)], expected, rtol=1e-5)
        (row,) = regcore_keras.report(model).values()
        assert (row["calls"], row["coefficient"]) == (5, 0.5)
        np.testing.assert_allclose(row["value"], np.mean(kernel**2), rtol=1e-6)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")  # which goes on with the sixth step
        np.testing.assert_allclose([loaded.train_on_batch(X, Y) for _ in range(2)], [task, task + extra], rtol=1e-5)

    def test_a_penalty_of_some_steps_is_for_weights(self):
        with pytest.raises(ValueError, match="the rule 'out' counts on some steps only; that is for weights: weight:"):
            regularize(functional(), {"out": every(2, L2())})

    def test_a_step_is_that_of_the_closed_form_in_training_alone(self):
        plain = functional()
        before = plain.get_layer("out").get_weights()[0]
        model = compiled(regularize(plain, {"weight:out.kernel": 3.0 * L2()}), rate=1.0)
        task = np.mean((model.predict(X, verbose=0) - Y) ** 2)
        np.testing.assert_allclose(model.evaluate(X, Y, verbose=0), task, rtol=1e-6)
        h = hidden(model)
        error = model.predict(X, verbose=0) - Y
        _, (by_kernel, _) = regcore.value_and_grad(3.0 * L2(), before)
        expected = before - by_kernel - 2 * h.T @ error / error.size
        np.testing.assert_allclose(model.train_on_batch(X, Y), task + 3.0 * np.mean(before**2), rtol=1e-5)
        np.testing.assert_allclose(plain.get_layer("out").get_weights()[0], expected, rtol=1e-4, atol=1e-6)

    def test_of_a_derived_model_once_it_is_built(self, tmp_path):
        model = compiled(regularize(Mine(), {"encoder": L1()}))
        with pytest.raises(ValueError, match="has none yet: build it first"):
            regularize(Mine(), {"weight:**.kernel": L2()})
        built = Mine()
        built(X)
        model = compiled(regularize(built, {"weight:**.kernel": L2()}))
        loss = model.train_on_batch(X, Y)
        assert list(regcore_keras.report(model)) == ["weight:encoder.kernel/L2", "weight:out.kernel/L2"]
        assert loss > model.evaluate(X, Y, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.train_on_batch(X, Y) == model.train_on_batch(X, Y)

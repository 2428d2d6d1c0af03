"""What the callbacks and `fit` promise, with the code of docs/keras.md, on the backend of this process."""

import pathlib
import re
import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)

import keras

import regcore
import regcore_keras
from regcore import AR, L1, L2, BatchEntropy
from regcore.schedules import Linear
from regcore_keras import LogTerms, Regularize, RegularizedModel, ScheduleCallback, regularize

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
BACKEND = keras.backend.backend()
RATE = 0.1
X = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(16, 2)).astype(np.float32)
SPEC = 0.5 * L2() + 0.25 * BatchEntropy(alpha=0.75, correction=0)
DOCS = pathlib.Path(__file__).parent.parent / "docs" / "keras.md"


def model_of(spec=SPEC, optimizer=None, **options):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    h = keras.layers.Dense(4, name="hidden")(inputs)
    model = regularize(keras.Model(inputs, keras.layers.Dense(2, name="out")(h)), {"hidden": spec})
    model.compile(optimizer or keras.optimizers.SGD(RATE), "mse", **options)
    return model


def fit(model, epochs=1, batch=8, **options):
    return model.fit(X, Y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0, **options)


def by_hand(w, x, y, weights):
    """Loss, terms and gradients in float64: `task * (1 + b * entropy) + a * L2` with weights (a, b)."""
    kernel, bias, out, out_bias, alpha = w
    h = x @ kernel + bias
    error = h @ out + out_bias - y
    task = np.mean(error**2)
    l2, (by_l2, _) = regcore.value_and_grad(L2(), h)
    entropy, (by_entropy, by_alpha) = regcore.value_and_grad(BatchEntropy(correction=0), h, {"alpha": alpha})
    a, b = weights
    by_out = (1 + b * entropy) * 2 * error / error.size
    by_h = by_out @ out.T + a * by_l2 + task * b * by_entropy
    gradients = x.T @ by_h, by_h.sum(0), h.T @ by_out, by_out.sum(0), task * b * by_alpha["alpha"]
    return task * (1 + b * entropy) + a * l2, (l2, entropy), gradients


def weights_of(model):
    hidden, out = model.get_layer("hidden"), model.get_layer("out")
    (alpha,) = [w.numpy() for w in model.trainable_weights if "alpha" in w.name]
    return [np.asarray(w, np.float64) for w in (*hidden.get_weights(), *out.get_weights(), alpha)]


def test_the_history_is_that_of_a_loop_by_hand():
    model = model_of()
    w, losses, terms = weights_of(model), [], []
    history = fit(model, 3, 16, callbacks=[LogTerms()]).history
    for _ in range(3):
        loss, values, gradients = by_hand(w, X, Y, (0.5, 0.25))
        w = [value - RATE * by for value, by in zip(w, gradients, strict=True)]
        losses.append(loss)
        terms.append(values)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    got = np.transpose([history["hidden/L2"], history["hidden/BatchEntropy"]])
    np.testing.assert_allclose(got, terms, rtol=1e-4, atol=1e-9)
    for ours, theirs in zip(weights_of(model), w, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_are_the_mean():
    model = model_of(optimizer=keras.optimizers.SGD(RATE, gradient_accumulation_steps=2))
    w = weights_of(model)
    fit(model)
    halves = [by_hand(w, X[i : i + 8], Y[i : i + 8], (0.5, 0.25))[2] for i in (0, 8)]
    for ours, before, first, second in zip(weights_of(model), w, *halves, strict=True):
        np.testing.assert_allclose(ours, before - RATE * (first + second) / 2, rtol=1e-4, atol=1e-6)


def test_steps_per_execution_and_jit():
    if BACKEND == "torch":
        pytest.skip("Keras has no steps_per_execution on PyTorch, and its jit_compile needs a C compiler")
    expected, model = model_of(), model_of(steps_per_execution=2, jit_compile=True)
    fit(expected)
    fit(model)
    for ours, theirs in zip(weights_of(model), weights_of(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert regcore_keras.report(model)["hidden/L2"]["calls"] == 2


SCHEDULES = {"hidden/L2": Linear(start=0.0, stop=4.0, steps=4)}


def test_a_schedule_counts_every_step_and_resumes(tmp_path):
    model, path = model_of(), tmp_path / "model.keras"
    w = weights_of(model)
    callbacks = [ScheduleCallback(SCHEDULES), keras.callbacks.ModelCheckpoint(path)]
    fit(model, callbacks=callbacks)  # two steps
    resumed = keras.saving.load_model(path)
    fit(resumed, callbacks=[ScheduleCallback(SCHEDULES)])
    for step in range(4):
        half = slice(8 * (step % 2), 8 * (step % 2) + 8)
        _, _, gradients = by_hand(w, X[half], Y[half], (float(step), 0.25))
        w = [value - RATE * by for value, by in zip(w, gradients, strict=True)]
    for ours, theirs in zip(weights_of(resumed), w, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert regcore_keras.report(resumed)["hidden/L2"]["coefficient"] == 3.0


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: ScheduleCallback({"hidden/L2": 3.0}), TypeError, "'hidden/L2' got 3.0; expected a schedule"),
        (
            lambda: fit(model_of(), callbacks=[ScheduleCallback({"hidden/L1": lambda step: 1.0})]),
            ValueError,
            r"no terms \['hidden/L1'\] to schedule; it has \['hidden/BatchEntropy', 'hidden/L2'\]",
        ),
    ],
)
def test_mistakes_are_told(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()


def test_there_is_nothing_to_log():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no Regularize layers, so nothing to log"):
        fit(model, callbacks=[LogTerms()])


def test_what_is_trainable_when_it_was_compiled_trains():
    """Keras itself holds to what `compile` saw: a penalty that is thawed later must be compiled again."""
    model = model_of()
    penalty = regcore_keras.sites.penalty_sites(model)["hidden"]
    penalty.trainable = False
    model.compile(keras.optimizers.SGD(RATE), "mse")
    (alpha,) = [w for w in penalty.weights if "alpha" in w.name]
    before = alpha.numpy()
    fit(model)
    assert alpha.numpy() == before
    penalty.trainable = True
    if BACKEND == "tensorflow":  # goes on with what it traced, and says nothing
        fit(model)
        assert alpha.numpy() == before
    else:
        with pytest.raises(Exception, match=r"compile|unknown variable|cannot recognize|variables"):
            fit(model)
    if BACKEND == "jax":  # where Keras leaves a model that raised in fit without its weights
        return
    model.compile(keras.optimizers.SGD(RATE), "mse")
    fit(model)
    assert alpha.numpy() != before


def test_two_models_of_one_layer_and_a_layer_in_both():
    layer = Regularize(AR() + L1(), name="reg")
    for _ in range(2):
        inputs = keras.Input((5,))
        model = RegularizedModel(inputs, keras.layers.Dense(2)(layer(inputs)))
        model.compile("sgd", "mse")
        assert np.isfinite(model.train_on_batch(X, Y))
    assert layer.report()["L2"]["calls"] == 2


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(block, scope)

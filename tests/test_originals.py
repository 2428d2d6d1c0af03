"""The presets against what their originals compute, written out in plain loops from the published formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import regcore
from regcore import SelfModel, get, value, value_and_grad

entries = st.integers(-8, 8).map(float)
states = arrays(np.float64, st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(1, 3)), elements=entries)
layers = st.lists(arrays(np.float64, (4, 3), elements=entries), min_size=1, max_size=3)


def mean(numbers):
    numbers = list(numbers)
    return math.fsum(numbers) / len(numbers)


def awd_lstm(raw, dropped, alpha, beta):
    """(time, batch, hidden): the terms that the training loop adds to the loss of a segment."""
    times, batch, hidden = raw.shape
    every = [(b, h) for b in range(batch) for h in range(hidden)]
    ar = mean(dropped[t, b, h] ** 2 for t in range(times) for b, h in every)
    tar = mean((raw[t, b, h] - raw[t - 1, b, h]) ** 2 for t in range(1, times) for b, h in every)
    return alpha * ar + beta * tar


@given(states, st.integers(0, 99))
def test_awd_lstm_has_time_first_and_fastai_the_batch(raw, seed):
    dropped = raw * np.random.default_rng(seed).choice([0.0, 2.0], size=raw.shape)
    expected = awd_lstm(raw, dropped, alpha=2.0, beta=1.0)
    ours = value(get("awd_lstm_ar"), dropped) + value(get("awd_lstm_tar"), raw)
    assert ours == pytest.approx(expected, rel=1e-14)
    raw, dropped = np.swapaxes(raw, 0, 1), np.swapaxes(dropped, 0, 1)
    assert value(get("fastai_ar"), dropped) + value(get("fastai_tar"), raw) == pytest.approx(expected, rel=1e-14)


def test_the_axis_that_fastai_once_had_is_another_number():
    """fastai 1.0.38 took the first axis of (batch, time, hidden); no training metric tells, only numbers do."""
    raw = np.asarray([[[0.0], [1.0], [3.0]], [[0.0], [1.0], [3.0]]])
    assert value(get("fastai_tar"), raw) == 2.5
    assert value(get("awd_lstm_tar"), raw) == 0.0


def test_a_batch_of_one_and_a_single_step():
    """fastai's guard tests the length of the batch, so it leaves the first out and is NaN for the second."""
    assert value(get("fastai_tar"), np.asarray([[[0.0], [2.0]]])) == 4.0
    assert value(get("fastai_tar"), np.asarray([[[2.0]]])) == 0.0


def layer_batch_entropy(x, alpha, alpha_min, beta, correction):
    """One layer: beta (H - max(alpha_min, |alpha|))^2, with the variance of each unit over the batch."""
    entropies = []
    for unit in x.T:
        centre = mean(unit)
        variance = math.fsum((entry - centre) ** 2 for entry in unit) / (len(unit) - correction)
        entropies.append(0.5 * math.log(math.pi * math.e * variance + 1.0))
    return beta * (mean(entropies) - max(alpha_min, abs(alpha))) ** 2


PUBLISHED = {  # correction, and the strength, alpha, alpha_min and beta of each
    "lbe_torch": {"strength": 1.0, "alpha": 0.5, "alpha_min": 0.2, "beta": 0.5, "correction": 1},
    "lbe_tf": {"strength": 1.5, "alpha": 0.5, "alpha_min": 0.3, "beta": 0.2, "correction": 0},
}


@pytest.mark.parametrize("preset", PUBLISHED)
@given(layers, st.floats(0.125, 8.0))
def test_layer_batch_entropy_multiplies_the_task_by_one_plus_the_mean_over_layers(preset, xs, task):
    published = dict(PUBLISHED[preset])
    strength = published.pop("strength")
    expected = task * (1.0 + strength * mean(layer_batch_entropy(x, **published) for x in xs))
    terms = []
    for x in xs:
        spec = get(preset, weight=strength / len(xs))
        (term,) = spec.terms()
        terms.append((term.weight, value(term.spec, x, term.select(spec.init())), term.coupled))
    assert regcore.combine(task, terms) == pytest.approx(expected, rel=1e-6)  # alpha is a float32


def self_modeling(x, target, W, b):
    """The mean squared error, over samples and features, of predicting the target from x."""
    errors = []
    for sample, wanted in zip(x, target, strict=True):
        for row, bias, entry in zip(W, b, wanted, strict=True):
            errors.append((math.fsum(w * a for w, a in zip(row, sample, strict=True)) + bias - entry) ** 2)
    return mean(errors)


@given(arrays(np.float64, (4, 3), elements=entries), st.integers(0, 99))
def test_self_modeling_with_its_target_detached(x, seed):
    spec = get("selfmodel_2024", features=3, seed=seed)
    params = {name: array.astype(np.float64) for name, array in spec.init().items()}
    W, b = params["W"], params["b"]
    result, (dx, dparams) = value_and_grad(spec, x, params)
    assert result == pytest.approx(self_modeling(x, x, W, b), rel=1e-13)
    for array, gradient, at in (
        (x, dx, lambda moved: self_modeling(moved, x, W, b)),  # the target stays where it was
        (W, dparams["W"], lambda moved: self_modeling(x, x, moved, b)),
        (b, dparams["b"], lambda moved: self_modeling(x, x, W, moved)),
    ):
        for index in np.ndindex(array.shape):
            up, down = array.copy(), array.copy()
            up[index] += 0.5
            down[index] -= 0.5
            assert gradient[index] == pytest.approx(at(up) - at(down), rel=1e-9, abs=1e-9)  # a quadratic: exact


def both_halves(spec, **changes):
    return [SelfModel(features=spec.features, gradient=g, **changes) for g in ("target_detached", "input_detached")]


@given(arrays(np.float64, (4, 3), elements=entries), st.integers(0, 99))
def test_the_two_detached_gradients_add_up_to_the_full_one(x, seed):
    full = SelfModel(features=3, gradient="full", seed=seed)
    halves = [value_and_grad(spec, x, full.init())[1][0] for spec in both_halves(full, seed=seed)]
    np.testing.assert_allclose(sum(halves), value_and_grad(full, x, full.init())[1][0], rtol=1e-12, atol=1e-12)


@given(arrays(np.float64, (5, 3), elements=entries), st.integers(0, 99))
def test_the_gradient_by_w_is_twice_the_error_times_the_second_moment(x, seed):
    """2 E A A^T with E = W - 1 and samples as the columns of A, for b = 0 and the sum."""
    rng = np.random.default_rng(seed)
    W, E = (w := rng.normal(size=(3, 3))), w - np.eye(3)
    spec = SelfModel(features=3, reduction="sum")
    _, (_, dparams) = value_and_grad(spec, x, {"W": W, "b": np.zeros(3)})
    np.testing.assert_allclose(dparams["W"], 2 * E @ x.T @ x, rtol=1e-10, atol=1e-10)


@given(arrays(np.float64, (5, 3), elements=entries), st.integers(0, 99))
def test_the_batch_matters_through_its_mean_and_covariance_only(x, seed):
    """tr(E S E^T) + |E mu + b|^2, per sample."""
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(3, 3)), rng.normal(size=3)
    E, mu = W - np.eye(3), x.mean(axis=0)
    S = (x - mu).T @ (x - mu) / len(x)
    spec = SelfModel(features=3, reduction="batch_mean")
    expected = np.trace(E @ S @ E.T) + ((E @ mu + b) ** 2).sum()
    assert value(spec, x, {"W": W, "b": b}) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@given(arrays(np.float64, (4, 2), elements=entries), arrays(np.float64, (4, 3), elements=entries))
def test_targets_of_another_layer(x, targets):
    spec = SelfModel(features=2, targets=3)
    params = spec.init()
    result, (_, dparams) = value_and_grad(spec, x, params, targets=targets)
    assert result == pytest.approx(self_modeling(x, targets, params["W"], params["b"]), rel=1e-6)
    assert not dparams["targets"].any()
    _, (dx, _) = value_and_grad(SelfModel(features=2, targets=3, gradient="input_detached"), x, params, targets=targets)
    assert not dx.any()


def test_a_self_model_that_starts_at_the_identity_has_nothing_to_learn_and_says_so():
    with pytest.warns(UserWarning, match="value and gradient are 0 and stay 0"):
        spec = SelfModel(features=2, initial="identity")
    result, (dx, dparams) = value_and_grad(spec, np.asarray([[1.0, 2.0], [3.0, 4.0]]), spec.init())
    assert result == 0
    assert not any(array.any() for array in (dx, *dparams.values()))


def test_the_start_of_a_self_model_is_that_of_a_linear_layer():
    params = SelfModel(features=400, seed=3).init()
    assert params["W"].dtype == np.float32
    assert abs(params["W"]).max() == pytest.approx(1 / 20, rel=1e-3)
    assert params["W"].std() == pytest.approx(1 / 20 / math.sqrt(3), rel=1e-2)
    assert SelfModel(features=400, seed=4).init()["b"][0] != params["b"][0]

"""What a network has learned: the measures agree with theory, within errors that mean something."""

import math
import re

import numpy as np
import pytest

from regcore import langevin
from regcore.complexity import default_nbeta, local_learning_coefficient, mean_square, weight_sd

CURVATURE = np.geomspace(1.0, 4.0, 10)


def quadratic(w):
    return 0.5 * np.sum(CURVATURE * w * w), CURVATURE * w


def quartic(w):
    return np.sum(w**4), 4 * w**3


def product(w):
    a, b = w["a"], w["b"]
    return np.sum((a * b) ** 2), {"b": 2 * a * a * b, "a": 2 * a * b * b}


def estimate(function=quadratic, start=None, **settings):
    start = np.zeros(10) if start is None else start
    return local_learning_coefficient(
        function, start, **({"nbeta": 1e4, "step_size": 8e-6, "localization": 1} | settings)
    )


QUARTIC = {"nbeta": 1e4, "step_size": 1e-4, "localization": 1.0, "multiplicity": 1, "burn_in": 200}
PRODUCT = {"nbeta": 100.0, "step_size": 2e-3, "localization": 1.0}
ANALYTIC = {  # many copies of one model are a model with a known coefficient too, and sharper as a test
    "quadratic": (quadratic, np.zeros(10), 5.0, {}),
    "quartic": (quartic, np.zeros(1), 0.25, QUARTIC),
    "product": (product, {"a": np.zeros(1), "b": np.zeros(1)}, 0.5, PRODUCT),
    "32 quartics": (quartic, np.zeros(32), 8.0, QUARTIC),
    "32 products": (product, {"a": np.zeros(32), "b": np.zeros(32)}, 16.0, PRODUCT | {"multiplicity": 33}),
    "quadratic beside flat directions": (
        lambda w: (quadratic(w[:10])[0], np.concatenate([quadratic(w[:10])[1], np.zeros(30)])),
        np.zeros(40),
        5.0,
        {},
    ),
}


@pytest.fixture(scope="module")
def estimates():
    return {name: estimate(function, start, **settings) for name, (function, start, _, settings) in ANALYTIC.items()}


class TestAnalyticModels:
    @pytest.mark.parametrize("name", ANALYTIC)
    def test_the_value_is_within_its_error(self, estimates, name):
        llc, expected = estimates[name], ANALYTIC[name][2]
        assert abs(llc.value - expected) <= llc.error, llc
        assert not llc.warnings

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("quadratic", 4.0),  # two parameters less
            ("quadratic", 6.0),
            ("32 quartics", 16.0),  # as if the minimum were regular
            ("32 products", 32.0),
            ("quadratic beside flat directions", 20.0),  # as if they counted
        ],
    )
    def test_the_error_excludes_what_is_wrong(self, estimates, name, wrong):
        llc = estimates[name]
        assert abs(llc.value - wrong) > llc.error

    def test_the_error_of_a_regular_model_is_a_few_percent(self, estimates):
        assert estimates["quadratic"].error < 0.15 * 5
        assert estimates["32 quartics"].error < 0.15 * 8

    def test_the_standard_error_is_that_of_repeated_estimates(self):
        runs = [estimate(seed=seed, draws=160, burn_in=40) for seed in range(16)]
        spread = np.std([run.value for run in runs], ddof=1)
        stated = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
        assert 0.6 * spread < stated < 2 * spread


class TestPlantedBugs:
    """Wrong code gives a value that its error excludes."""

    @pytest.mark.parametrize("factor", [2**0.5, 0.5**0.5])
    def test_noise_of_another_variance(self, monkeypatch, factor):
        normal = langevin._normal
        monkeypatch.setattr(langevin, "_normal", lambda *arguments: factor * normal(*arguments))
        llc = estimate()
        assert abs(llc.value - 5) > llc.error

    @pytest.mark.parametrize("factor", [2.0, 0.5])
    def test_a_gradient_of_another_scale(self, factor):
        llc = estimate(lambda w: (quadratic(w)[0], factor * quadratic(w)[1]))
        assert abs(llc.value - 5) > llc.error

    def test_chains_that_share_their_noise(self):
        llc = estimate(draws=50, burn_in=50)
        assert len(set(llc.chains)) == 4


class TestParts:
    def test_long_steps_shift_a_quadratic_by_what_is_stated(self):
        llc = estimate(step_size=6e-5)
        assert llc.value - 5 > 4 * llc.standard_error
        assert abs(llc.value - llc.discretization - 5) < 3 * llc.standard_error
        assert "lower step_size" in " ".join(llc.warnings)

    def test_noisy_gradients_are_part_of_it(self):
        noise = np.random.default_rng(0)
        llc = estimate(lambda w: (quadratic(w)[0], quadratic(w)[1] + 0.02 * noise.normal(size=10)))
        assert llc.discretization > 1.15 * estimate().discretization
        assert abs(llc.value - llc.discretization - 5) < 3 * llc.standard_error

    def test_a_strong_pull_shifts_a_quadratic_by_what_is_stated(self):
        llc = estimate(localization=3e3, step_size=4e-6)
        assert 5 - llc.value > 4 * llc.standard_error
        assert abs(llc.value + llc.localization - llc.discretization - 5) < 3 * llc.standard_error

    def test_a_value_that_rises_with_nbeta_is_noticed(self):
        function, start, _, settings = ANALYTIC["32 quartics"]
        llc = estimate(
            function, start, **(settings | {"nbeta": 3.0, "step_size": 2e-2, "localization": 10.0, "multiplicity": 1})
        )
        assert llc.slope > 3 * llc.slope_error
        assert "rises with nbeta" in " ".join(llc.warnings)

    def test_the_error_adds_up(self):
        llc = estimate(draws=100)
        assert llc.error == 2 * llc.standard_error + llc.discretization + llc.localization + llc.temperature
        assert llc.temperature == 1 / math.log(1e4)
        assert estimate(draws=100, multiplicity=1).temperature == 0

    def test_chains_and_trace_are_kept(self):
        llc = estimate(chains=3, draws=100)
        assert llc.trace.shape == (3, 100)
        np.testing.assert_allclose(llc.chains, 1e4 * llc.trace.mean(axis=1))
        assert math.isclose(llc.value, np.mean(llc.chains))

    def test_print_shows_the_error_and_the_warnings(self):
        assert re.fullmatch(r"[\d.]+ \+- [\d.]+ \(standard_error .*, rhat [\d.]+\)", str(estimate(draws=100, chains=1)))
        assert "\nwarning: " in str(estimate(step_size=6e-5, draws=100))


def test_weight_sd_and_mean_square(library):
    w = library.asarray(np.asarray([[1.0, 3.0], [1.0, 3.0]], np.float32))
    assert library.asnumpy(weight_sd(w)) == 1
    assert library.asnumpy(weight_sd(w, correction=1)) == pytest.approx(math.sqrt(4 / 3))
    assert library.asnumpy(mean_square(w)) == 5
    assert "float32" in str(weight_sd(w).dtype)


def test_weight_sd_is_no_function_of_the_network_alone():
    """With ReLU, twice the first layer and half the last compute the same; only the pair of measures shows it."""
    rng = np.random.default_rng(0)
    x, first, last = rng.normal(size=(8, 5)), rng.normal(size=(5, 6)), rng.normal(size=(6, 3))
    a, b = np.maximum(x @ first, 0), np.maximum(x @ (2 * first), 0)
    np.testing.assert_array_equal(a @ last, b @ (last / 2))
    assert weight_sd(last / 2) == weight_sd(last) / 2
    assert mean_square(b) == 4 * mean_square(a)


def test_weight_sd_far_from_zero():
    w = 1000 + np.asarray([-1.0, 1.0] * 5000, np.float32)
    assert weight_sd(w) == 1
    assert weight_sd(np.full(70000, 1 / 3, np.float16)) < 1e-7
    assert math.isnan(weight_sd(np.asarray([1.0, np.nan])))


def test_weight_sd_and_default_nbeta_refuse_what_they_cannot_measure():
    with pytest.raises(ValueError, match="0 entries and correction=0; expected more"):
        weight_sd(np.ones((0, 3)))
    with pytest.raises(ValueError, match="1 entries and correction=1; expected more"):
        weight_sd(np.ones(1), correction=1)
    with pytest.raises(TypeError, match="weights has dtype int64; expected real floating"):
        weight_sd(np.arange(3))
    with pytest.raises(ValueError, match="n=1; expected the number of training samples"):
        default_nbeta(1)
    assert default_nbeta(512) == pytest.approx(82.07, abs=0.01)

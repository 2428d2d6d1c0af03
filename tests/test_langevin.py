"""The walk of the learning coefficient: forms of parameters, random losses, preconditioners, and what goes wrong."""

import collections
import math

import numpy as np
import pytest
from test_complexity import estimate, quadratic, quartic

from regcore import langevin
from regcore.complexity import default_nbeta


class TestWhatGoesWrong:
    def test_a_start_on_a_slope_is_noticed(self):
        llc = estimate(start=np.full(10, 0.3))
        assert llc.value < 0
        assert "no local minimum" in " ".join(llc.warnings)

    def test_chains_that_have_not_settled_are_noticed(self):
        llc = estimate(step_size=1e-7, burn_in=0, draws=200)
        assert llc.rhat > 1.1
        assert "chains disagree" in " ".join(llc.warnings)

    def test_divergence_names_chain_step_and_remedy(self):
        with pytest.raises(
            FloatingPointError, match=r"chain 0, step \d+ of 1500: the loss is (inf|nan).*lower step_size"
        ):
            estimate(quartic, step_size=1.0)

    def test_a_loss_that_is_not_finite_at_the_start(self):
        with pytest.raises(FloatingPointError, match="loss at start is nan"):
            estimate(lambda w: (math.nan, w))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"nbeta": 1.0}, "nbeta is 1.0; expected a finite number above 1"),
            ({"nbeta": math.inf}, "nbeta is inf"),
            ({"step_size": 0.0}, "step_size is 0.0; expected a finite number above 0"),
            ({"localization": -1.0}, "localization is -1.0; expected a finite number from 0"),
            ({"chains": 0}, "chains is 0"),
            ({"draws": 15}, "draws is 15; expected a finite number from 16"),
            ({"burn_in": -1}, "burn_in is -1"),
            ({"seed": -1}, "seed is -1"),
            ({"multiplicity": 0}, "multiplicity is 0"),
            ({"start": {}}, "start has no array"),
            ({"preconditioner": np.ones(9)}, r"preconditioner start has shape \(9,\); expected \(10,\)"),
            ({"preconditioner": np.zeros(10)}, "not positive and finite"),
            ({"preconditioner": np.full(10, np.nan)}, "not positive and finite"),
            ({"preconditioner": np.full(10, np.inf)}, "not positive and finite"),
            ({"preconditioner": [np.ones(10)]}, r"preconditioner lacks \['start'\] and has unknown \['0'\]"),
            ({"function": lambda w: (w, w)}, r"the loss has shape \(10,\); expected one number"),
            ({"function": lambda w: (1.0, None)}, r"the gradient by start is None; expected shape \(10,\)"),
            ({"function": lambda w: (1.0, w[:9])}, r"the gradient by start is shape \(9,\)"),
            ({"function": lambda w: (1.0, {"w": w})}, "the gradient lacks .* expected the form of start"),
        ],
    )
    def test_bad_values_are_refused_at_once(self, settings, message):
        with pytest.raises(ValueError, match=message):
            estimate(**settings)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"chains": 2.0}, "chains is 2.0; expected a whole number"),
            ({"step_size": "small"}, "step_size is 'small'; expected a real number"),
            ({"start": {"weight": np.ones(2), "steps": np.asarray(3)}}, "steps has dtype int64; .*leave out counters"),
            ({"start": {"weight": None}}, "NoneType; expected an array"),
        ],
    )
    def test_bad_types_are_refused_at_once(self, settings, message):
        with pytest.raises(TypeError, match=message):
            estimate(**settings)


class TestRandomLoss:
    """A regression by mini-batches: its coefficient is half the number of its 5 parameters."""

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 5))
    y = rng.normal(size=1000)
    minimum = np.linalg.lstsq(x, y, rcond=None)[0]
    settings: dict = {"nbeta": default_nbeta(1000), "step_size": 2e-3, "localization": 0.1}  # noqa: RUF012

    def batches(self):
        rng = np.random.default_rng(1)
        while True:
            rows = rng.integers(1000, size=250)
            yield self.x[rows], self.y[rows]

    @staticmethod
    def loss(w, x, y):
        return 0.5 * np.mean((x @ w - y) ** 2)

    def test_the_noise_of_the_loss_at_the_start_is_in_the_error(self):
        batches = self.batches()

        def value_and_grad(w):
            x, y = next(batches)
            return self.loss(w, x, y), (x @ w - y) @ x / len(y)

        llc = estimate(value_and_grad, self.minimum, **self.settings)
        known = estimate(
            value_and_grad, self.minimum, **self.settings, loss_at_start=self.loss(self.minimum, self.x, self.y)
        )
        assert abs(llc.value - 2.5) <= llc.error
        assert abs(known.value - 2.5) <= known.error
        assert llc.standard_error > 2 * known.standard_error
        assert "the loss is random" in " ".join(llc.warnings)

    def test_the_difference_on_the_same_batch_is_sharper(self):
        batches = self.batches()

        def value_and_grad(w):
            x, y = next(batches)
            return self.loss(w, x, y) - self.loss(self.minimum, x, y), (x @ w - y) @ x / len(y)

        llc = estimate(value_and_grad, self.minimum, **self.settings, loss_at_start=0.0)
        assert abs(llc.value - 2.5) <= llc.error < 1.0
        assert not llc.warnings


class TestPreconditioner:
    curvature = np.geomspace(1.0, 1e4, 10)

    def stiff(self, w):
        return 0.5 * np.sum(self.curvature * w * w), self.curvature * w

    def test_it_reaches_what_plain_steps_do_not(self):
        settings = {"nbeta": 1e3, "localization": 1.0}
        scaled = estimate(self.stiff, **settings, step_size=1e-4, preconditioner=1 / self.curvature)
        plain = estimate(self.stiff, **settings, step_size=1e-8)
        assert abs(scaled.value - 5) <= scaled.error < 1.0
        assert not scaled.warnings
        assert abs(plain.value - 5) > plain.error

    def test_the_density_stays_the_same(self):
        llc = estimate(preconditioner=np.linspace(0.3, 1.0, 10))
        assert abs(llc.value - 5) <= llc.error < 0.75


Pair = collections.namedtuple("Pair", "weight bias")


class TestParameters:
    trees = pytest.mark.parametrize(
        "tree",
        [
            np.ones(2),
            {"b": np.ones(2), "a": [np.ones(()), (np.ones(3), np.ones(1))]},
            collections.OrderedDict(b=np.ones(2), a=np.ones(3)),
            [Pair(np.ones((2, 3)), np.ones(2)), Pair(np.ones(1), np.ones(1))],
        ],
    )

    @trees
    def test_the_loss_sees_the_form_of_the_start(self, tree):
        def form(tree):
            if isinstance(tree, dict):
                return type(tree), [(key, form(child)) for key, child in tree.items()]
            return (type(tree), [*map(form, tree)]) if isinstance(tree, list | tuple) else (tree.shape, tree.dtype)

        def value_and_grad(params):
            assert form(params) == form(tree)
            return sum(0.5 * np.sum(array**2) for _, array in langevin._arrays(params)), params

        assert estimate(value_and_grad, tree, draws=16, burn_in=0).trace.shape == (4, 16)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_the_dtype_is_kept_and_the_start_is_left_alone(self, dtype):
        start = np.zeros(10, dtype)

        def in_place(w):
            assert w.dtype == dtype
            value, grad = quadratic(w)
            w += 1
            return value, grad.astype(dtype)

        assert estimate(in_place, start).value == pytest.approx(5, abs=0.75)
        assert not start.any()

    def test_a_step_shorter_than_the_spacing_of_floats_is_not_lost(self):
        """At 1.0 the float32 are 1e-7 apart, and most steps here are shorter."""
        flat = estimate(lambda w: (0.0, 0 * w), np.ones(100, np.float32), step_size=1e-16, draws=16)
        seen = []
        estimate(
            lambda w: (seen.append(w), (0.0, 0 * w))[1], np.ones(100, np.float32), step_size=1e-16, draws=1000, chains=1
        )
        assert flat.value == 0
        assert np.std(seen[-1]) == pytest.approx((1e-16 * 1500) ** 0.5, rel=0.3)

    def test_the_seed_decides(self):
        first, again, other = (estimate(draws=16, burn_in=0, seed=seed).trace for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first[:, 1:] != other[:, 1:]).all()

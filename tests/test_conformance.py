"""The conformance suite judges rightly: correct penalties pass, and planted bugs are caught by name."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest

import regcore
from regcore import L1, L2, TAR, BatchEntropy, MaxCosine, Orthogonality, SpectralIsometry

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import evaluating, noise, oracle, report, steps, suite, worker
from regcore_conformance.bound import reference
from regcore_conformance.cases import UPSTREAM, Case, all_cases
from regcore_conformance.generator import bell, coin, philox
from regcore_conformance.runners import array_api


def test_known_answers_of_philox():
    """From the Random123 distribution of the authors of Philox."""
    ones = 0xFFFFFFFF
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox((ones,) * 4, (ones, ones)) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert philox(pi, (0xA4093822, 0x299F31D0)) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_inputs_are_exact_in_every_dtype():
    for case in all_cases():
        np.testing.assert_array_equal(case.x.astype(np.float32).astype(np.float64), case.x)
        if not case.id.endswith("offset"):
            np.testing.assert_array_equal(case.x.astype(np.float16).astype(np.float64), case.x)
    assert abs(bell(0, (1000,))).max() <= 126 / 64
    assert 0.7 < coin(0, (1000,)).mean() < 0.8


def test_every_pattern_hits_its_singular_point():
    cases = {case.id: case.x for case in all_cases([L2, BatchEntropy, Orthogonality])}
    assert (cases["L2/0/relu"] == 0).any()
    assert np.ptp(cases["BatchEntropy/0/constant"], axis=0).min() == 0
    assert not cases["Orthogonality/0/zero row"].any(axis=1).all()
    np.testing.assert_array_equal(cases["Orthogonality/0/twins"][-1], -cases["Orthogonality/0/twins"][0])


def run(function, cases, *, exact=False):
    """Verdicts of an evaluate function in float64, or in the exact grade of float32."""
    grade = "exact" if exact else "float64"
    cells = tuple(evaluating.cell("eager", function, grade, case) for case in cases)
    truths = {case.id: oracle.truth(case) for case in cases}
    return suite.judge([worker.Outcome("planted", "", cells)], truths)


NUMPY = array_api.evaluators(np)["eager"]


def test_correct_penalties_pass():
    verdicts = run(NUMPY, [case for case in all_cases(patterns=["twins"]) if "/0/" in case.id])
    assert {v.status for v in verdicts} == {"pass"}
    assert max(v.ratio for v in verdicts) < 0.5


class HalfGradient(L2):
    def slope(self, xp, x):
        return x


class OtherSlopeAtZero(L1):
    def slope(self, xp, x):
        return xp.where(x > 0, xp.ones_like(x), xp.where(x < 0, -xp.ones_like(x), 3.0 + x))


class NanAtZero(L1):
    def slope(self, xp, x):
        return x / xp.abs(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasedInTheGradient(BatchEntropy):
    def grad(self, xp, x, params, **options):
        return BatchEntropy(alpha=self.alpha, correction=0).grad(xp, x, params, **options)

    @classmethod
    def examples(cls):
        yield regcore.Example(cls(), (4, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaForgotten(BatchEntropy):
    def grad(self, xp, x, params, **options):
        dx, dparams = super().grad(xp, x, params, **options)
        return dx, {name: 0.0 * d for name, d in dparams.items()}

    @classmethod
    def examples(cls):
        yield regcore.Example(cls(), (4, 3))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AxisOfTheGradient(TAR):
    def grad(self, xp, x, params, **options):
        return TAR(time_axis=0).grad(xp, x, params, **options)

    @classmethod
    def examples(cls):
        yield regcore.Example(cls(), (3, 3, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RadialPartKept(Orthogonality):
    def grad(self, xp, x, params, **options):
        dx, rest = super().grad(xp, x, params, **options)
        return dx + 1e-12 * x, rest

    @classmethod
    def examples(cls):
        yield regcore.Example(cls(), (4, 3))


@pytest.mark.parametrize(
    "kind",
    [HalfGradient, BiasedInTheGradient, AlphaForgotten, AxisOfTheGradient, RadialPartKept],
    ids=lambda k: k.__name__,
)
def test_a_wrong_gradient_is_caught_by_name(kind):
    (case,) = list(all_cases([kind], ["dense"]))[:1]
    (verdict,) = run(NUMPY, [case])
    assert (verdict.status, verdict.case) == ("fail", f"{kind.__name__}/0/dense")


@pytest.mark.parametrize("kind", [OtherSlopeAtZero, NanAtZero], ids=lambda k: k.__name__)
def test_no_subgradient_at_a_kink_is_caught(kind):
    (case,) = list(all_cases([kind], ["relu"]))[:1]
    with np.errstate(invalid="ignore"), pytest.raises(oracle.NoSubgradient, match="at a kink between slopes"):
        oracle.truth(case)


@pytest.mark.parametrize(
    ("bug", "change"),
    [
        ("upstream gradient dropped", lambda name, a: a if name == "value" else a / UPSTREAM),
        ("one entry off by 100 roundings", lambda name, a: a * (1 + 100 * 2.0**-52 * (name == "x"))),
        ("a value off by 100 roundings", lambda name, a: a * (1 + 100 * 2.0**-52 * (name == "value"))),
        ("transposed", lambda name, a: a.T if name == "x" else a),
        ("NaN", lambda name, a: a * np.nan),
    ],
)
def test_a_library_that_returns_something_else_is_caught(bug, change):
    case = next(c for c in all_cases([BatchEntropy], ["dense"]) if c.x.shape == (4, 3))

    def broken(*arguments):
        return {name: np.asarray(change(name, array)) for name, array in NUMPY(*arguments).items()}

    assert [v.status for v in run(NUMPY, [case])] == ["pass"]
    assert [v.status for v in run(broken, [case])] == ["fail"], bug


def test_a_gradient_that_is_missing_is_caught():
    def forgetful(*arguments):
        return {name: array for name, array in NUMPY(*arguments).items() if name != "alpha"}

    (verdict,) = run(forgetful, [next(iter(all_cases([BatchEntropy], ["dense"])))])
    assert verdict.status == "fail"
    assert verdict.detail == "gradient by alpha: this result is missing"


def test_a_library_that_differentiates_by_itself_is_caught_at_zero():
    jax = pytest.importorskip("jax", reason="jax is not installed")

    def by_itself(spec, x, params, mask):
        value, pull_back = jax.vjp(lambda x: spec.value(jax.numpy, x, params, mask=mask), jax.numpy.asarray(x))
        return {"value": np.asarray(value), "x": np.asarray(pull_back(value * 0 + UPSTREAM)[0])}

    dense, relu = (next(iter(all_cases([L1], [pattern]))) for pattern in ("dense", "relu"))
    cells = tuple(evaluating.cell("eager", by_itself, "float32", case) for case in (dense, relu))
    verdicts = suite.judge([worker.Outcome("jax", "", cells)], {c.id: oracle.truth(c) for c in (dense, relu)})
    assert [v.status for v in verdicts] == ["pass", "fail"]


def test_the_exact_grade_is_one_rounding():
    cases = [case for case in all_cases([BatchEntropy, Orthogonality], ["offset"]) if "/0/" in case.id]
    assert {v.status for v in run(NUMPY, cases, exact=True)} == {"pass"}

    def fast(spec, *arguments):
        return NUMPY(spec.penalty, *arguments)

    assert "fail" in {v.status for v in run(fast, cases, exact=True)}


def test_noise_is_what_rounding_can_do():
    """Of (x + y) - x, where y is small: the error of float32 is that of x, and so is the noise scale."""
    x, y = np.float32(1e4), np.float32(1 / 3)
    (clean,), (scale,), *_ = noise.run(lambda xp, convert: [(convert(x) + convert(y)) - convert(x)])
    error = abs(float((x + y) - x) - float(clean)) / 2.0**-24
    assert error > 1000 * float(clean)
    assert error <= 8 * float(scale) <= 16 * float(x)


def test_the_longest_sum_is_found():
    x = np.ones((6, 5))
    for formula, longest in (
        (lambda xp, convert: [xp.sum(convert(x))], 30),
        (lambda xp, convert: [xp.sum(xp.sum(convert(x), axis=0))], 6),
        (lambda xp, convert: [xp.matmul(convert(x), convert(x.T))], 5),
        (lambda xp, convert: [convert(x) + 1.0], 1),
    ):
        assert noise.run(formula).longest == longest


def test_a_kink_that_rounding_falls_to_either_side_of_is_no_false_alarm():
    spec = Orthogonality(power=1)
    x = np.asarray([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0], [3.0, 1.0, 0.5]])  # the first two are orthogonal
    true = reference(spec, x)
    assert (true.jumps["x"][:2] > 0.01).all()
    assert not true.jumps["x"][2].any()
    assert not reference(spec, x + np.asarray([[0.0], [0.0625], [0.0]])).jumps
    for order in itertools.permutations(range(3)):  # on which the sign of what should be 0 depends
        _, (dx, _) = regcore.value_and_grad(spec, x[:, order])
        dx = dx[:, np.argsort(order)]
        assert true.worst_ratio({"x": dx}) <= 1
        dx[2, 0] += 1e-9
        assert true.worst_ratio({"x": dx}) > 1


def test_what_float32_cannot_tell_apart_is_known():
    """Data of seed 30: two cosines with the first vector differ by 4e-9, so float32 may take either for the largest."""
    x = [
        [64.4375, 63.640625],
        [64.40625, 63.59375],
        [64.28125, 64.109375],
        [64.84375, 64.03125],
        [64.796875, 64.484375],
    ]
    spec, x = MaxCosine(), np.asarray(x)
    true = reference(spec, x)
    assert not true.jumps
    assert true.rough["x"].any()
    for dtype in (np.float32, np.float64):
        value, (dx, _) = regcore.value_and_grad(spec, x.astype(dtype))
        assert true.worst_ratio({"value": value, "x": dx}) <= 1
    twice = 1.0001 * regcore.value_and_grad(spec, x)[1][0]
    assert true.grad_ratio(twice) > 1
    assert "x" not in reference(spec, x * np.asarray([1.0, 0.5]) + np.arange(10.0).reshape(5, 2)).rough


def test_singular_vectors_are_orthonormal_up_to_rounding_only():
    """Data of seed 33, with a dead unit: the gradient is 0, and LAPACK's vectors make it the square of a rounding."""
    x = np.asarray([[0.0, 0.0, 0.0], [0.0, 0.0, 1.15625], [0.0, 0.0, 0.0], [1.109375, 0.0, 0.453125]])
    spec = SpectralIsometry(vector_axis=-1)
    true = reference(spec, x)
    assert not true.results["x"].any()
    for dtype in (np.float32, np.float64):
        assert true.grad_ratio(regcore.value_and_grad(spec, x.astype(dtype))[1][0]) <= 1
    assert true.grad_ratio(np.full(x.shape, 1e-20)) > 1


def test_singular_values_that_count_as_equal_do_so_in_the_reference():
    """Data of seed 49: two eigenvalues of V V^T that are 9.9e-6 apart share the gradient, which is no derivative."""
    x = [[4.25, -5.375, -2.625, -1.125], [-4.0, 4.875, -0.25, 1.875], [-0.5, 1.375, 0.75, 2.875]]
    case = Case("SpectralIsometry/0/near", SpectralIsometry(), np.asarray(x) / 512, {}, None)
    true = oracle.independent(case)
    _, (shared, _) = regcore.value_and_grad(case.spec, case.x, upstream=UPSTREAM)
    assert true.grad_ratio(shared) <= 1
    _, (largest, _) = regcore.value_and_grad(SpectralIsometry(tolerance=1e-7), case.x, upstream=UPSTREAM)
    assert true.grad_ratio(largest) > 1


def test_a_long_reduction_gets_more_room_in_the_fast_grade_only():
    x = np.full(6400, 1 / 3, dtype=np.float32)
    true = reference(L2(), x)
    off = np.float32(float(true.results["value"]) * (1 + 60 * 2.0**-24))
    assert true.value_ratio(off) < 1
    assert dataclasses.replace(true, exact=True).value_ratio(off) > 1


def test_distinct_results_are_counted_and_named():
    bits = {"value": np.float32(1.0), "x": np.zeros(2, np.float32)}
    other = {**bits, "x": np.asarray([0, 1e-45], np.float32)}
    verdicts = [
        suite.Verdict(name, "eager", "exact", "L2/0/dense", "pass", "", 0.5, results)
        for name, results in (("a", bits), ("b", dict(bits)), ("c", other))
    ]
    (results,) = report.distinct(verdicts).values()
    assert sorted(results.values()) == [["a eager", "b eager"], ["c eager"]]
    assert "L2/0/dense" in report.text(verdicts, {})


def test_what_did_not_run_is_in_the_summary():
    verdicts = suite.judge([worker.Outcome("jax:gpu", not_run="jax finds no gpu")], {})
    assert report.summary(verdicts) == "0 cells passed, 0 failed, 0 unsupported, 1 not run (no cell of jax:gpu)"
    assert "NOT RUN  jax:gpu: jax finds no gpu" in report.text(verdicts, {})


def test_an_error_is_an_outcome_of_its_cell():
    def crash(*_):
        raise RuntimeError("no such operation")

    (verdict,) = run(crash, [next(iter(all_cases([L2], ["dense"])))])
    assert (verdict.status, verdict.detail) == ("error", "RuntimeError: no such operation")
    assert "ERROR  planted eager float64 L2/0/dense: RuntimeError" in report.text([verdict], {})


def test_the_step_by_hand_is_a_step():
    truth = steps.truth()
    for name, before in (("W", steps.PROBLEM.W), ("b", steps.PROBLEM.b), ("alpha", steps.SPEC.init()[steps.ALPHA])):
        assert np.all(truth.results[name] != before)
        assert truth.worst_ratio({name: truth.results[name].astype(np.float32)}) < 1
        assert truth.worst_ratio({name: (truth.results[name] * (1 + 1e-4)).astype(np.float32)}) > 1


def test_the_command_says_what_is_required_and_missing(tmp_path):
    command = [sys.executable, "-m", "regcore_conformance", "--only", "torch:cuda", "--penalties", "L2"]
    command += ["--require", "torch:cuda"]
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "required and not run: torch:cuda" in done.stdout
    assert not list(tmp_path.iterdir())

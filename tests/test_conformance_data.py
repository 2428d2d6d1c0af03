"""Dtypes, edges of the domain, long reductions, second derivatives and shards: judged rightly, and bugs are caught."""

import importlib

import numpy as np
import pytest

import regcore
import regcore.blocks
from regcore import (
    L1,
    L2,
    TAR,
    BatchEntropy,
    CodingRate,
    HoyerSquare,
    MeanCosine,
    NuclearNorm,
    OffDiagonalOrthogonality,
    SpectralIsometry,
    Variance,
)

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import edges, expected, long, seconds, store, verdicts
from regcore_conformance.cases import UPSTREAM, all_cases
from regcore_conformance.depth import belongs
from regcore_conformance.evaluating import Cell, cell
from regcore_conformance.grades import GRADES, inexact
from regcore_conformance.reductions import reductions, table
from regcore_conformance.runners import array_api, directions, shards
from regcore_conformance.runners.bundle import Problem
from regcore_conformance.selection import Selection
from regcore_conformance.truths import known

NUMPY = array_api.evaluators(np)
EDGES = {case.id: case for case in edges.edge_cases()}
LONG = {case.id: case for case in long.long_cases()}


def judged(case, grade="float32", mode="eager", function=None):
    """The verdict on one case by a function, or by NumPy."""
    with np.errstate(all="ignore"):
        one = cell(mode, function or NUMPY[mode], grade, case)
        return verdicts.verdict("planted", one, known(case, mode))


def replacing(penalty):
    """The evaluate function of another penalty, in the place of the one that is asked for."""

    def evaluate(spec, *arguments):
        return NUMPY["eager"](regcore.exact(penalty) if spec.exact else penalty, *arguments)

    return evaluate


# Dtypes


def test_what_half_precision_does_not_hold_is_not_run():
    for case in all_cases():
        for grade in ("float16", "bfloat16"):
            assert case.id.endswith("offset") or not inexact(grade, case)
    offset = next(iter(all_cases([L2], ["offset"])))
    assert judged(offset, "bfloat16")[4:6] == ("not run", "bfloat16 does not hold its data")


def test_numpy_has_no_bfloat16():
    assert judged(next(iter(all_cases([L2], ["dense"]))), "bfloat16").detail == "numpy has no bfloat16"


@pytest.mark.parametrize("name", ["value", "x", "alpha"])
def test_a_result_of_another_dtype_is_an_error(name):
    def other(*problem):
        return {key: a.astype(np.float64) if key == name else a for key, a in NUMPY["eager"](*problem).items()}

    verdict = judged(next(iter(all_cases([BatchEntropy], ["dense"]))), function=other)
    what = name if name == "value" else f"gradient by {name}"
    assert verdict[4:6] == ("error", f"TypeError: the {what} is float64; expected float32")


def test_a_sum_in_half_precision_is_caught():
    def naive(spec, x, params, mask):
        return {"value": np.asarray(np.mean(x * x), dtype=np.float32), "x": (2 * x / x.size * UPSTREAM).astype(x.dtype)}

    case = next(iter(all_cases([L2], ["dense"])))
    assert judged(case, "float32", function=naive).status == "pass"
    assert judged(case, "float16", function=naive).status == "fail"


# Edges


@pytest.mark.parametrize("grade", ["float64", "float32", "float16", "exact"])
def test_every_penalty_is_right_at_every_edge(grade):
    found = {v.case: v for v in (judged(case, grade) for case in EDGES.values())}
    assert {v.status for v in found.values()} <= {"pass", "not run"}, [v for v in found.values() if v.status == "fail"]
    assert all(v.status == "pass" for v in found.values() if v.grade in ("float64", "float32"))


class SwallowsNan(L2):
    def phi(self, xp, x):
        return xp.where(x * x > 0, x * x, xp.zeros_like(x))


class Clipped(L2):
    def phi(self, xp, x):
        return xp.clip(x * x, 0.0, 1e30)


class NanInTheValueAlone(L2):
    def slope(self, xp, x):
        return xp.where(xp.isnan(x), xp.zeros_like(x), 2.0 * x)


@pytest.mark.parametrize(
    ("penalty", "case", "words"),
    [
        (SwallowsNan(), "L2/0/nan", "value: hides NaN"),
        (NanInTheValueAlone(), "L2/0/nan", "gradient by x: hides NaN"),
        (Clipped(), "L2/0/inf", "value: error is"),
        (Clipped(), "L2/0/huge", "value: error is"),
        (BatchEntropy(correction=0), "BatchEntropy/0/batch of 1", "value: expected ValueError; got"),
        (TAR(time_axis=0), "TAR/0/time of 1", "gradient by x: error is"),
    ],
    ids=lambda part: str(part) if isinstance(part, str) else type(part).__name__,
)
def test_what_is_wrong_at_an_edge_is_caught(penalty, case, words):
    verdict = judged(EDGES[case], function=replacing(penalty))
    assert verdict.status == "fail"
    assert verdict.detail.startswith(words)


def test_an_error_is_no_result_where_a_value_is_expected():
    def refuses(*problem):
        raise ValueError("no")

    assert judged(EDGES["TAR/0/batch of 1"], function=refuses).detail.startswith("value: expected a value; got")
    assert judged(EDGES["L2/0/nan"], function=refuses).status == "error"


def test_what_is_too_small_may_count_as_zero():
    def flushing(spec, x, *rest):
        return NUMPY["eager"](spec, np.where(abs(x) < np.finfo(x.dtype).smallest_normal, 0, x).astype(x.dtype), *rest)

    assert judged(EDGES["L1/0/subnormal"], function=flushing).status == "pass"
    assert judged(EDGES["L1/0/subnormal"], function=replacing(2.0 * L1())).status == "fail"


# Long reductions


@pytest.mark.parametrize("grade", GRADES)
def test_long_reductions_are_right(grade):
    statuses = {judged(case, grade).status for case in LONG.values()}
    assert statuses <= ({"unsupported", "not run"} if "bfloat16" in grade else {"pass", "not run"})


def test_the_truth_of_a_long_batch_is_that_of_all_of_it():
    for case in LONG.values():
        value, (dx, _) = regcore.value_and_grad(case.spec, case.x, case.params, upstream=UPSTREAM)
        true = long.truth(case).reference().results
        np.testing.assert_allclose(float(true["value"]), value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(true["x"].astype(float), long.compact(case, {"x": dx})["x"], rtol=1e-9, atol=1e-15)


def test_a_count_that_half_precision_does_not_hold_is_caught():
    def naive(spec, x, params, mask):
        count = np.asarray(x.size).astype(x.dtype)  # inf
        total = np.sum(x.astype(np.float32) ** 2)
        return {"value": np.asarray(total / count, dtype=np.float32), "x": (2 * x / count * UPSTREAM).astype(x.dtype)}

    assert judged(LONG["L2/0/long"], "float16", function=naive).status == "fail"
    assert judged(LONG["L2/0/long"], "float32", function=naive).status == "pass"


def test_the_k_that_long_sums_come_to_is_shown_beside_the_one_that_is_allowed():
    def one_by_one(spec, x, params, mask):
        results = NUMPY["eager"](spec, x, params, mask)
        return {**results, "value": np.asarray(np.cumsum(x.ravel() ** 2, dtype=x.dtype)[-1] / x.size, x.dtype)}

    case = LONG["L2/0/thirds"]
    careless, right = judged(case, function=one_by_one), judged(case)
    for verdict, least, most in ((careless, 100, 125_000), (right, 0, 8)):
        (row,) = reductions([verdict], 0)
        assert (row.case, row.terms, row.allowed) == (case.id, 1_000_000, 125_000)
        assert least < row.observed < most
    assert careless.status == "pass"  # and the table shows by how much it is worse
    assert table([row])[1] == ["L2/0/thirds", "1,000,000", "125,000", f"{row.observed:.2f}"]
    assert reductions([right._replace(case="L2/0/dense"), right._replace(grade="exact")], 0) == []


def test_one_row_of_a_long_gradient_that_differs_is_caught():
    def last_forgotten(*problem):
        results = NUMPY["eager"](*problem)
        results["x"][-1] = 0
        return results

    assert judged(LONG["L2/0/long"], function=last_forgotten).detail.startswith("gradient by x")


# Second derivatives


def test_the_second_derivative_of_a_mean_of_squares():
    case = next(iter(all_cases([L2], ["dense"])))
    v, w = directions({"x": case.x.shape})
    number, size = seconds.second(case)
    np.testing.assert_allclose(number, UPSTREAM * 2 / case.x.size * np.sum(v["x"] * w["x"]), rtol=1e-12)
    assert size >= abs(number)


def test_no_second_derivative_at_a_kink():
    relu = next(iter(all_cases([L1], ["relu"])))
    assert np.isnan(seconds.second(relu).number)
    truth = known(relu, "second")
    assert truth.judge({"second": np.asarray(3.0)}, exact=False)["second"].ratio == 0
    assert truth.judge({"second": np.asarray(np.nan)}, exact=False)["second"].ratio == np.inf


def test_a_gradient_that_is_held_constant_is_caught():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from regcore_conformance.runners.torch import evaluators

    class Detached(L2):
        def __call__(self, x, params=None, **options):
            return (x * x).mean().detach() + (x * x.detach()).mean() - (x.detach() * x.detach()).mean()

    case = next(iter(all_cases([L2], ["dense"])))
    function = evaluators("cpu")["second"]
    assert judged(case, "float64", "second", function).status == "pass"
    held = judged(case, "float64", "second", lambda spec, *rest: function(Detached(), *rest))
    assert held.detail.startswith("second derivative: got")
    assert torch.is_grad_enabled()


def test_second_derivatives_do_not_see_what_a_mask_hides():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from regcore_conformance.runners.torch import evaluators

    function = evaluators("cpu")["second"]
    masked = [case for case in all_cases([], ["dense"]) if case.mask is not None]
    wrong = {case.id: judged(case, "float64", "second", function).detail for case in masked}
    assert len(masked) > 50
    assert not any(wrong.values()), {name: detail for name, detail in wrong.items() if detail}


def test_a_second_derivative_by_singular_values_may_be_wrong_where_two_are_equal_and_nowhere_else():
    kinds = [NuclearNorm, SpectralIsometry, CodingRate]
    cases = {case.id: case for case in all_cases(kinds, ["dense", "dead", "twins", "ties", "offset"])}
    for kind in kinds:
        assert expected.may_fail("second", cases[f"{kind.__name__}/0/dead"]) == expected.SVD
        assert not expected.may_fail("eager", cases[f"{kind.__name__}/0/dead"])
        assert not expected.may_fail("second", cases[f"{kind.__name__}/0/dense"])
        assert not expected.may_fail("second", cases[f"{kind.__name__}/0/offset"])
    dense = cases["NuclearNorm/0/dense"]
    wrong = Cell("second", "float64", dense.id, "ran", results={"second": np.asarray(np.nan)})
    assert verdicts.verdict("torch:cpu", wrong, known(dense, "second")).status == "fail"
    dead = cases["NuclearNorm/0/dead"]
    assert verdicts.verdict("torch:cpu", wrong, known(dead, "second")).status == "xfail"


# Shards


def test_statistics_that_are_not_shared_are_caught():
    def alone(problem, across):
        results = NUMPY["eager"](*problem)
        return {**results, "value": np.float32(0)}

    case = next(iter(all_cases([BatchEntropy], ["dense"])))
    assert judged(case, mode="shards").status == "pass"
    assert judged(case, mode="shards", function=shards.evaluator(alone)).status == "fail"


def test_replicas_that_do_not_agree_are_an_error():
    def alone(problem, across):
        return NUMPY["eager"](*problem)

    verdict = judged(next(iter(all_cases([BatchEntropy], ["dense"]))), mode="shards", function=shards.evaluator(alone))
    assert verdict.detail.startswith("RuntimeError: replicas have different values")


def test_a_shard_of_which_a_mask_hides_everything_has_no_part():
    case = next(c for c in all_cases([Variance], ["scales"]) if c.mask is not None)
    problem = Problem(case.spec, case.x, case.params, np.asarray([[True] * 3, [False] * 3]))
    whole = NUMPY["eager"](*problem)
    shared = NUMPY["shards"](*problem)
    for name in whole:
        np.testing.assert_allclose(shared[name], whole[name], rtol=1e-12)


def test_what_has_no_statistics_has_no_cell():
    dense = {case.spec: case for case in all_cases([L2, BatchEntropy, HoyerSquare], ["dense"])}
    for spec, shared in (
        (L2(), False),
        (BatchEntropy(), True),
        (HoyerSquare(), True),
        (HoyerSquare(vector_axis=0), False),
    ):
        assert belongs("shards", "float32", dense[spec]) == shared


# Blocks and pieces


def test_a_mistake_in_blocks_alone_is_caught(monkeypatch):
    (case,) = (c for c in all_cases([OffDiagonalOrthogonality], ["dense"]) if "/1/" in c.id)
    assert judged(case, "float64", "blocks").status == "pass"
    over_pairs = regcore.blocks.over_pairs

    def first_alone(xp, rows, of_products, **options):
        total, slopes = over_pairs(xp, rows, of_products, **options)
        return total, [slopes[0], *(0.0 * slope for slope in slopes[1:])]

    monkeypatch.setattr(regcore.blocks, "over_pairs", first_alone)
    assert judged(case, "float64", "blocks").detail.startswith("gradient by x")


@pytest.mark.parametrize("library", ["jax", "tensorflow"])
def test_a_mistake_in_compiled_blocks_alone_is_caught(library, monkeypatch):
    pytest.importorskip(library, reason=f"{library} is not installed")
    runner = importlib.import_module(f"regcore_conformance.runners.{library}")
    (case,) = (c for c in all_cases([OffDiagonalOrthogonality], ["dense"]) if "/1/" in c.id)
    over_pairs = regcore.blocks.over_pairs

    def last_first(xp, rows, of_products, **options):
        total, slopes = over_pairs(xp, rows, of_products, **options)
        return total, slopes[::-1]

    for mistake, status in ((over_pairs, "pass"), (last_first, "fail")):
        monkeypatch.setattr(regcore.blocks, "over_pairs", mistake)
        panels = runner.evaluators(*["cpu"] * (library == "jax"))["panels"]
        if library == "jax":
            runner.jax.clear_caches()
        assert judged(case, "float32", "panels", panels).status == status
    lone = next(iter(all_cases([L2], ["dense"])))
    assert not belongs("panels", "float32", lone)
    assert "were to be in panels" in judged(lone, "float32", "panels", panels).detail


def test_what_is_not_divided_has_no_cell_and_is_no_proof():
    lone = next(iter(all_cases([MeanCosine], ["dense"])))
    assert not belongs("blocks", "float64", lone)
    assert belongs("blocks", "float64", next(iter(all_cases([L2], ["dense"]))))
    assert judged(lone, "float64", "blocks").detail == "RuntimeError: MeanCosine() was to be divided and is not"


# The matrix


def test_a_known_failure_that_comes_right_is_a_failure():
    case = next(c for c in all_cases() if c.id == "CodingRate/0/offset")
    wrong = NUMPY["shards"](case.spec, case.x.astype(np.float32), case.params, None)
    right = NUMPY["eager"](case.spec, case.x.astype(np.float32), case.params, None)
    statuses = [
        verdicts.verdict("numpy", Cell("shards", "float32", case.id, "ran", results=results), known(case)).status
        for results in (wrong, right)
    ]
    assert statuses == ["xfail", "fail"]
    assert all(case in {c.id for c in Selection().cases()} for known in expected.KNOWN for case in known.cases)


def test_another_seed_is_other_data_without_stored_references():
    first, other = Selection(("TAR",), seed=0).cases(), Selection(("TAR",), seed=7).cases()
    assert [case.id for case in first] == [case.id for case in other]
    dense = [next(case for case in cases if case.id == "TAR/0/dense") for cases in (first, other)]
    assert not np.array_equal(dense[0].x, dense[1].x)
    assert [store.find(case) is None for case in dense] == [False, True]


def test_special_data_run_case_by_case():
    edge, many = EDGES["L2/0/nan"], LONG["L2/0/long"]
    for mode, both in {"eager": (True, True), "compile": (False, True), "vmap": (False, False)}.items():
        assert (belongs(mode, "float32", edge), belongs(mode, "float32", many)) == both

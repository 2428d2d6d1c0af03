"""The stored references: complete, reproducible, made without the library's code, and able to tell when it is wrong."""

import ast
import collections
import dataclasses
import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import regcore
from regcore.config import own

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import evaluating, formulas, golden, oracle, report, store, suite, worker
from regcore_conformance.bound import Reference
from regcore_conformance.runners import array_api

CASES = {case.id: case for case in golden.stored_cases(own().values())}
NUMPY = array_api.evaluators(np)["eager"]
FORMULAS = Path(formulas.__file__).parent


def test_every_penalty_has_a_transcription():
    assert formulas.FORMULAS.keys() == own().keys()


def test_every_family_has_a_file_of_its_own():
    for kind in own().values():
        family = kind.__module__.rpartition(".")[2]
        assert formulas.FORMULAS[kind.__name__].__module__ == f"{formulas.__name__}.{family}"


@pytest.mark.parametrize("path", sorted(FORMULAS.glob("*.py")), ids=lambda path: path.stem)
def test_transcriptions_share_nothing_with_the_library(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= {"itertools", "gmpy2", "numpy"}
        if isinstance(node, ast.ImportFrom):  # level 1 is this package
            assert node.level == 1 or (node.level == 0 and node.module in ("collections.abc", "types", "typing"))


def test_the_example_of_a_transcription():
    assert doctest.testmod(formulas) == (0, 1)


def test_every_case_is_stored_and_nothing_else():
    assert [case.id for case in CASES.values() if store.find(case) is None] == []
    assert golden.orphans() == []


def test_what_is_stored_is_small_and_says_where_it_comes_from():
    files = list(golden.HERE.iterdir())
    assert {path.name for path in files} == {f"{name}.npz" for name in own()} | {"provenance.json"}
    assert sum(path.stat().st_size for path in files) < 4e6
    recorded = json.loads((golden.HERE / "provenance.json").read_text())
    assert recorded["cases"] == len(CASES)
    assert recorded["made with"].keys() == {"python", "numpy", "gmpy2", "mpfr"}
    assert min(recorded["decimal digits"].values()) >= 50
    counts = collections.Counter(case.partition("/")[0] for case in CASES)
    assert {name: each["cases"] for name, each in recorded["penalties"].items()} == counts


@pytest.mark.parametrize("family", sorted({kind.__module__ for kind in own().values()}))
def test_three_cases_of_each_family_computed_again_are_what_is_stored(family):
    cases = [case for case in CASES.values() if type(case.spec).__module__ == family]
    assert list(golden.verify([cases[0], cases[len(cases) // 2], cases[-1]])) == []


def test_the_same_references_make_the_same_bytes(tmp_path):
    for name in ("TAR", "SelfModel"):
        store.write(tmp_path / name, store.read(name))
        assert (tmp_path / name).read_bytes() == (golden.HERE / f"{name}.npz").read_bytes()


def test_no_digit_of_a_long_double_is_lost():
    case = CASES["L2/1/dense"]
    for number in ("0.1", "-1e-223", "0", "inf", "1e300"):
        one = np.longdouble(number) * (1 + 3 * np.finfo(np.longdouble).eps)
        results = {"value": one, "x": np.full((1, 1), -one)}
        again = store.unpack(case, store.pack(case, Reference(results, results, exact=False, longest=3)))
        assert again.results["value"] == one
        assert again.results["x"] == -one
        assert again.longest == 3


# Formulas that are wrong everywhere, in value and gradient alike, or in a convention for both


def instead(kind, other):
    """A class of the same name and fields whose value and gradient are those of another spec: `other(spec)`."""

    class Planted(kind):
        def value(self, xp, x, params, **options):
            return other(self).value(xp, x, params, **options)

        def grad(self, xp, x, params, **options):
            return other(self).grad(xp, x, params, **options)

        def value_holding(self, xp, x, params, held, **options):
            return other(self).value_holding(xp, x, params, held, **options)

    Planted.__name__ = kind.__name__
    return Planted


def replaced(**changes):
    return lambda spec: own()[type(spec).__name__](
        **{**fields(spec), **{name: change(spec) for name, change in changes.items()}}
    )


def fields(spec):
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}


class SlopeAsInJax(regcore.L1):
    def slope(self, xp, x):
        return xp.where(x < 0, -xp.ones_like(x), xp.ones_like(x))


WRONG = {
    "a factor": ("L2/0/dense", lambda spec: 2.0 * regcore.L2(**fields(spec))),
    "a factor that only rounding could hide": ("L2/0/dense", lambda spec: (1 + 1e-12) * regcore.L2(**fields(spec))),
    "the time axis": ("TAR/0/dense", replaced(time_axis=lambda spec: 0)),
    "the order of differences": ("TAR/5/dense", replaced(order=lambda spec: 1)),
    "a sum for a mean": ("L1/3/dense", replaced(reduction=lambda spec: "sum")),
    "the biased variance": ("BatchEntropy/0/dense", replaced(correction=lambda spec: 0)),
    "the unbiased covariance": ("DeCov/0/dense", replaced(correction=lambda spec: 1)),
    "the axis of vectors": ("Orthogonality/0/dense", replaced(vector_axis=lambda spec: 1)),
    "samples that are not centred": ("CodingRate/2/dense", replaced(centre=lambda spec: False)),
    "eps for eps**2": ("CodingRate/1/dense", replaced(eps=lambda spec: spec.eps**0.5)),
    "on for off": ("KLSparsity/0/dense", replaced(rho=lambda spec: 1.0 - spec.rho)),
    "the target attached": ("SelfModel/0/dense", replaced(gradient=lambda spec: "full")),
    "one choice for two": ("LoadBalance/2/dense", replaced(top_k=lambda spec: 1)),
    "the slope of |x| at 0": ("L1/0/relu", lambda spec: SlopeAsInJax(**fields(spec))),
}


def verdict(case, truth):
    cell = evaluating.cell("eager", NUMPY, "float64", case)
    return suite.judge([worker.Outcome("planted", "", (cell,))], {case.id: truth})[0].status


@pytest.mark.parametrize(("name", "other"), WRONG.values(), ids=WRONG)
def test_a_formula_that_is_wrong_everywhere_fails(name, other):
    case = CASES[name]
    assert verdict(case, store.find(case)) == "pass"
    planted = case._replace(spec=instead(type(case.spec), other)(**fields(case.spec)))
    assert verdict(planted, oracle.truth(planted)) == "pass", "its own code at 60 digits should know nothing of it"
    assert verdict(planted, store.find(planted)) == "fail"


def test_references_are_not_made_of_a_formula_that_is_wrong_everywhere():
    case = CASES["TAR/0/dense"]
    planted = case._replace(spec=instead(regcore.TAR, replaced(time_axis=lambda spec: 0))())
    with pytest.raises(golden.Wrong, match="TAR/0/dense: transcription and code differ by"):
        golden.make(planted)


def test_a_penalty_without_a_transcription_is_named(monkeypatch):
    monkeypatch.delitem(formulas.FORMULAS, "TAR")
    with pytest.raises(golden.Wrong, match=r"TAR/0/dense: .* has no transcription: write one"):
        golden.make(CASES["TAR/0/dense"])


def test_what_is_stored_wrongly_is_found(monkeypatch):
    case, entries = CASES["TAR/0/dense"], store.read("TAR")
    for change, found in (
        (lambda e: e._replace(high=e.high * (1 + 2.0**-51)), ["value", "x"]),
        (lambda e: e._replace(low=e.low + 0.25), ["value", "x"]),
        (lambda e: e._replace(noise=2.0 * e.noise), ["noise of value", "noise of x"]),
        (lambda e: e._replace(longest=1), ["longest sum"]),
    ):
        monkeypatch.setattr(store, "read", lambda _, change=change: {case.id: change(entries[case.id])})
        assert list(golden.verify([case])) == [f"{case.id}: {what} is not what is stored" for what in found]


def test_a_reference_of_other_data_or_fields_is_not_taken():
    case = CASES["TAR/1/dense"]
    for other in (
        case._replace(x=case.x + 1.0),
        case._replace(spec=regcore.TAR(time_axis=-1)),
        case._replace(mask=~case.mask),
        case._replace(mask=None),
    ):
        assert (store.find(other), store.is_stale(other)) == (None, True)
        assert list(golden.verify([other])) == ["TAR/1/dense: stored for other fields or data"]
    stranger = type("TAR", (regcore.Penalty,), {m: getattr(regcore.L2, m) for m in ("value", "grad", "examples")})
    assert (store.find(case._replace(spec=stranger())), store.is_stale(case._replace(spec=stranger()))) == (None, False)


def test_stored_computed_and_stale_references_are_counted():
    cases = [CASES["L2/0/dense"], CASES["L2/0/relu"]._replace(x=CASES["L2/0/relu"].x + 1), CASES["L2/0/ties"]]
    cases[2] = cases[2]._replace(id="L2/0/another")
    sources = suite._sources(cases, seed=0)
    assert sources == (["L2/0/dense"], ["L2/0/relu", "L2/0/another"], ["L2/0/relu"])
    line = report.references(sources)
    assert line.startswith("1 references were stored, 2 computed in this run\nSTALE  1 stored")
    assert "such as L2/0/relu: python -m regcore_conformance.golden" in line


def test_a_new_case_is_computed_by_the_transcription():
    wrong = instead(regcore.L2, lambda spec: 2.0 * regcore.L2(**fields(spec)))
    case = CASES["L2/0/dense"]
    case = case._replace(x=case.x + 1.0)
    for kind, status in ((regcore.L2, "pass"), (wrong, "fail")):
        planted = case._replace(spec=kind())
        assert verdict(planted, oracle.independent(planted)) == status


def test_the_command_says_how_many_were_stored(tmp_path):
    command = [sys.executable, "-m", "regcore_conformance", "--only", "numpy", "--penalties", "L2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "60 references were stored, 0 computed in this run" in done.stdout
    assert "oracle" not in done.stdout

"""The suite is itself tested: a sample of what `mutate` runs, and that its verdicts can be trusted."""

import collections

import pytest

import regcore
from regcore.config import own

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import mutate
from regcore_conformance.mutants import code, edits, equivalent, field, formula, gradient, trial

SAMPLE = ["TAR", "ZLoss", "DeCov"]


@pytest.mark.parametrize("penalty", SAMPLE)
def test_every_mutant_is_found_in_every_grade_or_shown_to_be_the_same(penalty):
    """Those of one penalty alone; the command runs what it shares with others, too."""
    mutants = [mutant for kind in mutate.KINDS.values() for mutant in kind([penalty]) if mutant.row == penalty]
    fates = [mutate.fate(mutant) for mutant in mutants]
    assert [str(each) for each in fates if "survived" in each.by.values()] == []
    found = collections.Counter(each.mutant.kind for each in fates if set(each.by.values()) <= {*mutate.FOUND})
    assert {"formula", "code", "gradient"} <= found.keys()
    assert sum(found.values()) > 0.85 * len(fates)


def test_no_correct_penalty_is_rejected():
    assert mutate.rejected(SAMPLE) == []


def test_there_are_enough_of_each_kind_for_each_penalty():
    formulas, gradients = (list(kind.mutants(own())) for kind in (formula, gradient))
    assert len(formulas) >= 40
    assert len(gradients) >= 150
    for several in (formulas, gradients, list(field.mutants(own()))):
        assert {mutant.row for mutant in several} >= own().keys() - {"ZLoss"}
    assert {name for mutant in code.mutants(own()) for name in mutant.penalties} == own().keys()


def test_every_claim_is_about_some_mutant():
    claims = {equivalent.claimed(mutant) for kind in (code, formula) for mutant in kind.mutants(own())}
    assert [" ".join(claim.parts) for claim in equivalent.CLAIMS if claim not in claims] == []


def of(kind, penalty, text):
    (mutant, *_) = (mutant for mutant in kind.mutants([penalty]) if text in mutant.text)
    return mutant


@pytest.mark.parametrize("kind", [formula, code], ids=["formula", "code"])
def test_a_claim_that_is_false_is_not_believed(monkeypatch, kind):
    wrong = of(kind, "L2", "x * x -> x / x" if kind is formula else "2.0 * x -> 2.0 / x")
    monkeypatch.setattr(equivalent, "CLAIMS", (equivalent.Claim(wrong.kind, ("",), "someone says so"),))
    assert not equivalent.shown(wrong)
    assert set(mutate.fate(wrong).by.values()) <= {*mutate.FOUND}
    monkeypatch.setattr(mutate, "tried", lambda mutant, grade: ("", ""))
    fate = mutate.fate(wrong)
    assert set(fate.by.values()) == {"survived"}
    assert set(fate.where.values()) == {"and is not what is claimed: someone says so"}


def test_a_claim_that_is_true_is_shown():
    same = of(formula, "Covariance", "p - mean_a -> p ")
    assert equivalent.shown(same)
    assert set(mutate.fate(same).by.values()) == {"equivalent"}


def test_what_changes_nothing_is_told_from_what_does():
    assert equivalent.is_idle(of(gradient, "DeadUnits", "without its sign"))  # which is always that of the upstream one
    assert not equivalent.is_idle(of(gradient, "DeadUnits", "doubled"))


def test_the_command_fails_for_a_survivor(monkeypatch, capsys):
    survivor = trial.Mutant("L2", "code", "none at all", ("L2",), lambda case: (case, trial.NUMPY))
    for mutants, code_ in (([survivor], 1), ([of(gradient, "L2", "doubled")], 0)):
        monkeypatch.setattr(mutate, "KINDS", {"code": lambda penalties, mutants=mutants: iter(mutants)})
        monkeypatch.setattr("sys.argv", ["mutate", "--penalties", "L2"])
        assert mutate.main() == code_
        printed = capsys.readouterr().out
        assert f"1 mutants, {code_} survived; 0 correct ones rejected" in printed
        assert ("survived in exact: L2, code: none at all" in printed) == bool(code_)


def test_edits_are_of_what_is_computed():
    source = "def f(x, n=3):\n    if x < 0:\n        raise ValueError(1 + 1)\n    return mean(x) - 1\n"
    assert [edit.change for edit in edits.edits(source)] == [
        "mean(x) - 1 -> mean(x) + 1",
        "mean(x) - 1 -> mean(x)",
        "mean(x) -> total(x)",
        "1 -> 2",
    ]
    assert list(edits.edits(source, without=["f"])) == []


def test_edited_code_is_that_of_the_penalty_but_for_the_edit():
    wrong = of(code, "L2", "2.0 * x -> x")
    case = trial.cases_of("L2")[0]
    planted, _ = wrong.plant(case)
    assert type(planted.spec).__name__ == "L2"
    assert type(planted.spec) is not regcore.L2
    assert trial.tried(wrong, "float32")[0] == "gradient"

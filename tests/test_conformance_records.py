"""What the suite writes for other programs says what went wrong, and where, and how to run it again."""

import json
import re
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import commands, described, environment, records, report, tables
from regcore_conformance.__main__ import main
from regcore_conformance.cases import PATTERNS
from regcore_conformance.edges import SHAPES, VALUES
from regcore_conformance.long import SPECS
from regcore_conformance.selection import Selection
from regcore_conformance.suite import Run, Sources
from regcore_conformance.verdicts import Verdict

DOCS = Path(__file__).parent.parent / "docs"
VERDICTS = [
    Verdict("numpy", "eager", "float32", "L2/0/dense", "pass", "", 0.25, None, "value"),
    Verdict("numpy", "eager", "float32", "L2/0/relu", "fail", "error is 3 times the bound", 3.0, None, "gradient by x"),
    Verdict("numpy", "eager", "float32", "TAR/1/zero row", "fail", "error is inf times the bound", float("inf")),
    Verdict("jax:cpu", "jit", "float64", "L2/0/dense", "unsupported", "x64 is off"),
    Verdict("regcore_torch", "step", "float32", "step", "error", "ValueError: <no & yes>"),
    Verdict("torch:cuda", "", "", "", "not run", "torch finds no CUDA device"),
]
DESCRIPTIONS = {"numpy": "numpy 2.4", "torch:cuda": ""}
RUN = Run(
    Selection(), VERDICTS, DESCRIPTIONS, Sources(("L2/0/dense",), (), ()), {"numpy": 1.25}, "2026-01-02 03:04", 5.0
)
RECORD = json.loads(records.as_json(RUN, "python -m regcore_conformance"))


def run_command(monkeypatch, command, *more):
    """What `command` comes to in this process, as the shell would split it."""
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[2:], *map(str, more)])
    return main()


def test_json_names_what_is_wrong_and_how_to_run_it_again():
    assert RECORD["summary"] == {"pass": 1, "fail": 2, "unsupported": 1, "error": 1, "not run": 1}
    assert RECORD["backends"] == {"numpy": "numpy 2.4"}
    assert RECORD["absent"] == {"torch:cuda": "torch finds no CUDA device"}
    assert (RECORD["date"], RECORD["seconds"], RECORD["times"]) == ("2026-01-02 03:04", 5.0, {"numpy": 1.2})
    assert RECORD["selection"] == {"penalties": [], "ids": [], "seed": 0, "depth": "default", "plain": False}
    row = RECORD["rows"][0]
    assert (row["penalty"], row["cells"], row["worst"]) == ("L2", {"pass": 1, "fail": 1}, 3.0)
    assert (row["worst_case"], row["worst_result"]) == ("L2/0/relu", "gradient by x")
    assert [cell["ratio"] for cell in RECORD["wrong"]] == [3.0, "inf", None]
    zero_row = "python -m regcore_conformance --only numpy --cases 'TAR/1/zero row' --full"
    assert RECORD["wrong"][1]["again"] == zero_row
    assert RECORD["wrong"][2]["again"] == "python -m regcore_conformance --only regcore_torch"


def test_every_key_is_on_the_page():
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    keys = [*RECORD, *RECORD["rows"][0], *RECORD["wrong"][0]]
    assert [key for key in keys if f"`{key}`" not in page] == []
    assert f"`format` ({records.FORMAT})" in page


def test_junit_counts_and_names():
    root = ElementTree.fromstring(records.as_junit(RUN))
    assert [suite.get("name") for suite in root] == ["numpy", "jax:cpu", "regcore_torch", "torch:cuda"]
    assert [suite.get("failures") for suite in root] == ["2", "0", "1", "0"]
    assert [suite.get("skipped") for suite in root] == ["0", "1", "0", "1"]
    failure = root.find("testsuite/testcase[@name='L2']/failure")
    assert failure.get("message") == "1 of 2 cells are wrong"
    assert re.match(r"L2/0/relu: error is 3 times.*--only numpy --cases L2/0/relu --full", failure.text)
    assert root.find("testsuite[@name='regcore_torch']//failure").text.startswith("step: ValueError: <no & yes>")


def test_the_command_of_a_run():
    assert commands.of_run([], Selection()) == "python -m regcore_conformance"
    selection = Selection(("TAR", "L2"), ("L2/0/zero row",), 7, "quick")
    options = "--quick --only numpy --penalties TAR L2 --cases 'L2/0/zero row' --seed 7"
    assert commands.of_run(["numpy"], selection) == f"python -m regcore_conformance {options}"


def test_the_command_of_a_backend_that_did_not_finish_has_the_whole_selection():
    crash = Verdict("numpy", "start", "", "step", "error", "the worker ended with 3")
    again = commands.again(crash, Selection(("L2",), (), 7, "quick"))
    assert again == "python -m regcore_conformance --only numpy --quick --penalties L2 --seed 7"


def test_the_command_runs_just_the_cell_that_it_is_of(tmp_path, monkeypatch, capsys):
    """With a seed, so that the reference is computed, and with a name that the shell would split."""
    cell = Verdict("numpy", "eager", "float32", "TAR/0/zero row", "fail", "", 3.0)
    path = tmp_path / "again.json"
    assert run_command(monkeypatch, commands.again(cell, Selection(seed=3, depth="quick")), "--json", path) == 0
    record = json.loads(path.read_text())
    (row,) = (row for row in record["rows"] if (row["mode"], row["grade"]) == (cell.mode, cell.grade))
    assert (row["backend"], row["worst_case"], row["cells"]) == ("numpy", "TAR/0/zero row", {"pass": 1})
    assert {row["worst_case"] for row in record["rows"] if "worst" in row} == {"TAR/0/zero row"}
    assert record["references"] == {"stored": 0, "computed": 1, "stale": 0}
    assert (record["selection"]["seed"], record["selection"]["depth"]) == (3, "full")


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path, monkeypatch, capsys):
    for option in ("--json", "--junit", "--html"):
        with pytest.raises(SystemExit, match="2"):
            run_command(monkeypatch, "python -m regcore_conformance", option, tmp_path / "none" / "result")
        assert "make it first" in capsys.readouterr().err


def test_the_command_writes_all_three(tmp_path, monkeypatch, capsys):
    paths = {option: tmp_path / f"result.{option}" for option in ("json", "junit", "html")}
    options = [text for option, path in paths.items() for text in (f"--{option}", path)]
    command = "python -m regcore_conformance --quick --only numpy --penalties L2"
    assert run_command(monkeypatch, command, *options) == 0
    record = json.loads(paths["json"].read_text())
    assert record["summary"]["pass"] > 0
    assert record["command"] == command
    assert str(tmp_path) not in paths["json"].read_text() + paths["html"].read_text()
    assert ElementTree.fromstring(paths["junit"].read_text()).findall("testsuite/testcase[@name='L2']")
    assert "cells passed" in paths["html"].read_text()
    assert re.search(r"^\d/\d  numpy  \d+ s$", capsys.readouterr().out, re.MULTILINE)


def test_the_machine_is_described(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert environment._cpu(info) == "Some CPU @ 2 GHz"
    assert environment._cpu(tmp_path / "none")
    assert environment._gpu([sys.executable, "-c", "print('NVIDIA H200, 570.1')"]) == "NVIDIA H200, driver 570.1"
    assert environment._gpu([sys.executable, "-c", "raise SystemExit(9)"]) == ""
    assert environment._gpu([str(tmp_path / "none")]) == ""


def test_every_pattern_is_described_and_an_edge_has_the_key_of_its_data():
    long = {name.rpartition("/")[2] for name in SPECS}
    assert described.PATTERNS.keys() == {*PATTERNS, *VALUES, *SHAPES, *long}
    assert described.key("TAR/0/nan", 3) == described.key("TAR/0/dense", 3) != described.key("TAR/0/dense", 0)


def test_results_are_the_same_bits_but_for_the_sign_of_zero():
    results = [
        {"value": np.float32(1.0), "x": np.asarray(x, np.float32)} for x in ([0.0, 1.0], [-0.0, 1.0], [1e-45, 1.0])
    ]
    cells = [Verdict("a", f"mode {i}", "exact", "L2/0/dense", "pass", "", 0.5, of) for i, of in enumerate(results)]
    edge = cells[2]._replace(case="L2/0/subnormal")
    (bits,) = report.distinct([*cells, edge]).values()
    assert sorted(bits.values()) == [["a mode 0", "a mode 1"], ["a mode 2"]]


def test_what_was_not_run_is_one_line_for_each_reason_and_names_its_modes():
    of = [("eager", "float64"), ("eager", "exact"), ("jit", "float64")]
    verdicts = [Verdict("jax:cpu", *way, f"L2/{i}/dense", "not run", "it is slow") for way in of for i in range(4)]
    verdicts.append(Verdict("jax:cpu", "jit", "exact", "L2/0/dense", "pass", "", 0.5))
    text = report.text(verdicts, {})
    assert "NOT RUN  jax:cpu (eager, jit float64), 12 cells: it is slow" in text


def test_the_page_of_results_is_what_the_command_prints(monkeypatch, capsys):
    paths = sorted((DOCS / "results").glob("*.json"))
    monkeypatch.setattr(sys, "argv", ["tables", *map(str, paths)])
    assert tables.main() == 0
    assert (DOCS / "results.md").read_text(encoding="utf-8") == capsys.readouterr().out


def test_tables_say_what_is_wrong_and_what_was_not_run():
    page = tables.markdown({"a run": RECORD})
    assert "| numpy | cpu | eager | **2 wrong** | - | 3 |" in page
    assert "| jax:gpu | gpu | **not run** |" in page
    assert "1 pass, 2 fail, 1 error, 0 xfail, 1 unsupported, 1 not run." in page
    row = {"backend": "jax:gpu", "mode": "jit", "grade": "exact", "cells": {"pass": 9, "xfail": 2}, "worst": 0.754}
    page = tables.markdown({"a run": {**RECORD, "rows": [row], "exact": {"1": 1200, "2": 1}}})
    assert "| jax:gpu | gpu | jit | 0.75 (2 xfail) | 11 |" in page
    assert "| jax:gpu | gpu | **not run** |" not in page
    assert "1 in 1,200 cases, 2 in 1 cases" in page


def test_what_is_known_to_be_wrong_is_said_and_no_failure():
    known = Verdict("numpy", "second", "float64", "L2/0/ties", "xfail", "a kink")
    text = report.text([VERDICTS[0], known], {})
    assert "XFAIL  numpy (second), 1 cells: a kink" in text
    assert "1 cells passed, 0 failed, 1 are known to fail, " in text
    record = json.loads(records.as_json(RUN._replace(verdicts=[known]), ""))
    assert ([cell["case"] for cell in record["known"]], record["wrong"]) == (["L2/0/ties"], [])


def test_a_record_of_another_format_is_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"old\.json has format 1; expected 2: record the run again"):
        tables.read(path)

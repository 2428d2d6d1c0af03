"""What the suite writes for other programs says what went wrong, and where."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import records
from regcore_conformance.__main__ import main
from regcore_conformance.suite import Sources, Verdict

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
VERDICTS = [
    Verdict("numpy", "eager", "float32", "L2/0/dense", "pass", "", 0.25),
    Verdict("numpy", "eager", "float32", "L2/0/relu", "fail", "error is 3 times the bound", 3.0),
    Verdict("numpy", "eager", "float32", "TAR/1/twins", "fail", "error is inf times the bound", float("inf")),
    Verdict("jax:cpu", "jit", "float64", "L2/0/dense", "unsupported", "x64 is off"),
    Verdict("regcore_torch", "step", "float32", "step", "error", "ValueError: <no & yes>"),
    Verdict("torch:cuda", "", "", "", "not run", "torch finds no CUDA device"),
]
SOURCES = Sources(("L2/0/dense",), (), ())


def test_json_names_what_is_wrong_and_how_to_run_it_again():
    content = json.loads(records.as_json(VERDICTS, {"numpy": "numpy 2.4", "torch:cuda": ""}, SOURCES))
    assert content["summary"] == {"pass": 1, "fail": 2, "unsupported": 1, "error": 1, "not run": 1}
    assert content["backends"] == {"numpy": "numpy 2.4"}
    assert content["absent"] == {"torch:cuda": "torch finds no CUDA device"}
    row = content["rows"][0]
    assert (row["penalty"], row["cells"], row["worst"]) == ("L2", {"pass": 1, "fail": 1}, 3.0)
    assert row["worst_case"] == "L2/0/relu"
    assert [cell["ratio"] for cell in content["wrong"]] == [3.0, "inf", None]
    assert content["wrong"][1]["again"] == "python -m regcore_conformance --only numpy --penalties TAR"
    assert content["wrong"][2]["again"] == "python -m regcore_conformance --only regcore_torch"


def test_every_key_is_on_the_page():
    keys = json.loads(records.as_json(VERDICTS, {}, SOURCES)).keys()
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{key}`" in page for key in keys), keys


def test_junit_counts_and_names():
    root = ElementTree.fromstring(records.as_junit(VERDICTS))
    assert [suite.get("name") for suite in root] == ["numpy", "jax:cpu", "regcore_torch", "torch:cuda"]
    assert [suite.get("failures") for suite in root] == ["2", "0", "1", "0"]
    assert [suite.get("skipped") for suite in root] == ["0", "1", "0", "1"]
    failure = root.find("testsuite/testcase[@name='L2']/failure")
    assert failure.get("message") == "1 of 2 cells are wrong"
    assert re.match(r"L2/0/relu: error is 3 times.*--only numpy --penalties L2", failure.text)
    assert root.find("testsuite[@name='regcore_torch']//failure").text.startswith("step: ValueError: <no & yes>")


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["regcore_conformance", "--json", str(tmp_path / "none" / "result.json")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "make it first" in capsys.readouterr().err


def test_the_command_writes_both(tmp_path, monkeypatch, capsys):
    paths = [tmp_path / "result.json", tmp_path / "result.xml"]
    options = ["--quick", "--only", "numpy", "--penalties", "L2", "--json", str(paths[0]), "--junit", str(paths[1])]
    monkeypatch.setattr("sys.argv", ["regcore_conformance", *options])
    assert main() == 0
    assert json.loads(paths[0].read_text())["summary"]["pass"] > 0
    assert len(ElementTree.fromstring(paths[1].read_text()).findall("testsuite/testcase")) == 3
    assert "cells passed" in capsys.readouterr().out

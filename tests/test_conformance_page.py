"""The page has everything in it, shows texts as text, and each of its cells has its worst case and a command."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import page
from regcore_conformance.cases import philox_key
from regcore_conformance.selection import Selection
from regcore_conformance.suite import Run, Sources
from regcore_conformance.verdicts import Verdict

EVIL = "</script><img src=x onerror=alert(1)> & <!-- ]]>"
VERDICTS = [
    Verdict("numpy", "eager", "float32", "L2/0/dense", "pass", "", 0.25, None, "value"),
    Verdict("numpy", "eager", "float32", "L2/0/zero row", "pass", "", 0.75, None, "gradient by x"),
    Verdict("numpy", "eager", "float32", "L2/0/offset", "not run", "it takes long"),
    Verdict("numpy", "eager", "exact", "TAR/0/dense", "fail", EVIL, float("inf"), None, "gradient by x"),
    Verdict("numpy", "eager", "exact", "TAR/0/ties", "pass", "", 0.1, None, "value"),
    Verdict("numpy", "eager", "float64", "TAR/0/dense", "pass", "", 0.5, None, "value"),
    Verdict("numpy", "eager", "float64", "TAR/0/ties", "xfail", "known for long"),
    Verdict("jax:cpu", "jit", "exact", "L2/0/dense", "error", f"ValueError: {EVIL}"),
    Verdict("jax:cpu", "jit", "exact", "TAR/0/dense", "unsupported", "no such thing"),
    Verdict("regcore_torch", "step", "float32", "step", "pass", "", 0.5, None, "gradient by W"),
    Verdict("torch:cuda", "", "", "", "not run", "torch finds no CUDA device"),
]


def made(verdicts):
    descriptions = {"numpy": "numpy 2.4", "jax:cpu": EVIL}
    sources = Sources(("L2/0/dense",), (), ())
    run = Run(Selection(seed=7), verdicts, descriptions, sources, {"numpy": 1.25}, "2026-01-02", 5.0)
    return page.as_html(run, f"python -m regcore_conformance --cases '{EVIL}'")


HTML = made(VERDICTS)


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def cell(data, backend, penalty, grade):
    """What a cell opens to."""
    column = next(i for i, way in enumerate(data["columns"]) if (way[0], way[2]) == (backend, grade))
    found = data["cells"][data["rows"][data["penalties"].index(penalty)][column]]
    if not found:
        return None
    status, ratio, case, result, detail, counts, reasons = found
    return {
        "status": data["statuses"][status],
        "ratio": ratio,
        "case": None if case is None else data["cases"][case],
        "result": None if result is None else data["texts"][result],
        "detail": None if detail is None else data["texts"][detail],
        "counts": dict(zip(data["statuses"], counts, strict=True)),
        "reasons": [data["texts"][reason] for reason in reasons],
    }


def test_a_cell_opens_to_its_worst_case():
    found = cell(data_of(HTML), "numpy", "L2", "float32")
    case, key, pattern, quoted = found.pop("case")
    assert (case, quoted) == ("L2/0/zero row", "'L2/0/zero row'")
    assert key == f"0x{philox_key('L2/0/zero row 7'):08x}"
    assert "the first sample is 0" in pattern
    counts = {"pass": 2, "xfail": 0, "fail": 0, "error": 0, "unsupported": 0, "not run": 1}
    assert found == {
        "status": "pass",
        "ratio": "0.75",
        "result": "gradient by x",
        "detail": "",
        "counts": counts,
        "reasons": ["it takes long"],
    }


def test_what_is_wrong_comes_before_what_is_right_and_what_did_not_run_says_why():
    data = data_of(HTML)
    wrong = cell(data, "numpy", "TAR", "exact")
    assert (wrong["status"], wrong["ratio"], wrong["case"][0], wrong["detail"]) == ("fail", "inf", "TAR/0/dense", EVIL)
    error = cell(data, "jax:cpu", "L2", "exact")
    assert (error["status"], error["ratio"]) == ("error", None)
    unsupported = cell(data, "jax:cpu", "TAR", "exact")
    assert (unsupported["status"], unsupported["case"], unsupported["reasons"]) == (
        "unsupported",
        None,
        ["no such thing"],
    )
    known = cell(data, "numpy", "TAR", "float64")
    assert (known["status"], known["case"][0], known["reasons"]) == ("xfail", "TAR/0/ties", ["known for long"])
    assert cell(data, "numpy", "TAR", "float32") is None
    assert ["torch:cuda", "", "torch finds no CUDA device"] in data["backends"]
    assert data["steps"] == [["regcore_torch", "pass", "0.5", "", "python -m regcore_conformance --only regcore_torch"]]


def test_the_command_of_a_cell_is_that_of_the_records():
    data = data_of(HTML)
    assert data["again"] == "python -m regcore_conformance --only BACKEND --cases CASE/ --seed 7 --full"
    assert data["seed"] == 7


def test_texts_of_others_end_no_script_and_are_no_html():
    assert HTML.count("</script>") == 2
    assert "<img" not in HTML
    assert "innerHTML" not in HTML
    assert ["jax:cpu", EVIL, ""] in data_of(HTML)["backends"]


def test_only_results_that_differ_are_in_the_table_of_bits():
    results = [{"value": np.float32(value)} for value in (1.0, 1.0, 2.0)]
    one, other = (
        [Verdict("numpy", str(i), "exact", c, "pass", "", 0.5, r) for i, r in enumerate(results)] for c in "ab"
    )
    bits = data_of(made([*one[:2], *other]))["bits"]
    assert (bits["cases"], bits["ways"], list(bits["several"])) == (2, 3, ["b"])


def test_the_page_loads_nothing():
    assert not re.search(r"https?:|\bsrc=|\bhref=|@import|url\(|fetch\(|XMLHttp|import\(", HTML.replace("src=x", ""))
    assert not re.search(r"\{(data|state|summary|command|date)\}|/\*(style|matrix|details)\*/", HTML)


def test_the_state_is_in_the_title():
    assert "<title>regcore conformance: failed</title>" in HTML
    right = made([v for v in VERDICTS if v.status not in ("fail", "error")])
    assert "<title>regcore conformance: passed</title>" in right
    assert "5 cells passed, 0 failed, 1 are known to fail, 1 unsupported, 2 not run" in right


def test_a_large_run_is_a_small_page():
    ways = [(f"backend{i}", f"mode{j}", f"grade{k}") for i in range(8) for j in range(4) for k in range(5)]
    names = [f"Penalty{i}/{example}/dense" for i in range(45) for example in range(9)]
    verdicts = [
        Verdict(*way, name, "pass", "", 0.001 * ((7 * i + 31 * j) % 997), None, "value")
        for i, way in enumerate(ways)
        for j, name in enumerate(names)
    ]
    assert len(verdicts) == 64_800
    assert len(made(verdicts)) < 1_000_000


def test_the_script_is_javascript(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node, which checks the syntax, is not installed")
    script = tmp_path / "page.js"
    script.write_text(re.findall(r"<script>(.*?)</script>", HTML, re.DOTALL)[0])
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_parts_of_the_page_are_short():
    folder = Path(page.__file__).parent / "template"
    for name in (*page.PARTS.values(), "page.html"):
        assert len((folder / name).read_text(encoding="utf-8").splitlines()) <= 200

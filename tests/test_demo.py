"""The demo as a user starts it: with every framework that is here, without one, and with data that are not there."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the demo needs scikit-learn")
pytest.importorskip("matplotlib", reason="the demo needs matplotlib")
pytest.importorskip("tqdm", reason="the demo needs tqdm")

from examples.demo.__main__ import main
from examples.demo.frameworks import FRAMEWORKS
from examples.demo.proof import failures

ROOT = Path(__file__).parent.parent
PRESENT = [name for name, framework in FRAMEWORKS.items() if not framework.missing]
PROOF = {"exact": "0.5", "bits": "3f000000", "value_error": 0.25, "gradient_error": 1.0}


def demo(*arguments, hidden=(), path=""):
    """Run it as `python -m examples.demo` does, in a Python that cannot find the hidden modules but those in `path`."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({list(hidden)})); "
        "runpy.run_module('examples.demo', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not PRESENT, reason="no framework is installed")
def test_every_framework_here_passes_the_proof(tmp_path):
    ran = demo("--steps", 3, "--out", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "PASSED" in ran.stdout
    assert "100%" in ran.stderr  # the progress bar
    results = json.loads((tmp_path / "demo.json").read_text())
    assert list(results["frameworks"]) == ["numpy", *PRESENT]
    for net, expected in results["frameworks"]["numpy"]["nets"].items():
        for column in (results["frameworks"][name]["nets"][net] for name in PRESENT):
            assert {site: proof["bits"] for site, proof in column["proof"].items()} == {
                site: proof["bits"] for site, proof in expected["proof"].items()
            }
            assert all(max(p["value_error"], p["gradient_error"]) <= 1 for p in column["proof"].values())
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "demo.png"]


@pytest.mark.skipif("torch" not in PRESENT, reason="PyTorch is not installed")
@pytest.mark.long
def test_a_missing_framework_is_named_and_left_out(tmp_path):
    ran = demo("--frameworks", "flax,torch", "--steps", 1, "--out", tmp_path, hidden=["flax"])
    assert ran.returncode == 0, ran.stderr
    assert "Flax is left out: flax cannot be found; to have it, pip install -e '.[flax]'" in ran.stderr
    assert list(json.loads((tmp_path / "demo.json").read_text())["frameworks"]) == ["numpy", "torch"]


def test_no_framework_at_all(tmp_path):
    ran = demo("--frameworks", "keras", "--out", tmp_path / "demo", hidden=["tensorflow", "keras"])
    assert ran.returncode == 1
    assert "tensorflow and keras cannot be found" in ran.stderr
    assert "install one of the above" in ran.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.skipif("torch" not in PRESENT, reason="PyTorch is not installed")
@pytest.mark.long
def test_a_framework_that_breaks_is_a_failure(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('planted')")
    ran = demo("--frameworks", "torch", "--steps", 1, "--out", tmp_path, path=tmp_path)
    assert ran.returncode == 1
    assert "FAILED: PyTorch failed with exit status 1" in ran.stderr
    assert "planted" in ran.stderr
    assert "PASSED" not in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere has no t10k-images-idx3-ubyte.gz and no t10k-labels-idx1-ubyte.gz"),
        (["--frameworks", "torch,nonsense"], "got ['nonsense']; expected some of torch,flax,keras"),
        (["--steps", "0"], "got '0'; expected a number of steps, at least 1"),
    ],
)
def test_a_bad_option_says_what_is_expected(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def columns():
    net = {"penalty": 2.0, "proof": {"site": PROOF}}
    return {name: {"label": name, "nets": {"net": copy.deepcopy(net)}} for name in ("numpy", "torch")}


def test_a_proof_that_holds():
    assert failures(columns()) == []


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({"bits": "3f000001"}, "torch, net, site: the bits of the exact grade are 3f000001; NumPy has 3f000000"),
        ({"value_error": 1.5}, "conformance bound"),
        ({"gradient_error": float("nan")}, "conformance bound"),
    ],
)
def test_a_proof_that_does_not_hold_is_a_failure(planted, message):
    broken = columns()
    broken["torch"]["nets"]["net"]["proof"]["site"] |= planted
    (problem,) = failures(broken)
    assert message in problem


def test_a_model_that_starts_elsewhere_is_a_failure():
    broken = columns()
    broken["torch"]["nets"]["net"]["penalty"] = 2.1
    assert failures(broken) == ["torch, net: the penalty is 2.1; NumPy has 2.0"]

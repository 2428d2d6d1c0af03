"""The wheel holds exactly the five packages, with their types, and asks for numpy and array-api-compat alone."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import regcore

ROOT = Path(__file__).parent.parent
PACKAGES = {"regcore", "regcore_torch", "regcore_flax", "regcore_keras", "regcore_conformance"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_types_are_shipped(wheel):
    assert {name for name in wheel.namelist() if name.endswith("py.typed")} == {f"{p}/py.typed" for p in PACKAGES}


def test_metadata(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    lines = wheel.read(name).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist") and "extra" not in line]
    assert {line.split()[1].split(">")[0] for line in required} == {"numpy", "array-api-compat"}
    assert f"Version: {regcore.__version__}" in lines
    assert "Name: regcore-array" in lines
    assert "License-Expression: Apache-2.0" in lines


def test_the_suite_runs_from_the_wheel_outside_of_a_checkout(wheel, tmp_path):
    pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")
    wheel.extractall(tmp_path / "site")
    options = ["--quick", "--only", "numpy", "--penalties", "TAR", "--html", "page.html"]
    done = subprocess.run(
        [sys.executable, "-m", "regcore_conformance", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 references were stored, 0 computed in this run" in done.stdout
    assert ", 0 failed," in done.stdout
    assert "<html" in (tmp_path / "page.html").read_text()

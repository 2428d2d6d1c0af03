"""The pytest plugin, in processes of its own: options, the fixture, the header, and nothing loaded when unused."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import grades, plugin

OTHERS = ("hypothesispytest", "jaxtyping", "typeguard", "anyio")  # plugins that load NumPy, or much else

TEST = """
    import dataclasses, regcore

    class Wrong(regcore.L2):
        def slope(self, xp, x):
            return x

    def test_right(conform_penalty):
        done = conform_penalty(regcore.L2(), (4, 3), patterns=["dense"])
        print("RAN", *done.backends, "NOT", *done.not_run)

    def test_wrong(conform_penalty):
        conform_penalty(Wrong(), (4, 3), patterns=["dense"])
"""


def pytest_in(folder, *options):
    """pytest on the file above, or on one that uses no fixture of ours."""
    off = [f"-pno:{name}" for name in ("cacheprovider", *OTHERS)]
    command = [sys.executable, "-m", "pytest", *off, "-s", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "test_penalties.py").write_text(textwrap.dedent(TEST))
    return tmp_path


def test_the_plugin_checks_on_what_the_options_say(folder):
    done = pytest_in(folder, "--regcore-backend=numpy", "--regcore-dtype=float64")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "RAN numpy NOT\n" in done.stdout
    assert "E           numpy eager float64, gradient by x, Wrong/0/dense" in done.stdout
    assert "eager float32" not in done.stdout
    assert "regcore conformance: numpy\n" in done.stdout


def test_a_device_that_is_not_here_fails(folder):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = pytest_in(folder, "--regcore-backend=torch", "--regcore-device=gpu", "-k=right")
    assert "torch:cuda was asked for and is not run: torch finds no CUDA device" in done.stdout
    assert "regcore conformance: torch:cuda\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--regcore-backend=nump"], "no backend is called ['nump']; choose from ['numpy'"),
        (["--regcore-backend=numpy", "--regcore-device=gpu"], "['numpy'] is not run on a gpu; choose from ['torch'"),
        (["--regcore-dtype=int8"], "invalid choice: 'int8'"),
    ],
    ids=["backend", "device", "dtype"],
)
def test_a_wrong_option_is_refused_at_the_start(folder, options, words):
    done = pytest_in(folder, *options)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert words in done.stderr


UNUSED = """
    import sys

    def test_nothing():
        heavy = {"regcore", "numpy", "gmpy2", "torch", "jax", "tensorflow", "array_api_strict"}
        assert not heavy & {name.split(".")[0] for name in sys.modules}
        assert "regcore_conformance.plugin" in sys.modules
"""


def test_an_unused_plugin_loads_nothing_and_says_what_there_is(tmp_path):
    (tmp_path / "test_unused.py").write_text(textwrap.dedent(UNUSED))
    done = pytest_in(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "regcore conformance: numpy, " in done.stdout


def test_what_is_not_installed_is_in_the_header(folder):
    """A `find_spec` that finds no JAX, as where there is none."""
    (folder / "conftest.py").write_text(
        "from regcore_conformance import backends\nbackends.missing = lambda: ['jax', 'tensorflow']\n"
    )
    done = pytest_in(folder, "--collect-only")
    assert "regcore conformance: numpy, array-api-strict, torch:cpu; not installed: jax, tensorflow\n" in done.stdout


def test_the_dtypes_are_the_grades_of_the_suite():
    assert set(plugin.GRADES) == set(grades.GRADES)

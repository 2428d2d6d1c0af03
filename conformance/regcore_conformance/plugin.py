"""The pytest plugin: the fixture `conform_penalty`, and options that say on which backends it runs."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from . import backends

GRADES = ("float64", "float32", "float16", "bfloat16", "exact", "exact float16", "exact bfloat16")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("regcore", "conformance of penalties (fixture conform_penalty)")
    add = group.addoption
    add("--regcore-backend", action="append", metavar="NAME", help="run on this library only; may be repeated")
    add("--regcore-device", default="cpu", choices=backends.DEVICES, help="run on this device (default: cpu)")
    add("--regcore-dtype", action="append", choices=GRADES, help="this dtype only, or float32 in the exact grade")


def pytest_configure(config: pytest.Config) -> None:
    try:
        backends.chosen(config.getoption("regcore_backend") or [], config.getoption("regcore_device"))
    except ValueError as error:
        raise pytest.UsageError(f"--regcore-backend: {error}") from None


def pytest_report_header(config: pytest.Config) -> str:
    """Which backends there are, as far as can be told without importing them."""
    chosen, absent = config.getoption("regcore_backend"), backends.missing()
    names = backends.chosen(chosen, config.getoption("regcore_device"))
    here = [name for name in names if name.split(":")[0] not in absent]
    missing = f"; not installed: {', '.join(absent)}" if absent else ""
    digits = "" if importlib.util.find_spec("gmpy2") else "; gmpy2 is not installed, so nothing can be checked"
    return f"regcore conformance: {', '.join(here) or 'nothing'}{missing}{digits}"


@pytest.fixture
def conform_penalty(pytestconfig: pytest.Config) -> Callable[..., Any]:
    """`regcore_conformance.check` with the backends, the device and the dtypes of the command line.

    def test_my_penalty(conform_penalty):
        conform_penalty(MyPenalty())
    """
    options = {
        "backends": pytestconfig.getoption("regcore_backend"),
        "device": pytestconfig.getoption("regcore_device"),
        "grades": pytestconfig.getoption("regcore_dtype"),
    }

    def run(penalty: Any, *args: Any, **kwargs: Any) -> Any:
        from . import check

        return check(penalty, *args, **{**options, **kwargs})

    return run

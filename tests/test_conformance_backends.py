"""Backends that installed packages declare: found by their entry point, and judged as all others are."""

import contextlib
import importlib.util
import sys

import numpy as np
import packages
import pytest

from regcore import L2, BatchEntropy

pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

from regcore_conformance import backends, check


def install(folder, name, code, **entry_points):
    targets = {entry.replace("_", "-"): f"{name}:{target}" for entry, target in entry_points.items()}
    packages.install(folder, name, backends.GROUP, targets, code)


ACME = """
    import array_api_compat.numpy as xp
    import numpy as np
    from regcore_conformance.backends import NotHere
    from regcore_conformance.cases import UPSTREAM
    from regcore_conformance.runners import array_api

    right = array_api.evaluators(np)["eager"]

    def backend():
        return "acme 1.0 over NumPy", {"eager": right}

    def forgets_upstream():
        def eager(*problem):
            return {name: array if name == "value" else array / UPSTREAM for name, array in right(*problem).items()}
        return "acme", {"eager": eager}

    def wrong_sum():
        def eager(*problem):
            before, xp.sum = xp.sum, lambda x, **options: before(x, **options) * (1 + 2.0**-20)
            try:
                return right(*problem)
            finally:
                xp.sum = before
        return "acme", {"eager": eager}

    def elsewhere():
        raise NotHere("acme finds no accelerator")

    def broken():
        raise OSError("no licence")
"""

ELSEWHERE = """
    import functools
    import types

    import array_api_strict as strict
    import numpy as np
    from regcore_conformance.runners import array_api

    there = strict.Device("device1")  # arrays on it are not NumPy's to read, as those on a GPU
    xp = types.SimpleNamespace(**{**vars(strict), "asarray": functools.partial(strict.asarray, device=there)})

    def backend():
        asnumpy = lambda array: np.asarray(array.to_device(strict.Device("CPU_DEVICE")))
        return "acme on device1", array_api.evaluators(xp, asnumpy)

    def no_converter():
        return "acme on device1", array_api.evaluators(xp)
"""


@pytest.fixture
def acme(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda **entry_points: install(tmp_path, "acme_backend", ACME, **entry_points)
    sys.modules.pop("acme_backend", None)


def only(*names, **options):
    return check(L2(), (4, 3), backends=names, patterns=["dense"], **options)


def test_a_backend_of_a_package_is_found_and_passes(acme):
    acme(acme="backend", acme_two="elsewhere")
    assert only("acme", "numpy").backends == {"acme": "acme 1.0 over NumPy", "numpy": f"numpy {np.__version__}"}
    assert backends.chosen(device="gpu")[-2:] == ["acme", "acme-two"]
    with pytest.raises(AssertionError, match="acme-two was asked for and is not run: acme finds no accelerator"):
        only("acme", "acme-two")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("wrong_sum", "acme eager float64, value, L2/0/dense.*times the bound"),
        ("forgets_upstream", "acme eager exact, gradient by x, L2/"),
        ("broken", "acme does not start: OSError: no licence"),
    ],
)
def test_a_backend_that_is_wrong_is_caught(acme, target, words):
    acme(acme=target)
    with pytest.raises(AssertionError, match=words) as caught:
        only("acme", "numpy")
    assert "\nnumpy" not in str(caught.value)


def test_a_backend_with_a_name_that_is_taken_is_left_out(acme):
    acme(numpy="wrong_sum")
    with pytest.warns(RuntimeWarning, match="the backend numpy = 'acme_backend:wrong_sum' has a name that is taken"):
        assert only("numpy").passed > 0


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda **entry_points: install(tmp_path, "acme_elsewhere", ELSEWHERE, **entry_points)
    sys.modules.pop("acme_elsewhere", None)


def test_a_library_on_a_device_of_its_own_says_how_to_bring_arrays_back(elsewhere):
    elsewhere(acme="backend", unread="no_converter")
    options = {"patterns": ["dense"], "grades": ["float32", "exact"]}
    assert check(BatchEntropy, backends=["acme"], **options).backends == {"acme": "acme on device1"}
    with pytest.raises(AssertionError, match=r"unread eager float32, .*device1"):
        check(BatchEntropy, backends=["unread"], **options)


class Stray(L2):
    """A value that leaves the device of `x`."""

    def value(self, xp, x, params, *, mask=None, across=None):
        return x.to_device(xp.Device("CPU_DEVICE"))[0, 0]


def test_a_result_on_another_device_is_an_error(elsewhere):
    elsewhere(acme="backend")
    with backends.entered("acme") as (_, evaluators), pytest.raises(RuntimeError, match=r"were to be on .*device1"):
        evaluators["eager"](Stray(), np.ones((2, 2), np.float32), {}, None)


def test_what_a_gpu_library_needs_is_said_where_it_is_not():
    assert "cupy" in backends.chosen(device="gpu")
    if importlib.util.find_spec("cupy") is None:
        with pytest.raises(ImportError, match="cupy"), backends.entered("cupy"):
            pass
        return
    with contextlib.suppress(backends.NotHere), backends.entered("cupy") as (description, _):
        assert "CUDA" in description


def test_keras_is_run_where_it_is_asked_for():
    assert not any("keras" in name for name in backends.chosen())
    assert backends.chosen(["keras", "numpy"]) == ["keras", "numpy"]
    with pytest.raises(ValueError, match=r"'keras'. is not run on a gpu"):
        backends.chosen(["keras"], device="gpu")

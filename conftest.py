"""What every docstring example sees; and the order of tests, and which of them stay together where some run at once."""

import os

import hypothesis
import numpy as np
import pytest

import regcore

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of JAX's time is compilation; the suite has them on
hypothesis.settings.register_profile("here", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("here")


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace.update(vars(regcore), np=np)


FIRST = ("test_keras.py", "test_demo.py", "test_parametrize_adapters.py", "test_backends.py", "test_conformance.py")
WAITING = FIRST[:2]  # for other processes, so that each test may run where there is room


def pytest_collection_modifyitems(config, items):
    """Long files first; what pytest-xdist must not tear apart is a class, or the functions of a file."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            group = item.nodeid if item.path.name in WAITING else item.nodeid.rpartition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))

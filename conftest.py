"""What every docstring example sees."""

import numpy as np
import pytest

import regcore


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace.update(vars(regcore), np=np)

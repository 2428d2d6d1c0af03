"""`conform`: plain functions that differ are told apart, those that do not are not; and docs/conformance.md runs."""

import contextlib
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

import regcore
from regcore_conformance import conform

PAGE = Path(__file__).parent.parent / "docs" / "conformance.md"
torch, jax, tf = (pytest.importorskip(n, reason=f"{n} is not installed") for n in ("torch", "jax", "tensorflow"))
EVERY = ("numpy", "torch", "jax", "tensorflow")


def test_the_page_runs_and_prints_what_it_says():
    pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")
    text = PAGE.read_text(encoding="utf-8")
    names, printed = {"__name__": "page"}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            exec(compile(block, PAGE.name, "exec"), names)
    lines = [line.strip() for line in printed.getvalue().splitlines()]
    shown = [line.strip() for line in text.splitlines() if "differ in" in line]
    assert len(shown) == 4
    assert set(shown) <= set(lines)
    assert "Quartic(): " in printed.getvalue()
    assert names["backend"]()[0].startswith("acme")
    assert names["eager"](regcore.L2(), np.ones(2), {}, None)["value"] == 1.0


def test_the_numbers_of_the_page_are_those_of_the_formula():
    variances = {1: 5 / 3, 0: 5 / 4}
    for correction, expected in ((1, 0.6809), (0, 0.6144)):
        assert math.log(math.pi * math.e * variances[correction] + 1) / 4 == pytest.approx(expected, abs=5e-5)


SPECS = [
    (regcore.L1(), (4, 3)),
    (regcore.TotalVariation(), (3, 4, 2)),
    (regcore.Orthogonality(), (4, 3)),
    (regcore.Variance(), (6, 3)),
    (regcore.KLSparsity(), (4, 3)),
    (regcore.NuclearNorm(), (4, 3)),
]


@pytest.mark.parametrize(("spec", "shape"), SPECS, ids=lambda p: type(p).__name__)
def test_one_spec_is_the_same_function_everywhere(spec, shape):
    report = conform(numpy=spec, torch=spec, tensorflow=spec, examples=[shape])
    assert report.agree, str(report)
    assert len(report.values) == 10
    report.check()


def test_every_framework_differentiates_its_own():
    functions = {
        "numpy": lambda x: np.mean(np.tanh(x) ** 2),
        "torch": lambda x: x.tanh().pow(2).mean(),
        "jax": lambda x: (jax.numpy.tanh(x) ** 2).mean(),
        "tensorflow": lambda x: tf.reduce_mean(tf.tanh(x) ** 2),
    }
    for dtype in ("float64", "float32"):
        conform(**functions, examples=[(3, 2)], dtype=dtype).check()


BOTH = {"value", "gradient"}
PLANTED = [
    ("a factor", {"numpy": lambda x: np.mean(x * x), "torch": lambda x: x.pow(2).sum() / 7}, BOTH),
    ("a constant", {"numpy": lambda x: np.mean(x * x), "torch": lambda x: x.pow(2).mean() + 1e-3}, {"value"}),
    ("detached", {"numpy": lambda x: np.sum(x * x), "torch": lambda x: (x.detach() * x).sum()}, {"gradient"}),
    ("a kink", {"jax": lambda x: abs(x).sum(), "torch": lambda x: x.abs().sum()}, {"gradient"}),
    ("one entry", {"numpy": lambda x: np.sum(x), "torch": lambda x: x.sum() + 1e-5 * x[1, 1]}, BOTH),
    ("an axis", {"numpy": lambda x: np.var(x, 0).sum(), "torch": lambda x: x.var(1, correction=0).sum()}, BOTH),
]


@pytest.mark.parametrize(("functions", "where"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_a_difference_is_found_and_said_to_be_in_value_or_gradient(functions, where):
    report = conform(**functions, examples=[np.asarray([[1.0, 0.0], [-2.0, 0.5]])])
    assert {difference.what for difference in report.differences} == where
    with pytest.raises(AssertionError, match=f"{report.differences[0].pair[1]} differ in {report.differences[0].what}"):
        report.check()


def test_nan_in_one_is_a_difference_and_in_both_is_none():
    """The square of a standard deviation, on a batch of one sample and on a constant one."""
    constant = np.asarray([[1.0], [1.0]])
    report = conform(torch=lambda x: x.std() ** 2, jax=lambda x: x.std(ddof=1) ** 2, examples=[constant])
    (difference,) = report.differences
    assert (difference.what, difference.relative) == ("gradient", math.inf)
    assert "NaN in one of them" in str(report)
    conform(torch=lambda x: x.sum() * math.nan, jax=lambda x: x.sum() * math.nan, examples=[constant]).check()


def test_a_kink_is_left_out_where_differences_say_nothing():
    x = np.asarray([0.0, 1.0, -2.0])
    conform(numpy=lambda x: np.abs(x).sum(), torch=lambda x: x.abs().sum(), examples=[x]).check()
    assert not conform(numpy=lambda x: np.abs(x).sum(), torch=lambda x: 2 * x.abs().sum(), examples=[x]).agree


def test_what_gives_no_number_or_no_gradient_is_named():
    report = conform(
        torch=lambda x: x.mean().detach(),
        jax=lambda x: x,
        tensorflow=lambda x: tf.constant(1.0),
        numpy=lambda x: x.missing,
        examples=[np.ones(2)],
    )
    assert [*report.errors] == [f"{name} on example 0" for name in EVERY]
    for words in ("no gradient reaches x", "of shape (2,); expected a 0-d one", "AttributeError"):
        assert words in str(report)
    assert not report.agree


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"torch": abs, "examples": [(2, 2)]}, r"got \['torch'\]; expected two or more"),
        ({"torch": abs, "numpy": abs, "examples": []}, "got no examples: pass arrays, or shapes"),
        ({"torch": abs, "numpy": abs, "examples": [(2,)], "dtype": "float8"}, "dtype='float8'; expected one of"),
    ],
    ids=["one function", "no examples", "dtype"],
)
def test_what_cannot_be_compared_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        conform(**options)


def test_a_framework_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jax" else name)
    with pytest.raises(ImportError, match=r"functions of \['jax'\], not installed here"):
        conform(jax=abs, numpy=abs, examples=[(2,)])

"""Keras as a backend of the conformance suite, on the backend of this process; see test_keras.py."""

import contextlib
import sys

import numpy as np
import pytest

if not any("keras_suite" in argument for argument in sys.argv):
    pytest.skip("Keras chooses its backend once per process: test_keras.py runs this file", allow_module_level=True)
pytest.importorskip("gmpy2", reason="gmpy2 is not installed (the extra `conformance`)")

import keras

import regcore_keras
from regcore import L1, L2, exact
from regcore_conformance import backends, check
from regcore_conformance.evaluating import cell
from regcore_conformance.judging import findings, truths
from regcore_conformance.runners import Unsupported
from regcore_conformance.selection import Selection
from regcore_keras.state import State

pytestmark = [
    # Keras converts its own variables so on PyTorch
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist for variables"),  # where they are lost on purpose
]
OWN = keras.backend.backend()
MODE = "eager" if OWN == "torch" else "compiled"
IDS = (
    "TAR/1/dense",  # a mask
    "BatchEntropy/4/constant",  # multiplies the task loss; alpha; a mask
    "CenterLoss/0/ties",  # learned centers, labels
)
OTHERS = ("L2/0/dense", "Containment/0/dense", "Orthogonality/5/offset")  # floating inputs, and a boolean one


def judged(ids, grades=("float32",), mode=MODE):
    """The results of these cases through Keras that are wrong, by case and what they are."""
    cases = Selection(penalties=tuple({name.split("/")[0] for name in ids}), ids=tuple(ids)).cases()
    with backends.entered(f"keras:{OWN}") as (_, evaluators):
        cells = [cell(mode, evaluators[mode], grade, case) for grade in grades for case in cases]
    assert {each.status for each in cells} <= {"ran", "error"}
    found = [*findings("keras", cells, truths(cases))]
    assert {each.case for each in found} == set(ids)
    return {(each.case, each.what): each.detail for each in found if each.ratio > 1}


@pytest.mark.parametrize("grade", ["float64", "bfloat16", "exact"])
def test_every_kind_of_penalty_conforms(grade):
    assert judged(IDS, [grade]) == {}


def test_inputs_of_every_kind_arrive():
    assert judged(OTHERS) == {}  # in float32


def test_a_mask_arrives_where_there_are_inputs_too():
    assert judged(["CenterLoss/1/ties"]) == {}


def test_eager_mode_conforms():
    assert judged(["L2/0/dense"], mode="eager") == {}


def test_a_mode_that_is_not_entered_is_an_error():
    if OWN == "torch":
        pytest.skip("Keras compiles on PyTorch only if it is told to, and the suite does not")
    with eagerly():
        (detail,) = judged(["L2/0/dense"]).values()
    assert "this was to be compiled, and was not" in detail


@contextlib.contextmanager
def eagerly():
    if OWN == "jax":
        import jax

        with jax.disable_jit():
            yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def without(**changes):
    """`Regularize.call` with some of its arguments changed."""
    original = regcore_keras.Regularize.call

    def call(self, x, mask=None, training=None, **inputs):
        given = {"x": x, "mask": mask, "training": training}
        return original(self, **{**given, **{name: change(given[name]) for name, change in changes.items()}}, **inputs)

    return call


def added_twice(self, loss, coupled=False):
    for _ in range(2):
        keras.Layer.add_loss(self, loss)
        self._coupled.append(coupled)


def in_float32(self, x, mask=None, **inputs):
    for loss, coupled in penalties(self, keras.ops.cast(x, "float32"), mask, **inputs):
        yield keras.ops.cast(loss, "float64"), coupled


def detached(self):
    return {name: keras.ops.stop_gradient(value) for name, value in params(self).items()}


penalties, params = regcore_keras.Regularize.penalties, State.params
LAYER, DETACH = regcore_keras.Regularize, keras.ops.stop_gradient
BUGS = {  # what is changed, the grade that shows it, a case, and which of its results are wrong
    "x is detached": (LAYER, "call", without(x=DETACH), "float32", "CenterLoss/0/ties", {"gradient by x"}),
    "no mask": (LAYER, "call", without(mask=lambda _: None), "float32", "TAR/1/dense", {"value", "gradient by x"}),
    "counted twice": (LAYER, "add_loss", added_twice, "float32", "TAR/1/dense", {"value", "gradient by x"}),
    "cast to float32": (
        LAYER,
        "penalties",
        in_float32,
        "float64",
        "BatchEntropy/4/constant",
        {"value", "gradient by x"},
    ),
    "alpha is detached": (State, "params", detached, "float32", "BatchEntropy/4/constant", {"gradient by alpha"}),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_broken_layer_is_caught(bug, monkeypatch):
    where, name, broken, grade, case, wrong = BUGS[bug]
    monkeypatch.setattr(where, name, broken)
    assert {what for _, what in judged([case], [grade])} == wrong


def test_dtypes_of_keras_come_back():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert judged(["L2/0/dense"]) == {}
        assert (keras.config.floatx(), keras.config.dtype_policy().name) == ("float64", "mixed_bfloat16")
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_check_takes_keras_where_it_is_asked_for():
    done = check(L2(), (4, 3), backends=["numpy", "keras"], grades=["float32"], patterns=["dense"])
    assert done.backends["keras"].startswith(f"keras {keras.__version__} on {OWN} ")
    assert {name.split()[0] for name in done.not_run} <= {"numpy", "keras"}


def test_another_backend_of_keras_is_not_in_this_process():
    other = "torch" if OWN == "jax" else "jax"
    with (
        pytest.raises(backends.NotHere, match=f"Keras runs on {OWN} in this process, .*KERAS_BACKEND={other}"),
        backends.entered(f"keras:{other}"),
    ):
        pass


@pytest.mark.parametrize("spec", [0.1 * L2(), L1() + L2()], ids=str)
def test_weights_are_not_exact(spec):
    x = np.ones((2, 3), np.float32)
    with backends.entered("keras") as (_, evaluators), pytest.raises(Unsupported, match="after they are rounded"):
        evaluators["eager"](exact(spec), x, {}, None)

"""What a parametrization refuses, with which words; and that it is a value, public, and JSON."""

import json
import pickle

import numpy as np
import pytest

from regcore import L2, parametrizations
from regcore.parametrizations import (
    Cube,
    Difference,
    DoubleExp,
    DoubleExpm1,
    Exp,
    FixedSign,
    Identity,
    Log,
    Parametrization,
    Reciprocal,
    SignedExpm1,
    SignedSquare,
    Sinh,
    Softmax,
    Softplus,
    SoftSign,
    Square,
    catalogue,
    choose,
    from_config,
    to_config,
)

SPECS = [kind() for kind in catalogue().values()]
SPECS += [Softmax(axis=0), Difference(inner=Square(), delta=0.5), SoftSign(inner=Softplus(), sharpness=2.0)]
for_every_spec = pytest.mark.parametrize("spec", SPECS, ids=repr)

OUTSIDE = [
    (Exp(), [1.0, -0.5], r"Exp\(\) got the weight -0.5 at \(1,\); expected A > 0.*Sinh\(\).*FixedSign"),
    (Exp(), [[1.0], [0.0]], r"got the weight 0.0 at \(1, 0\)"),
    (Exp(), [np.nan], "got the weight nan.*no parametrization takes that"),
    (Softplus(), [np.inf], "got the weight inf.*no parametrization takes that"),
    (Square(), [0.0], "0 would never train.*Sinh"),
    (SignedSquare(), [0.0], "0 would never train"),
    (Cube(), [0.0], "0 would never train"),
    (Reciprocal(), [0.0], "A != 0"),
    (Reciprocal(), [1e308], "1/|A|"),
    (DoubleExp(), [1.0], r"A > 1.*DoubleExpm1\(\) takes A > 0"),
    (DoubleExpm1(), [0.0], "A > 0"),
    (Log(), [710.0], r"exp\(A\)"),
    (Log(), [-710.0], r"exp\(A\)"),
    (Sinh(), [np.nan], "a finite number"),
    (Identity(), [-np.inf], "a finite number"),
    (SignedExpm1(), [np.inf], "a finite number"),
    (Softmax(), [1.5, -0.5], "got the weight -0.5"),
    (Softmax(), [0.5, 0.4], r"whose sum is 0.1 off 1.*divide by their sum"),
    (Softmax(axis=2), [0.5, 0.5], r"shape \(2,\), which has no such axis"),
    (FixedSign(), [0.0], "A != 0"),
    (FixedSign(inner=DoubleExp()), [-0.5], "in the domain of inner"),
    (Difference(), [np.nan], "finite"),
    (SoftSign(), [1.7e308], "up to half the largest"),
]


@pytest.mark.parametrize(("spec", "weight", "message"), OUTSIDE)
def test_a_weight_outside_the_domain_is_refused(spec, weight, message):
    for refuse in (spec.check, spec.right_inverse):
        with pytest.raises(ValueError, match=message):
            refuse(np.asarray(weight))


def test_it_is_refused_in_every_library(library):
    for spec, weight, message in OUTSIDE[1], OUTSIDE[2], (Softmax(), [0.5, 0.25], "whose sum is 0.25 off 1"):
        with pytest.raises(ValueError, match=message):
            spec.right_inverse(library.asarray(np.asarray(weight, np.float32)))


def test_where_there_are_no_values_the_check_can_be_left_out():
    jax = pytest.importorskip("jax", reason="jax is not installed")
    weight = np.asarray([0.5, 2.0], np.float32)
    raw = jax.jit(lambda weight: Exp().right_inverse(weight, checked=False))(weight)
    np.testing.assert_allclose(raw, np.log(weight), rtol=1e-6)


def test_weights_that_need_a_gradient_are_refused_as_others():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(ValueError, match=r"got the weight -1.0 at \(0,\)"):
        Exp().right_inverse(torch.nn.Parameter(torch.tensor([-1.0])))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Exp()(np.asarray([1])), TypeError, "dtype int64; expected a real floating"),
        (lambda: Exp().right_inverse(np.asarray([True])), TypeError, "dtype bool"),
        (lambda: Exp().slope(np.asarray([1])), TypeError, "dtype int64"),
        (lambda: Exp()({"raw": np.ones(2)}), ValueError, r"got the parts \('raw',\); expected one array"),
        (lambda: Difference()(np.ones(2)), ValueError, r"got one array; expected .*\('plus', 'minus'\)"),
        (lambda: Difference()({"plus": np.ones(2)}), ValueError, r"got the parts \('plus',\)"),
        (lambda: Difference(inner=Sinh()), TypeError, "expected a parametrization of positive weights"),
        (lambda: Difference(delta=0.0), ValueError, "delta=0.0; expected a positive number"),
        (lambda: Difference(inner=DoubleExp()), ValueError, r"DoubleExp\(\) got the weight 1.0"),
        (lambda: SoftSign(delta=np.nan), ValueError, "delta=nan"),
        (lambda: SoftSign(sharpness=5.0), ValueError, "sharpness=5.0; expected a positive number up to 4"),
        (lambda: choose({}, ["a"]), ValueError, "got no rules"),
        (lambda: choose({"a": L2()}, ["a"]), TypeError, r"rule 'a' has L2\(.*\); expected a parametrization"),
        (lambda: choose({"b": Exp()}, ["a"]), ValueError, "'b' matches none of the 1 sites"),
        (lambda: choose({"a": Exp(), "*": Sinh()}, ["a"]), ValueError, "narrow the globs"),
        (lambda: from_config({"type": "Exq"}), ValueError, r"'Exq', which is no known parametrization.*'Exp'"),
        (lambda: from_config({"type": "Exp", "base": 2}), ValueError, r"unknown fields \['base'\]"),
        (lambda: Parametrization(), TypeError, "abstract"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@for_every_spec
def test_a_parametrization_is_a_value_and_json(spec):
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(eval(repr(spec), vars(parametrizations))) == hash(spec)
    assert from_config(json.loads(json.dumps(to_config(spec)))) == spec
    assert Exp() != Softplus()


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_every_parametrization_is_public_and_documented(kind):
    assert vars(parametrizations)[kind.__name__] is kind
    assert kind.__doc__.startswith("`A = ")
    assert ">>>" in kind.__doc__
    assert "Any shape" in kind.__doc__

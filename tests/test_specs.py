"""Specs are values: equal, hashable, picklable, printable, JSON; and they compose."""

import dataclasses
import json
import math
import pickle
from typing import ClassVar, Literal

import numpy as np
import pytest

import regcore
from regcore import (
    AR,
    L1,
    L2,
    TAR,
    BatchEntropy,
    Orthogonality,
    Penalty,
    added,
    annotations,
    coupled,
    exact,
    fields,
    from_config,
    to_config,
)
from regcore.config import COMPOSITES, DEEPEST, catalogue, own, public

EXAMPLES = list(dict.fromkeys(example.spec for kind in catalogue().values() for example in kind.examples()))
COMPOSED = [
    0.5 * L2(),
    2.0 * AR() + 1.0 * TAR(time_axis=0),
    exact(2.0 * AR() + BatchEntropy(batch_axis=(0, 1))),
    coupled(Orthogonality()) + added(BatchEntropy()),
    (0.5 * L1()).named("sparse") + L1(),
    3 * (L1() + 2 * L2()),
]
X = np.linspace(-1, 1, 24).reshape(2, 4, 3)


@pytest.mark.parametrize("spec", EXAMPLES + COMPOSED, ids=repr)
def test_is_a_value(spec):
    copy = pickle.loads(pickle.dumps(spec))
    assert copy == spec
    assert hash(copy) == hash(spec)
    assert eval(repr(spec), vars(regcore)) == spec


@pytest.mark.parametrize("spec", EXAMPLES + COMPOSED, ids=repr)
def test_json_round_trip(spec):
    assert from_config(json.loads(json.dumps(to_config(spec)))) == spec


def test_every_penalty_is_public():
    assert public().items() <= vars(regcore).items()
    assert own().items() <= catalogue().items()
    assert {kind.__name__: kind for kind in COMPOSITES}.items() <= vars(regcore).items()


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_every_penalty_has_examples_a_formula_and_a_source(kind):
    assert len(list(kind.examples())) >= 3
    assert kind.__doc__.startswith("`")
    assert "Source:" in kind.__doc__
    assert ">>>" in kind.__doc__


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"type": "TARR"}, ValueError, r"'TARR', which is no known penalty; is it one of \['TAR'"),
        ({"type": "tar"}, ValueError, r"is it one of \['TAR'"),
        ({"type": "os.system"}, ValueError, "no known penalty"),
        ({"type": "Penalty"}, ValueError, "no known penalty"),
        ({"type": ["TAR"]}, ValueError, "no known penalty"),
        ({}, ValueError, "the type None, which is no known penalty"),
        ({"type": "L2", "weight": 2.0}, ValueError, r"L2 has the unknown fields \['weight'\]"),
        ({"type": "TAR", "time_axes": 0}, ValueError, r"unknown fields \['time_axes'\]; it has \['time_axis'"),
        ({"type": "L2", 1: 2}, ValueError, r"unknown fields \[1\]"),
        ({"type": "Scaled", "weight": 2.0}, ValueError, r"lacks the fields \['penalty'\].*give penalty: a Penalty"),
        ({"type": "TAR", "time_axis": "0"}, TypeError, "TAR got time_axis='0', which is a str; expected an int"),
        ({"type": "TAR", "time_axis": True}, TypeError, "True and False are no numbers here"),
        ({"type": "TAR", "time_axis": {"type": "L2"}}, TypeError, "TAR got time_axis="),
        ({"type": "BatchEntropy", "correction": 3}, ValueError, "correction"),
        ({"type": "BatchEntropy", "beta": math.nan}, ValueError, "beta=nan; expected a finite float"),
        ({"type": "Scaled", "weight": math.inf, "penalty": {"type": "L2"}}, ValueError, "weight=inf"),
        ({"type": "Scaled", "weight": "2", "penalty": {"type": "L2"}}, TypeError, "weight='2', which is a str"),
        ({"type": "Scaled", "weight": 2.0, "penalty": "L2"}, TypeError, "penalty='L2', .*expected a Penalty"),
        ({"type": "Sum", "parts": {"type": "L2"}}, TypeError, "expected a tuple in which each is a Penalty"),
        ({"type": "Sum", "parts": [{"type": "L2"}, 3]}, TypeError, "expected a tuple in which each is a Penalty"),
        ({"type": "Sum", "parts": []}, ValueError, "at least one part"),
        ([{"type": "L2"}], TypeError, "which is a list; the config of a penalty is a mapping"),
        ("L2", TypeError, "which is a str"),
        (None, TypeError, "which is a NoneType"),
    ],
    ids=repr,
)
def test_bad_configs_are_refused(config, error, words):
    with pytest.raises(error, match=words):
        from_config(config)


def test_data_nested_too_deep_are_refused_both_ways():
    spec = L2()
    for _ in range(DEEPEST):
        spec = exact(spec)
    config = to_config(spec)
    assert from_config(config) == spec
    with pytest.raises(ValueError, match="more than 100 levels deep"):
        to_config(exact(spec))
    with pytest.raises(ValueError, match="more than 100 levels deep"):
        from_config({"type": "Exact", "penalty": config})


def test_lists_nested_too_deep_are_refused():
    item = 0
    for _ in range(5000):
        item = [item]
    with pytest.raises(ValueError, match="more than 100 levels deep"):
        from_config({"type": "TAR", "time_axis": item})


def test_only_penalties_have_a_config():
    with pytest.raises(TypeError, match="expected a penalty"):
        to_config(np.mean)


def test_a_config_may_name_penalties_of_others():
    class Mine(L2):
        pass

    assert from_config({"type": "Scaled", "weight": 2.0, "penalty": {"type": "Mine"}}, {"Mine": Mine}) == 2.0 * Mine()


def test_a_sum_is_the_sum_of_its_weighted_terms():
    spec = 2.0 * AR() + 0.5 * TAR()
    value, (dx, _) = regcore.value_and_grad(spec, X)
    parts = [(w, *regcore.value_and_grad(p, X)) for w, p in ((2.0, AR()), (0.5, TAR()))]
    assert value == pytest.approx(sum(w * v for w, v, _ in parts), rel=1e-15)
    np.testing.assert_allclose(dx, sum(w * d for w, _, (d, _) in parts), rtol=1e-14)


def test_numbers_will_do_for_parameters_and_upstream():
    spec = BatchEntropy()
    value, (dx, _) = regcore.value_and_grad(spec, X, {"alpha": 1}, upstream=2)
    again, (half, _) = regcore.value_and_grad(spec, X, {"alpha": np.float32(1.0)})
    assert value == again
    np.testing.assert_array_equal(dx, 2 * half)


def test_learned_parameters_of_a_sum_have_names_of_their_own():
    spec = added(BatchEntropy(alpha=1.0)).named("first") + 2.0 * added(BatchEntropy(alpha=2.0)) + added(BatchEntropy())
    assert {name: float(array) for name, array in spec.init().items()} == {
        "first_alpha": 1.0,
        "BatchEntropy_alpha": 2.0,
        "BatchEntropy_2_alpha": 0.5,
    }
    _, (_, dparams) = regcore.value_and_grad(spec, X, spec.init())
    own = regcore.value_and_grad(BatchEntropy(alpha=2.0), X, {"alpha": np.asarray(2.0)})[1][1]["alpha"]
    assert dparams["BatchEntropy_alpha"] == pytest.approx(2.0 * own)
    assert dparams.keys() == spec.init().keys()


def test_two_parameters_never_share_a_name():
    with pytest.raises(ValueError, match="share a name"):
        added(_Two()).named("a") + added(_Two()).named("a_b")


class _Two(L2):
    def init(self):
        return {"c": np.zeros(()), "b_c": np.zeros(())}


def test_sums_are_flat_and_grouping_does_not_matter():
    assert (L1() + L2()) + TAR() == L1() + (L2() + TAR())


def test_weights_multiply():
    (term,) = (3.0 * (0.5 * L2())).terms()
    assert term.weight == 1.5


def test_how_a_term_joins_the_loss_survives_composition():
    spec = exact(2 * coupled(L1()) + BatchEntropy() + L2())
    kinds = {term.name: (term.coupled, term.exact, term.weight) for term in spec.terms()}
    assert kinds == {"L1": (True, True, 2.0), "BatchEntropy": (True, True, 1.0), "L2": (False, True, 1.0)}


def test_combine_multiplies_what_is_coupled_and_adds_the_rest():
    assert regcore.combine(4.0, [(0.5, 1.0, True), (1.0, 0.25, True), (2.0, 3.0, False)]) == 4.0 * 1.75 + 6.0
    assert regcore.combine(4.0, []) == 4.0


def test_a_penalty_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Penalty()


def test_globs():
    paths = ["encoder.0", "encoder.0.conv", "encoder.1", "head"]
    assert [p for p in paths if regcore.match({"encoder.*": L2()}, p)] == ["encoder.0", "encoder.1"]
    assert [p for p in paths if regcore.match({"encoder.**": L2()}, p)] == ["encoder.0", "encoder.0.conv", "encoder.1"]
    assert [p for p in paths if regcore.match({"**": L2()}, p)] == paths
    assert [p for p in paths if regcore.match({"**.conv": L2()}, p)] == ["encoder.0.conv"]
    assert regcore.match({"head": L1(), "h*d": L2()}, "head") == [L1(), L2()]
    assert not regcore.match({"encoder.0": L2()}, "encoder+0")
    with pytest.raises(ValueError, match=r"'decoder\.\*' matches none of the 4 sites.*encoder"):
        regcore.select({"decoder.*": L2()}, paths)


# Fields against their annotations


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in own().values() for name in annotations.of(kind)], ids=str
)
def test_every_field_of_every_penalty_is_checked_first(kind, name):
    spec = next(kind.examples()).spec
    with pytest.raises(TypeError, match=rf"{kind.__name__} got {name}="):
        dataclasses.replace(spec, **{name: {}})
    if annotations.of(kind)[name] is float:
        with pytest.raises(ValueError, match="expected a finite float"):
            dataclasses.replace(spec, **{name: math.nan})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Many(L2):
    """A field of each sort."""

    constant: ClassVar[str] = "no field"

    a: int = 0
    b: float = 0.0
    c: bool = False
    d: str = ""
    e: Literal["x", "y", 2] = "x"
    f: int | float | None = None
    g: int | tuple[int, ...] = 0
    h: tuple[float, str] = (0.0, "")
    i: "tuple[Penalty, ...]" = ()
    j: Penalty = L1()  # noqa: RUF009 - frozen

    def __post_init__(self):
        fields.validate(self)


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        ({"a": np.int64(3)}, {"a": 3}),
        ({"b": 3}, {"b": 3.0}),
        ({"b": np.float32(0.5)}, {"b": 0.5}),
        ({"b": np.float64(0.1)}, {"b": 0.1}),
        ({"b": np.int8(2)}, {"b": 2.0}),
        ({"c": np.True_}, {"c": True}),
        ({"d": np.str_("z")}, {"d": "z"}),
        ({"e": 2}, {"e": 2}),
        ({"f": 3}, {"f": 3}),
        ({"f": None}, {"f": None}),
        ({"g": (np.int32(1), 2)}, {"g": (1, 2)}),
        ({"h": (1, "z")}, {"h": (1.0, "z")}),
        ({"i": (L1(), TAR())}, {"i": (L1(), TAR())}),
        ({"j": 2.0 * L2()}, {"j": 2.0 * L2()}),
    ],
    ids=repr,
)
def test_numbers_become_plain_so_equal_specs_are_equal_everywhere(values, plain):
    spec, same = Many(**values), Many(**plain)
    (name,) = values
    assert repr(getattr(spec, name)) == repr(plain[name])
    assert (spec, hash(spec), repr(spec)) == (same, hash(same), repr(same))
    assert from_config(json.loads(json.dumps(to_config(spec))), {"Many": Many}) == spec


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"a": 1.0}, TypeError, "Many got a=1.0, which is a float; expected an int"),
        ({"a": True}, TypeError, "True and False are no numbers here"),
        ({"b": True}, TypeError, "True and False are no numbers here"),
        ({"b": 1j}, TypeError, "which is a complex"),
        ({"b": math.inf}, ValueError, "Many got b=inf; expected a finite float"),
        ({"b": np.float32("nan")}, ValueError, "b=.*nan.*; expected a finite float"),
        ({"b": 10**400}, ValueError, "expected a finite float"),
        ({"b": np.ones(())}, TypeError, r"which is a ndarray; .*convert it first, as by float\(...\)"),
        ({"c": 1}, TypeError, "expected a bool"),
        ({"d": None}, TypeError, "expected a str"),
        ({"e": "z"}, ValueError, "Many got e='z'; expected 'x' or 'y' or 2"),
        ({"e": True}, TypeError, "which is a bool"),
        ({"f": "z"}, TypeError, "expected an int, or a finite float, or None"),
        ({"f": math.nan}, ValueError, "f=nan"),
        ({"g": [0, 1]}, TypeError, r"which is a list; .*: pass \(0, 1\)"),
        ({"g": (0, 1.5)}, TypeError, "a tuple in which each is an int"),
        ({"h": (1.0,)}, ValueError, "a tuple in which a finite float; a str, in this order"),
        ({"i": (L1(), None)}, TypeError, "each is a Penalty"),
        ({"j": L2}, TypeError, "expected a Penalty"),
    ],
    ids=repr,
)
def test_wrong_fields_are_refused_at_construction(values, error, words):
    with pytest.raises(error, match=words):
        Many(**values)


def test_a_forgotten_decorator_is_refused():
    class Forgot(L2):
        strength: float = 1.0

    with pytest.raises(TypeError, match=r"Forgot has the annotations \['strength'\] and is no dataclass of its own"):
        fields.validate(Forgot())


@pytest.mark.parametrize(
    ("annotation", "words"),
    [(np.ndarray, "a spec is plain data"), (list[int], "plain data"), ("Nowhere", "cannot be resolved")],
)
def test_annotations_of_another_kind_are_refused(annotation, words):
    kind = dataclasses.make_dataclass("Odd", [("field", annotation, 0)], frozen=True)
    with pytest.raises(TypeError, match=words):
        fields.validate(kind())


def test_a_spec_can_be_built_in_traced_code():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class New(L2):  # never seen before, so that its annotations are resolved while tracing
        strength: float = 1.0
        axes: int | tuple[int, ...] = 0
        form: Literal["a", "b"] = "a"

        def __post_init__(self):
            fields.validate(self)

    compiled = torch.compile(lambda x: (2.0 * New(strength=3, axes=(0, 1)))(x), fullgraph=True, backend="eager")
    assert compiled(torch.ones(2, requires_grad=True)).item() == 2.0

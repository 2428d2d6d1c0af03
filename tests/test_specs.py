"""Specs are values: equal, hashable, picklable, printable, JSON; and they compose."""

import json
import pickle

import numpy as np
import pytest

import regcore
from regcore import AR, L1, L2, TAR, BatchEntropy, Orthogonality, Penalty, added, coupled, exact, from_config, to_config
from regcore.config import COMPOSITES, catalogue

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
    assert catalogue().items() <= vars(regcore).items()
    assert {kind.__name__: kind for kind in COMPOSITES}.items() <= vars(regcore).items()


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_every_penalty_has_examples_a_formula_and_a_source(kind):
    assert len(list(kind.examples())) >= 3
    assert kind.__doc__.startswith("`")
    assert "Source:" in kind.__doc__
    assert ">>>" in kind.__doc__


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"type": "TARR"}, r"'TARR', which is no known penalty; is it one of \['TAR'"),
        ({"type": "os.system"}, "no known penalty"),
        ({"type": "L2", "weight": 2.0}, r"unknown fields \['weight'\]"),
        ({}, "no known penalty"),
    ],
)
def test_bad_configs_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        from_config(config)


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

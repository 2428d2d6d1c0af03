"""PyTorch and Flax train the raw parameter: the step is the one by hand, and nothing is lost on the way."""

import copy
import importlib.util

import numpy as np
import pytest

from regcore import L2
from regcore.parametrizations import Difference, Exp, FixedSign, Identity, Sinh, Softmax, SoftSign, Square

RATE = 0.1
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
WEIGHT = np.random.default_rng(1).uniform(0.1, 0.9, size=(3, 4)).astype(np.float32)
SIGNED = WEIGHT * np.where(np.arange(12).reshape(3, 4) % 3, 1, -1).astype(np.float32)
CASES = [
    (Exp(), WEIGHT),
    (Square(), WEIGHT),
    (Identity(), SIGNED),
    (Sinh(), SIGNED),
    (Softmax(), WEIGHT / WEIGHT.sum(-1, keepdims=True)),
    (Difference(), SIGNED),
    (FixedSign(), SIGNED),
    (SoftSign(), SIGNED),
]
for_each_case = pytest.mark.parametrize(("spec", "weight"), CASES, ids=lambda case: repr(case)[:20])


def by_weight(weight):
    """The derivative of mean((X A')**2) by A."""
    return 2 / (len(X) * len(weight)) * (X @ weight.T).T @ X


def step_by_hand(spec, weight):
    """A after W - RATE dL/dW, and W."""
    raw = spec.right_inverse(weight)
    by_raw = spec.pullback(raw, by_weight(weight))
    if not spec.parts:
        return spec(raw - RATE * by_raw), raw - RATE * by_raw
    raw = {name: raw[name] - RATE * by_raw[name] for name in raw}
    return spec(raw), raw


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
class TestTorch:
    @staticmethod
    def model(weight=WEIGHT):
        import torch

        model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.Tanh(), torch.nn.Linear(3, 2))
        model[0].weight.data = torch.tensor(weight)
        return model

    @staticmethod
    def train(model):
        import torch

        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        (model[0](torch.tensor(X)) ** 2).mean().backward()
        optimizer.step()

    @for_each_case
    def test_a_step_is_that_of_the_raw_parameter(self, spec, weight):
        from regcore_torch.parametrize import parametrize

        model = self.model(weight)
        assert parametrize(model, {"0.weight": spec}) == ["0.weight"]
        np.testing.assert_allclose(model[0].weight.detach(), weight, rtol=1e-5, atol=1e-6)
        self.train(model)
        after, raw = step_by_hand(spec, weight)
        np.testing.assert_allclose(model[0].weight.detach(), after, rtol=2e-5, atol=1e-6)
        assert not np.allclose(after, weight, rtol=1e-4)
        trained = [raw[part] for part in spec.parts if part not in spec.fixed] or [raw]
        for parameter, expected in zip(model[0].parametrizations.weight.parameters(), trained, strict=True):
            np.testing.assert_allclose(parameter.detach(), expected, rtol=2e-5, atol=1e-6)

    @for_each_case
    def test_it_survives_saving_copying_and_compiling(self, spec, weight, tmp_path):
        import torch

        from regcore_torch.parametrize import parametrize

        model, x = self.model(weight), torch.tensor(X)
        parametrize(model, {"0.weight": spec})
        self.train(model)
        torch.save(model.state_dict(), tmp_path / "state.pt")
        other = self.model(np.abs(WEIGHT) / WEIGHT.sum(-1, keepdims=True))
        parametrize(other, {"0.weight": spec})
        other.load_state_dict(torch.load(tmp_path / "state.pt"))
        for again in (other, copy.deepcopy(model)):
            torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
        torch._dynamo.reset()
        compiled = torch.compile(model[0], fullgraph=True, backend="aot_eager")
        gradients = []
        for function in (model[0], compiled):
            model.zero_grad()
            (function(x) ** 2).mean().backward()
            gradients.append([p.grad.clone() for p in model[0].parameters()])
        torch.testing.assert_close(*gradients)

    @for_each_case
    def test_removing_gives_the_weight_back(self, spec, weight):
        import torch

        from regcore_torch.parametrize import parametrize, unparametrize

        model = self.model(weight)
        names = [name for name, _ in model.named_parameters()]
        parametrize(model, {"0.weight": spec})
        self.train(model)
        trained = model[0].weight.detach().clone()
        assert unparametrize(model) == ["0.weight"]
        assert type(model[0]) is torch.nn.Linear
        assert sorted(name for name, _ in model.named_parameters()) == sorted(names)
        assert isinstance(model[0].weight, torch.nn.Parameter)
        torch.testing.assert_close(model[0].weight.detach(), trained, rtol=0, atol=0)
        with pytest.raises(ValueError, match="no weight that regcore parametrized"):
            unparametrize(model)

    def test_a_weight_can_be_set_and_is_checked(self):
        import torch

        from regcore_torch.parametrize import parametrize

        model = self.model()
        parametrize(model, {"0.weight": Exp(), "2.*": FixedSign()})
        model[0].weight = torch.full((3, 4), 2.0)
        torch.testing.assert_close(model[0].weight.detach(), torch.full((3, 4), 2.0))
        with pytest.raises(ValueError, match=r"got the weight 0\.0"):
            model[0].weight = torch.zeros(3, 4)
        model[2].weight = -torch.ones(2, 3)
        torch.testing.assert_close(model[2].weight.detach(), -torch.ones(2, 3))

    @pytest.mark.parametrize("kind", ["LSTM", "GRU", "MultiheadAttention"])
    def test_modules_that_read_their_weights_elsewhere_train_the_raw_one(self, kind):
        import torch

        from regcore_torch.parametrize import parametrize

        torch.manual_seed(0)
        module = getattr(torch.nn, kind)(4, 4 if kind[0] != "M" else 2)
        name = "in_proj_weight" if kind[0] == "M" else "weight_hh_l0"
        arguments = [torch.randn(5, 2, 4)] * (3 if kind[0] == "M" else 1)
        before = module(*arguments)[0].detach()
        parametrize(module, {name: Sinh()})
        torch.testing.assert_close(module(*arguments)[0], before)
        (raw,) = module.parametrizations[name].parameters()
        with torch.no_grad():
            raw += 0.5
        assert not torch.allclose(module(*arguments)[0], before)
        module(*arguments)[0].sum().backward()
        assert raw.grad.abs().sum() > 0

    @pytest.mark.parametrize(
        ("rules", "error", "message"),
        [
            ({"9.weight": Exp()}, ValueError, "'9.weight' matches none of the 3 sites"),
            ({"2.weight": Exp(), "**.weight": Sinh()}, ValueError, "'2.weight' is matched by the rules"),
            ({"0.weight": Exp(), "2.weight": Square()}, ValueError, "'2.weight': Square.* got the weight -"),
            ({"0.weight": L2()}, TypeError, "expected a parametrization"),
            ({}, ValueError, "got no rules"),
        ],
    )
    def test_a_refused_rule_changes_nothing(self, rules, error, message):
        import torch

        from regcore_torch.parametrize import parametrize

        model = self.model()
        model[2].weight.data.fill_(-0.5)
        with pytest.raises(error, match=message):
            parametrize(model, rules)
        assert all(type(module) in (torch.nn.Linear, torch.nn.Tanh) for module in model)

    def test_a_weight_is_parametrized_once_and_never_parted_from_its_twin(self):
        import torch

        from regcore_torch.parametrize import parametrize

        model = self.model()
        parametrize(model, {"0.weight": Exp()})
        with pytest.raises(ValueError, match="matches none"):
            parametrize(model, {"0.**": Sinh()})
        tied = torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)])
        tied[1].weight = tied[0].weight
        with pytest.raises(ValueError, match=r"'0.weight' is shared with \['1.weight'\]"):
            parametrize(tied, {"0.weight": Sinh()})
        with pytest.raises(ValueError, match="has no shape yet"):
            parametrize(torch.nn.LazyLinear(3), {"weight": Sinh()})


@pytest.mark.skipif(importlib.util.find_spec("flax") is None, reason="flax is not installed")
class TestFlax:
    @staticmethod
    def params(weight=SIGNED):
        return {"encoder": {"kernel": weight.T, "bias": np.zeros(3, np.float32)}, "scale": np.ones((), np.float32)}

    @staticmethod
    def loss(params):
        return ((X @ params["encoder"]["kernel"] + params["encoder"]["bias"]) ** 2).mean() * params["scale"]

    @for_each_case
    def test_a_step_is_that_of_the_raw_parameter(self, spec, weight):
        import jax

        from regcore_flax.parametrize import parametrize, unparametrize

        if spec == Softmax():
            spec = Softmax(axis=0)  # Flax keeps the kernel transposed
        rules = {"encoder.kernel": spec}
        raw = unparametrize(self.params(weight), rules)
        assert raw["scale"] == 1.0
        np.testing.assert_allclose(parametrize(raw, rules)["encoder"]["kernel"], weight.T, rtol=1e-5, atol=1e-6)
        gradient = jax.jit(jax.grad(lambda raw: self.loss(parametrize(raw, rules))))(raw)
        stepped = jax.tree.map(lambda w, g: w - RATE * g, raw, gradient)
        after, by_hand = step_by_hand(Softmax() if spec == Softmax(axis=0) else spec, weight)
        np.testing.assert_allclose(parametrize(stepped, rules)["encoder"]["kernel"], after.T, rtol=2e-5, atol=1e-6)
        for part in spec.parts:
            np.testing.assert_allclose(stepped["encoder"]["kernel"][part], by_hand[part].T, rtol=2e-5, atol=1e-6)
        for part in spec.fixed:
            assert not gradient["encoder"]["kernel"][part].any()

    def test_a_module_is_applied_with_raw_parameters(self):
        import flax.linen as nn
        import jax

        from regcore_flax.parametrize import parametrized, unparametrize

        model = nn.Sequential([nn.Dense(3), nn.Dense(2)])
        params = model.init(jax.random.key(0), X)["params"]
        rules = {"**.kernel": Sinh(), "layers_1.bias": Difference()}
        raw = unparametrize(params, rules)
        assert set(raw["layers_1"]["bias"]) == {"plus", "minus"}
        apply = jax.jit(parametrized(model.apply, rules))
        np.testing.assert_allclose(apply({"params": raw}, X), model.apply({"params": params}, X), rtol=1e-4, atol=1e-6)

    def test_raw_parameters_survive_saving(self):
        import flax.serialization

        from regcore_flax.parametrize import parametrize, unparametrize

        rules = {"encoder.kernel": SoftSign()}
        raw = unparametrize(self.params(), rules)
        saved = flax.serialization.to_bytes(raw)
        loaded = flax.serialization.from_bytes(unparametrize(self.params(WEIGHT), rules), saved)
        for tree in (raw, loaded):
            np.testing.assert_allclose(parametrize(tree, rules)["encoder"]["kernel"], SIGNED.T, rtol=1e-5)

    @pytest.mark.parametrize(
        ("rules", "error", "message"),
        [
            ({"decoder.*": Sinh()}, ValueError, r"'decoder.\*' matches none of the 3 sites"),
            ({"encoder.*": Sinh(), "**.kernel": Exp()}, ValueError, "'encoder.kernel' is matched by the rules"),
            ({"encoder.kernel": Exp()}, ValueError, "'encoder.kernel': Exp.* got the weight -"),
            ({"scale": L2()}, TypeError, "expected a parametrization"),
        ],
    )
    def test_a_bad_rule_is_refused(self, rules, error, message):
        from regcore_flax.parametrize import unparametrize

        with pytest.raises(error, match=message):
            unparametrize(self.params(), rules)

    def test_raw_and_effective_parameters_are_told_apart(self):
        import jax

        from regcore_flax.parametrize import parametrize, unparametrize

        with pytest.raises(ValueError, match=r"got one array; expected .*\('plus', 'minus'\)"):
            parametrize(self.params(), {"encoder.kernel": Difference()})
        with pytest.raises(TypeError, match="'scale' has no values inside of a traced function"):
            jax.jit(lambda params: unparametrize(params, {"scale": Exp()}))(self.params())

"""Which outputs and weights the PyTorch adapter penalizes, in models as people write them."""

import collections
import fnmatch

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from regcore import AR, L1, L2, TAR, BatchEntropy, CenterLoss, Orthogonality, every, value_and_grad  # noqa: E402
from regcore_torch import Regularize, regularize  # noqa: E402

ZERO = torch.zeros(())
Pair = collections.namedtuple("Pair", "hidden state")


class Returns(nn.Module):
    """A model with one linear layer `fc`, whose submodule `block` returns what `make` makes of its output."""

    def __init__(self, make):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4))
        self.block.forward = lambda x: make(self.block[0](x))

    def forward(self, x):
        return self.block(x)


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def layers(n=12):
    return nn.ModuleDict({"layers": nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(n)))})


class TestGlobs:
    def test_a_star_is_one_component(self):
        model = layers()
        naive = [name for name, _ in model.named_modules() if fnmatch.fnmatchcase(name, "layers.1*")]
        assert "layers.1.0" in naive  # it crosses dots
        assert set(regularize(model, {"layers.1*": L2()}).report()) == {f"layers.{i}/L2" for i in (1, 10, 11)}
        assert len(regularize(model, {"layers.*": L2()}).report()) == 12
        assert len(regularize(model, {"**.0": L2()}).report()) == 13
        assert len(regularize(model, {"layers.**": L2()}).report()) == 37

    def test_names_are_those_of_the_model_without_wrappers(self, x):
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        model = nn.Sequential(nn.Linear(4, 4), checkpoint_wrapper(nn.Sequential(nn.Linear(4, 4))))
        reg = regularize(torch.compile(model, backend="eager"), {"0": L2(), "1.0": L1()})
        assert set(reg.report()) == {"0/L2", "1.0/L1"}
        assert reg.combine(model(x).sum() * 0.0) > 0

    def test_what_matches_nothing_is_an_error(self):
        with pytest.raises(ValueError, match=r"'layers\.12' matches none.*layers\.1"):
            regularize(layers(), {"layers.12": L2()})
        with pytest.raises(ValueError, match=r"'\*\*\.gamma' matches none"):
            regularize(layers(), {"weight:**.gamma": L2()})
        with pytest.raises(ValueError, match=r"'rnn' matches none"):
            regularize(layers(), {"layers.0": L2()}, select={"rnn": 0})

    def test_what_no_rule_can_do_is_an_error(self):
        with pytest.raises(TypeError, match=r"'layers' is 0\.1; expected a penalty"):
            regularize(layers(), {"layers": 0.1})
        with pytest.raises(ValueError, match=r"needs \['labels'\] beside x.*put a Regularize layer there"):
            regularize(layers(), {"layers": CenterLoss(classes=3, features=4)})
        with pytest.raises(ValueError, match=r"calls='max'; expected one of \['last', 'mean', 'sum'\]"):
            regularize(layers(), {"layers": L2()}, calls="max")
        with pytest.raises(TypeError, match=r"nn\.DataParallel.*DistributedDataParallel"):
            regularize(nn.DataParallel(layers()), {"**": L2()})


class TestOutputs:
    @pytest.mark.parametrize(
        ("make", "select"),
        [
            (lambda h: h, None),
            (lambda h: (h, None), None),
            (lambda h: [h, h * 2], None),
            (lambda h: (None, h), 1),
            (lambda h: (None, h), -1),
            (lambda h: Pair(h, (h * 3,)), None),
            (lambda h: {"hidden": h}, None),
            (lambda h: {"hidden": h, "state": h * 2}, "hidden"),
            (lambda h: ((h,), h), lambda output: output[0][0]),
        ],
        ids=["tensor", "tuple", "list", "index", "last", "namedtuple", "dict", "key", "function"],
    )
    def test_the_tensor_is_found_and_the_output_is_left(self, x, make, select):
        model = Returns(make)
        reg = regularize(model, {"block": L2()}, select=select)
        output = model(x)
        assert type(output) is type(make(x))
        torch.testing.assert_close(reg.combine(ZERO), L2()(model.block[0](x)))

    @pytest.mark.parametrize("select", [1, -1])
    def test_an_index_from_the_end_attaches_too(self, x, select):
        model = Returns(lambda h: (None, h))
        reg = regularize(model, {"block": L2()}, select=select, mode="attach")
        reg.combine(0.0 * model(x)[1].sum()).backward()
        torch.testing.assert_close(
            model.block[0].weight.grad, torch.autograd.grad(L2()(model.block[0](x)), model.block[0].weight)[0]
        )

    @pytest.mark.parametrize(
        ("make", "select", "message"),
        [
            (lambda h: None, None, r"'block' returned None; expected a tensor.*select="),
            (lambda h: {"a": h, "b": h}, None, r"'block' returned a dict of \['a', 'b'\].*a key"),
            (lambda h: {"a": h}, "b", r"a dict of \['a'\], which has no 'b'"),
            (lambda h: (h,), 1, r"a tuple of \['Tensor'\], which has no 1"),
            (lambda h: h, 0, r"a Tensor, which has no 0"),
            (lambda h: (None, h), None, r"a tuple of \['NoneType', 'Tensor'\]"),
        ],
    )
    def test_no_tensor_is_an_error_that_names_the_site(self, x, make, select, message):
        model = Returns(make)
        regularize(model, {"block": L2()}, select=select)
        with pytest.raises(TypeError, match=message):
            model(x)

    def test_a_naive_hook_replaces_the_output_and_ours_does_not(self, x):
        model = nn.Sequential(nn.Linear(4, 4))
        model[0].register_forward_hook(lambda module, args, output: L2()(output))
        assert model(x).shape == ()
        model = nn.Sequential(nn.Linear(4, 4))
        regularize(model, {"0": L2()})
        assert model(x).shape == (6, 4)

    def test_recurrent_layers_count_their_output_and_not_their_states(self):
        rnn, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
        reg = regularize(nn.ModuleDict({"rnn": rnn}), {"rnn": AR() + TAR()})
        output, _ = rnn(x)
        torch.testing.assert_close(reg.combine(ZERO), AR()(output) + TAR()(output))

    @pytest.mark.parametrize("mode", ["collect", "attach"])
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_padding_does_not_count(self, batch_first, mode):
        spec = AR() + TAR(time_axis=int(batch_first), batch_axis=int(not batch_first))
        lengths = torch.tensor([3, 5, 2])
        rnn, x = nn.LSTM(3, 4, batch_first=batch_first).double(), torch.randn(3, 5, 3, dtype=torch.float64)
        packed = pack_padded_sequence(x if batch_first else x.mT.transpose(0, 2).mT, lengths, batch_first, False)
        padded, _ = pad_packed_sequence(rnn(packed)[0], batch_first)
        mask = torch.arange(5) < lengths[:, None]
        expected = spec(padded, mask=mask if batch_first else mask.T)
        assert abs(spec(padded) - expected) > 1e-3  # what a hook on the padded output counts
        by_hand = torch.autograd.grad(padded.sum() + expected, list(rnn.parameters()))
        reg = regularize(nn.ModuleDict({"rnn": rnn}), {"rnn": spec}, mode=mode)
        output = rnn(packed)[0]
        total = reg.combine(pad_packed_sequence(output, batch_first)[0].sum())
        for ours, theirs in zip(torch.autograd.grad(total, list(rnn.parameters())), by_hand, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(sum(reg.terms().values()), expected.detach())

    def test_a_mask_from_the_arguments_of_the_model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 4)

            def forward(self, x, attention_mask=None):
                return self.fc(x)

        model, x = Model(), torch.randn(2, 5, 3)
        attention_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
        reg = regularize(model, {"fc": TAR()}, mask=lambda x, attention_mask: attention_mask.bool())
        h = model(x, attention_mask=attention_mask)
        assert reg.combine(ZERO) == TAR()(h, mask=attention_mask.bool()) != TAR()(h)


class TestCalls:
    @pytest.mark.parametrize(
        ("calls", "total"), [("sum", torch.add), ("mean", lambda a, b: (a + b) / 2), ("last", lambda a, b: b)]
    )
    def test_a_shared_module(self, x, calls, total):
        shared = nn.Linear(4, 4)
        model = nn.Sequential(shared, nn.ReLU(), shared)
        reg = regularize(model, {"0": L2()}, calls=calls)
        y = model(x)
        first = nn.functional.linear(x, shared.weight, shared.bias)
        torch.testing.assert_close(reg.combine(ZERO), total(L2()(first), L2()(y)))
        assert reg.report()["0/L2"].fired == 2

    def test_two_passes_of_one_loss_add_up(self, x):
        model = nn.Sequential(nn.Linear(4, 4))
        reg = regularize(model, {"0": L2()})
        left, right = model(x), model(2 * x)
        torch.testing.assert_close(reg.combine((left - right).sum() * 0), L2()(left) + L2()(right))

    def test_a_part_of_the_model_called_alone_counts(self, x):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        reg = regularize(model, {"0": L2()})
        h = model[0](x)
        assert reg.combine(ZERO) == L2()(h)

    @pytest.mark.parametrize("on_missing", ["warn", "ignore"])
    def test_a_branch_that_is_not_taken_may_be_missing(self, x, on_missing):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        reg = regularize(model, {"*": L2()}, on_missing=on_missing)
        h = model[0](x)
        if on_missing == "warn":
            with pytest.warns(RuntimeWarning, match=r"\['1'\] recorded no penalty"):
                total = reg.combine(ZERO)
        else:
            total = reg.combine(ZERO)
        assert total == L2()(h)


class TestWeights:
    def test_value_and_gradient(self, x):
        model, spec = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double(), 0.5 * Orthogonality()
        reg = regularize(model, {"weight:*.weight": spec})
        reg.combine(0.0 * model(x.double()).sum()).backward()
        assert set(reg.report()) == {"weight:0.weight/Orthogonality", "weight:1.weight/Orthogonality"}
        for fc in model:
            _, (expected, _) = value_and_grad(spec, fc.weight.detach())
            torch.testing.assert_close(fc.weight.grad, expected, rtol=1e-12, atol=1e-14)

    def test_a_penalty_of_every_third_step_counts_three_times_on_it(self, x):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double()
        reg = regularize(model, {"weight:0.weight": 0.5 * every(3, L2()) + L1(), "weight:1.weight": every(2, L2())})
        one, two = (fc.weight for fc in model)
        for step in range(4):
            total = reg.combine(0.0 * model(x.double()).sum())
            parts = [1.5 * L2()(one) * (step % 3 == 0), L1()(one), 2.0 * L2()(two) * (step % 2 == 0)]
            torch.testing.assert_close(total, sum(parts))
            gradients = torch.autograd.grad(total, (one, two), allow_unused=True, materialize_grads=True)
            expected = torch.autograd.grad(sum(parts), (one, two), allow_unused=True, materialize_grads=True)
            torch.testing.assert_close(gradients, expected)
        rows = reg.report()
        assert {name: row.fired for name, row in rows.items()} == {
            "weight:0.weight/L2": 2,
            "weight:0.weight/L1": 4,
            "weight:1.weight/L2": 2,
        }
        assert rows["weight:0.weight/L2"].coefficient == 0.5
        assert rows["weight:0.weight/L2"].value == L2()(one).item()

    def test_what_does_not_count_is_not_computed_and_not_missed(self, x):
        model = nn.Linear(4, 4)
        reg = regularize(model, {"weight:weight": every(2, L2())})
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(4):
            task = model(x).sum()
            total = reg.combine(task)
            assert (total is task) == (step % 2 == 1)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()  # no warning that a gradient was left out
        reg.check()

    def test_a_penalty_of_some_steps_is_for_weights(self):
        with pytest.raises(ValueError, match="the rule '0' counts on some steps only; that is for weights: weight:0"):
            regularize(nn.Sequential(nn.Linear(4, 4)), {"0": every(2, L2())})

    def test_the_effective_weight_of_a_parametrization(self, x):
        model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)))
        naive = [name for name, _ in model.named_parameters() if fnmatch.fnmatchcase(name, "*.weight")]
        assert naive == []
        model[0].parametrizations.weight.original0.data.mul_(2.0)
        reg = regularize(model, {"weight:0.weight": L2()})
        assert set(reg.report()) == {"weight:0.weight/L2"}
        total = reg.combine(ZERO)
        torch.testing.assert_close(total, L2()(model[0].weight))
        total.backward()
        assert model[0].parametrizations.weight.original0.grad.abs().sum() > 0
        assert L2()(model[0].parametrizations.weight.original1) != total

    def test_a_tied_weight_counts_once(self):
        model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
        model["head"].weight = model["embed"].weight
        for glob in ("weight:**.weight", "weight:head.weight", "weight:embed.weight"):
            assert regularize(model, {glob: L2()}).combine(ZERO) == L2()(model["embed"].weight)
        both = regularize(model, {"weight:head.weight": L2(), "weight:embed.weight": L1()})
        torch.testing.assert_close(both.combine(ZERO), (L1() + L2())(model["embed"].weight))

    def test_learned_parameters_and_layers(self, x):
        model = nn.Sequential(nn.Linear(4, 4), Regularize(L1()))
        reg = regularize(model, {"weight:0.weight": BatchEntropy()})
        assert [name for name, _ in reg.named_parameters()] == ["sites.weight:0/weight.params.alpha"]
        assert reg.combine(model(x).sum()).isfinite()

    def test_a_weight_without_a_shape_and_one_that_is_no_float(self, x):
        model = nn.Sequential(nn.LazyLinear(4))
        reg = regularize(model, {"weight:0.weight": L2()})
        with pytest.raises(ValueError, match=r"weight:0\.weight.*run the model once"):
            reg.combine(ZERO)
        model(x)
        assert reg.combine(ZERO) == L2()(model[0].weight)
        model[0].register_parameter("codes", nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False))
        with pytest.raises(TypeError, match=r"weight:0\.codes.*int8"):
            regularize(model, {"weight:0.codes": L2()}).combine(ZERO)


def test_names_that_python_has_taken():
    outer = nn.Module()
    outer.values = nn.Linear(2, 2)
    reg = regularize(outer, {"values": BatchEntropy()})
    assert set(reg.report()) == {"values/BatchEntropy"}
    assert [name for name, _ in reg.named_parameters()] == ["sites.values/.params.alpha"]

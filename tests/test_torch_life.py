"""What the PyTorch adapter leaves behind: nothing in the next loss, in copies, in exports, in memory."""

import copy
import gc
import io
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel, update_bn  # noqa: E402

from regcore import L2, BatchEntropy  # noqa: E402
from regcore_torch import Regularize, regularize  # noqa: E402


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def task(y):
    return (y * y).mean()


def naive(model):
    """What people paste: a hook that appends to a list, and a loss that adds the list up."""
    values = []
    model[1].register_forward_hook(lambda module, args, output: values.append((output * output).mean()))
    return values


def expected(model, x):
    h = nn.functional.relu(nn.functional.linear(x, model[0].weight, model[0].bias))
    return task(nn.functional.linear(h, model[2].weight, model[2].bias)) + L2()(h)


class TestNothingLeaksIntoTheNextLoss:
    def test_evaluation_and_no_grad(self, model, x):
        values = naive(model)
        model.eval()(x)
        model.train()
        with torch.no_grad():
            model(x)
        assert len(values) == 2  # of which a naive loss adds both
        reg = regularize(model, {"1": L2()})
        model.eval()(10 * x)
        model.train()
        for off in (torch.no_grad, torch.inference_mode):
            with off():
                model(10 * x)
        torch.testing.assert_close(reg.combine(task(model(x))), expected(model, x))

    def test_a_pass_that_raised(self, model, x):
        values = naive(model)
        reg = regularize(model, {"1": L2()})
        failing = model[2].register_forward_pre_hook(lambda module, args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(10 * x)
        failing.remove()
        y = model(x)
        assert len(values) == 2
        torch.testing.assert_close(reg.combine(task(y)), expected(model, x))

    def test_a_pass_that_was_thrown_away(self, model, x):
        reg = regularize(model, {"1": L2()})
        model(10 * x)
        y = model(x)
        with pytest.warns(RuntimeWarning, match=r"1 of 2 forward passes.*no part in this loss.*torch\.no_grad"):
            total = reg.combine(task(y))
        torch.testing.assert_close(total, expected(model, x))

    def test_statistics_of_batch_norm(self, x):
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        reg = regularize(model, {"1": L2()})
        update_bn([x, 10 * x], model)
        y = model(x)
        torch.testing.assert_close(reg.combine(task(y)), task(y) + L2()(y))

    def test_evaluation_counts_where_it_is_asked_for(self, model, x):
        reg = regularize(model, {"1": L2()}, train_only=False)
        with torch.no_grad():
            model.eval()(10 * x)  # of a loss that nobody combined, and of another kind
            model.train()
        torch.testing.assert_close(reg.combine(task(model(x))), expected(model, x))
        with torch.no_grad():
            torch.testing.assert_close(reg.combine(task(model.eval()(x))), expected(model, x))
        layered = nn.Sequential(model[0], model[1], Regularize(L2()), model[2]).eval()
        reg.remove()
        with torch.no_grad():
            total = regularize(layered, train_only=False).combine(task(layered(x)))
        torch.testing.assert_close(total, expected(model, x))

    @pytest.mark.filterwarnings("ignore:17 forward passes")
    def test_memory(self, model, x):
        """Graphs of passes that nobody combines: 16 of them, however many there were."""

        def graphs():
            gc.collect()
            return sum(type(o).__name__.startswith("_PenaltyWithJvp") for o in gc.get_objects())

        values = naive(model)
        before = graphs()
        reg = regularize(model, {"1": L2()})
        for _ in range(1000):
            model(x)
        assert len(values) == 1000  # a naive hook keeps every graph
        assert graphs() - before <= 2 * 16
        reg.reset()
        assert graphs() == before

    def test_passes_that_nobody_combines_are_said(self, model, x):
        regularize(model, {"1": L2()})
        for _ in range(16):
            model(x)
        with pytest.warns(RuntimeWarning, match=r"17 forward passes.*reg\.combine"):
            model(x)

    def test_a_layer_without_a_regularizer_is_said(self, x):
        layer = Regularize(L2())
        for _ in range(100):
            layer(x)
        with pytest.raises(RuntimeError, match=r"no call took them.*reg\.combine"):
            layer(x)


class TestCopies:
    def test_a_copy_has_no_part(self, model, x):
        values = naive(model)
        copy.deepcopy(model)(x)
        assert len(values) == 1  # of a naive hook, which the copy shares
        reg = regularize(model, {"1": L2()})
        y = model(x)  # a value is pending, and part of a graph
        twin, average = copy.deepcopy(model), AveragedModel(model)
        twin(10 * x), average(10 * x)
        torch.testing.assert_close(reg.combine(task(y)), expected(model, x))
        again = regularize(twin, {"1": L2()})
        torch.testing.assert_close(again.combine(task(twin(x))), expected(model, x))

    def test_a_model_that_was_pickled(self, model, x):
        naive(model)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(model)
        model[1]._forward_hooks.clear()
        reg = regularize(model, {"1": L2()})
        y = model(x)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=False)
        loaded(10 * x)
        torch.testing.assert_close(reg.combine(task(y)), expected(model, x))

    def test_a_copy_of_the_regularizer_says_that_it_is_one(self, model, x):
        both = nn.ModuleDict({"model": model, "reg": regularize(model, {"1": L2()})})
        model(x)
        twin = copy.deepcopy(both)
        assert twin.eval()["reg"].combine(1.0) == 1.0
        with pytest.raises(RuntimeError, match=r"is a copy.*call regularize"):
            twin.train()["reg"].combine(task(twin["model"](x)))

    def test_hooks_are_no_state(self, model):
        keys = list(model.state_dict())
        reg = regularize(model, {"1": BatchEntropy()})
        assert list(model.state_dict()) == keys
        reg.register_on(model)
        assert set(model.state_dict()) - set(keys) == {
            "regcore.sites.1.params.alpha",
            "regcore.sites.1.coefficient_BatchEntropy",
        }
        assert set(regularize(model, {"**": L2()}).report()) == {"0/L2", "1/L2", "2/L2"}  # nothing of ours


class TestLearnedParameters:
    def test_saved_and_restored(self, model, x):
        reg = regularize(model, {"1": BatchEntropy(alpha=0.75)})
        reg.register_on(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        reg.combine(task(model(x))).backward()
        optimizer.step()
        alpha = reg.sites["1"].params["alpha"]
        assert alpha != 0.75
        fresh = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        regularize(fresh, {"1": BatchEntropy(alpha=0.75)}).register_on(fresh)
        fresh.load_state_dict(model.state_dict())
        assert fresh.regcore.sites["1"].params["alpha"] == alpha

    @pytest.mark.parametrize("given", [True, False], ids=["given to the optimizer", "forgotten"])
    def test_forgetting_to_give_them_to_the_optimizer_is_said(self, model, x, given):
        reg = regularize(model, {"1": BatchEntropy(alpha=0.75)})
        optimizer = torch.optim.SGD([*model.parameters(), *(reg.parameters() if given else ())], lr=0.1)
        for step in range(3):
            optimizer.zero_grad()
            y = model(x)
            if step and not given:
                with pytest.warns(RuntimeWarning, match=r"learned parameters \['1/alpha'\] were not.*reg\.parameters"):
                    total = reg.combine(task(y))
            else:
                total = reg.combine(task(y))
            total.backward()
            optimizer.step()

    def test_what_is_frozen_on_purpose_is_not_said(self, model, x):
        reg = regularize(model, {"1": BatchEntropy(alpha=0.75)}).requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            reg.combine(task(model(x))).backward()
            optimizer.step()


class TestAccumulation:
    @pytest.mark.parametrize("mode", ["collect", "attach"])
    def test_micro_batches_are_the_whole_batch(self, model, x, mode):
        model.double(), (x := x.double())
        reg = regularize(model, {"1": L2()}, mode=mode)
        reg.combine(task(model(x))).backward()
        whole = [p.grad.clone() for p in model.parameters()]
        for divided in (True, False):
            model.zero_grad()
            for part in x.chunk(3):
                if divided:  # by the trainer
                    (reg.combine(task(model(part))) / 3).backward()
                else:  # by nobody: the task is a sum already
                    reg.combine(task(model(part)) / 3, micro_batches=3).backward()
            for p, expected in zip(model.parameters(), whole, strict=True):
                torch.testing.assert_close(p.grad, expected, rtol=1e-12, atol=1e-14)

    def test_statistics_of_a_batch_are_those_of_a_micro_batch(self, model, x):
        """So accumulation changes a penalty that is not additive, and its class says so."""
        assert (L2.additive, BatchEntropy.additive) == (True, False)
        whole, parts = (
            [p(h, p.init()) for h in batches] for p, batches in ((BatchEntropy(), [x]), (BatchEntropy(), x.chunk(2)))
        )
        assert abs(sum(parts) / 2 - whole[0]) > 1e-3 * whole[0]


class TestTransforms:
    def test_func_grad(self, model, x):
        reg = regularize(model, {"1": L2()})
        parameters = dict(model.named_parameters())
        by_func = torch.func.grad(lambda p: reg.combine(task(torch.func.functional_call(model, p, (x,)))))(parameters)
        by_hand = torch.autograd.grad(expected(model, x), list(parameters.values()))
        for ours, theirs in zip(by_func.values(), by_hand, strict=True):
            torch.testing.assert_close(ours, theirs)

    def test_per_example_gradients(self, model, x):
        reg = regularize(model, {"1": L2()})
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        loss = lambda p, row: reg.combine(task(torch.func.functional_call(model, p, (row[None],))))  # noqa: E731
        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        for i in (0, 5):
            by_hand = torch.autograd.grad(expected(model, x[i : i + 1]), list(model.parameters()))
            for ours, theirs in zip(each.values(), by_hand, strict=True):
                torch.testing.assert_close(ours[i], theirs)

    def test_double_backward(self, model, x):
        model.double(), (x := x.double().requires_grad_())
        reg = regularize(model, {"1": L2()})

        def second(loss):
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            return torch.autograd.grad((slope**2).sum(), model[0].weight)[0]

        torch.testing.assert_close(second(reg.combine(task(model(x)))), second(expected(model, x)))


class TestExport:
    @pytest.mark.parametrize("strict", [True, False])
    def test_export_leaves_nothing(self, model, x, strict):
        clean = torch.export.export(model, (x,), strict=strict)
        reg = regularize(model, {"1": L2()})
        exported = torch.export.export(model, (x,), strict=strict)
        assert len(exported.graph.nodes) == len(clean.graph.nodes)
        torch.testing.assert_close(reg.combine(task(model(x))), expected(model, x))

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_fx_and_jit_leave_nothing(self, model, x):
        layered = nn.Sequential(model[0], Regularize(L2()), model[2])
        traced = torch.fx.symbolic_trace(layered)
        torch.testing.assert_close(traced(x), layered.eval()(x))
        reg = regularize(model, {"1": L2()})
        torch.testing.assert_close(torch.jit.trace(model, (x,), check_trace=False)(x), model(x))
        reg.reset()
        torch.testing.assert_close(reg.combine(task(model(x))), expected(model, x))


def test_no_warning_in_a_plain_loop(model, x):
    reg = regularize(model, {"1": L2() + BatchEntropy(), "weight:0.weight": L2()})
    optimizer = torch.optim.Adam([*model.parameters(), *reg.parameters()], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            optimizer.zero_grad()
            reg.combine(task(model(x))).backward()
            optimizer.step()
        reg.check()

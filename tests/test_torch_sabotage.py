"""Set-ups that do nothing, or the wrong thing, and what the PyTorch adapter says about each."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from regcore import L1, L2, BatchEntropy  # noqa: E402
from regcore_torch import Regularize, regularize  # noqa: E402

MODES = pytest.mark.parametrize("mode", ["collect", "attach"])


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def task(y):
    return (y * y).mean()


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)


@MODES
def test_a_module_that_is_never_called(x, mode):
    model = Unused()
    reg = regularize(model, {"*": L2()}, mode=mode)
    with pytest.raises(RuntimeError, match=r"\['never'\] recorded no penalty.*Was the module called"):
        reg.combine(task(model(x)))


def test_a_module_whose_forward_is_called_directly(model, x):
    reg = regularize(model, {"*": L2()})
    with pytest.raises(RuntimeError, match=r"\['0'\] recorded no penalty.*not by module\.forward"):
        reg.combine(task(model[2](model[1](model[0].forward(x)))))


def test_a_projection_that_attention_reads_and_never_calls(x):
    model = nn.MultiheadAttention(4, 2, batch_first=True)
    fired = []
    model.out_proj.register_forward_hook(lambda *call: fired.append(call))
    reg = regularize(model, {"out_proj": L2()})
    y, _ = model(x[None], x[None], x[None])
    assert fired == []
    with pytest.raises(RuntimeError, match=r"\['out_proj'\] recorded no penalty.*out_proj and never calls it"):
        reg.combine(task(y))
    assert regularize(model, {"weight:out_proj.weight": L2()}).combine(task(y)) > task(y)  # what can be done


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_reentrant_checkpoint(model, x):
    reg = regularize(model, {"1": L2()})
    with pytest.raises(RuntimeError, match=r"\['1'\].*reentrant checkpointing.*use_reentrant=False"):
        reg.combine(task(checkpoint(model, x.requires_grad_(), use_reentrant=True)))


def test_an_activation_without_a_gradient(x):
    model = nn.Sequential(nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 2))
    reg = regularize(model, {"0": L2()})
    with pytest.raises(RuntimeError, match=r"no gradient can flow through the penalty at \['0'\].*frozen"):
        reg.combine(task(model(x)))


def train(model, reg, x, steps=2, loss=lambda reg, y: reg.combine(task(y))):
    optimizer = torch.optim.SGD([*model.parameters(), *reg.parameters()], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(reg, model(x)).backward()
        optimizer.step()


def test_an_activation_that_is_detached_behind_what_is_attached(x):
    class Detaching(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.main = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.main(x) + self.side(x).detach()

    model = Detaching()
    reg = regularize(model, {"side": L2()}, mode="attach")
    with pytest.warns(RuntimeWarning, match=r"no gradient came through \['side/L2'\]"):
        train(model, reg, x)
    with pytest.raises(RuntimeError, match=r"side/L2 got no gradient"):
        reg.check()


@MODES
def test_a_total_that_nobody_differentiates(model, x, mode):
    reg = regularize(model, {"1": L2()}, mode=mode)

    def forgetful(reg, y):
        reg.combine(task(y))
        return task(y)

    if mode == "attach":  # the gradient is there all the same, and nothing is lost
        train(model, reg, x, loss=forgetful)
        reg.check()
        return
    with pytest.warns(RuntimeWarning, match=r"no gradient came through \['1/L2'\].*the total that combine returned"):
        train(model, reg, x, loss=forgetful)
    with pytest.raises(RuntimeError, match=r"1/L2 got no gradient: was backward called on the total"):
        reg.check()


def test_a_penalty_that_nobody_combines(model, x):
    reg = regularize(model, {"1": L2()})
    with pytest.warns(RuntimeWarning, match=r"17 forward passes were recorded and no loss took them"):
        train(model, reg, x, steps=17, loss=lambda reg, y: task(y))
    with pytest.raises(RuntimeError, match="1/L2 recorded nothing"):
        reg.check()


def test_a_coefficient_of_zero(model, x):
    reg = regularize(model, {"1": 0.0 * L2() + L1()})
    train(model, reg, x)
    with pytest.raises(RuntimeError, match=r"^1/L2 has the coefficient 0, so it has no effect: set another"):
        reg.check()
    reg.set_coefficient("1/L2", 1.0)
    train(model, reg, x)
    reg.check()


def test_the_wrong_phase(model, x):
    reg = regularize(model.eval(), {"1": L2()})
    train(model, reg, x)
    with pytest.raises(RuntimeError, match=r"1/L2 recorded nothing.*where the model trains"):
        reg.check()


def test_a_layer_that_is_left_in_evaluation(model, x):
    model.insert(2, Regularize(L2()))
    reg = regularize(model)
    model[2].eval()
    with pytest.raises(RuntimeError, match=r"\['2'\] recorded no penalty"):
        reg.combine(task(model(x)))


def test_learned_parameters_that_the_optimizer_does_not_have(model, x):
    model.insert(2, Regularize(BatchEntropy()))
    reg = regularize(model)
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    reg.combine(task(model(x))).backward()
    optimizer.step()
    y = model(x)
    with pytest.warns(RuntimeWarning, match=r"\['2/alpha'\] were not, though they have a gradient"):
        reg.combine(task(y))


def test_a_regularizer_that_was_removed(model, x):
    reg = regularize(model, {"1": L2()})
    reg.remove()
    with pytest.raises(RuntimeError, match=r"was removed from its model; call regularize"):
        reg.combine(task(model(x)))


def test_two_regularizers_that_want_the_same_layer(model, x):
    model.insert(2, Regularize(L2()))
    first, second = regularize(model), regularize(model)
    y = task(model(x))
    first.combine(y)
    with pytest.raises(RuntimeError, match=r"\['2'\] recorded no penalty"):
        second.combine(y)

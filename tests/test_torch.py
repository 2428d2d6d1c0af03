"""The PyTorch adapter in a training step."""

import pickle

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import regcore  # noqa: E402
from regcore import AR, L1, L2, BatchEntropy, added, exact  # noqa: E402
from regcore_torch import Regularize, regularize  # noqa: E402 - after the check that torch is there

SPEC = 2.0 * AR() + BatchEntropy(alpha=0.75)


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def task(y):
    return (y * y).mean()


def gradients(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()))


def test_the_total_and_its_gradients_are_those_written_by_hand(model, x):
    reg = regularize(model, {"1": SPEC})
    loss = reg.combine(task(model(x)))
    hidden = model[1](model[0](x))
    alpha = reg.sites["1"].params["BatchEntropy_alpha"]
    by_hand = task(model[2](hidden)) * (1 + BatchEntropy()(hidden, {"alpha": alpha})) + 2.0 * AR()(hidden)
    reg.reset()
    assert loss == by_hand
    parameters = [*model.parameters(), alpha]
    for ours, theirs in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(by_hand, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_a_layer_and_a_hook_are_the_same(model, x):
    layered = nn.Sequential(model[0], model[1], Regularize(SPEC), model[2])
    by_layer, by_hook = regularize(layered), regularize(model, {"1": SPEC})
    total = by_layer.combine(task(layered(x)))
    by_hook.reset()  # the hook saw the shared module
    assert total == by_hook.combine(task(model(x)))


def test_learned_parameters_train_and_are_saved(model, x):
    layered = nn.Sequential(model[0], Regularize(BatchEntropy(alpha=0.75)))
    reg = regularize(layered, {"0": added(BatchEntropy(alpha=0.5))})
    optimizer = torch.optim.SGD([*layered.parameters(), *reg.parameters()], lr=0.5)
    before = {**layered.state_dict(), **reg.state_dict()}
    before = {name: tensor.clone() for name, tensor in before.items() if "alpha" in name}
    reg.combine(task(layered(x))).backward()
    optimizer.step()
    after = {**layered.state_dict(), **reg.state_dict()}
    assert set(before) == {"1.params.alpha", "sites.0.params.alpha"}
    assert all(after[name] != before[name] for name in before)
    restored = nn.Sequential(nn.Linear(4, 8), Regularize(BatchEntropy()))
    restored.load_state_dict(layered.state_dict())
    assert restored[1].params["alpha"] == layered[1].params["alpha"]


def test_evaluation_and_no_grad_record_nothing(model, x):
    reg = regularize(model, {"1": L2()})
    with torch.no_grad():
        y = task(model(x))
        assert reg.combine(y) is y
    model.eval()
    y = task(model(x))
    assert reg.combine(y) is y
    assert reg.report()["1/L2"].fired == 0


def test_a_frozen_submodule_in_eval_still_counts(model, x):
    reg = regularize(model, {"0": L2()})
    model[0].eval()
    assert reg.combine(task(model(x))) > task(model(x))


def test_calls_and_shared_modules_add_up(x):
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    reg = regularize(model, {"0": L2()})
    total = reg.combine(task(model(x)))
    first = shared(x)
    expected = task(shared(first.relu())) + L2()(first) + L2()(shared(first.relu()))
    reg.reset()
    torch.testing.assert_close(total, expected)
    assert reg.report()["0/L2"].fired == 2


def test_rules_that_meet_at_a_site_add_up(model, x):
    reg = regularize(model, {"1": L2(), "*": L1()})
    reg.combine(task(model(x)))
    assert set(reg.report()) == {"0/L1", "1/L2", "1/L1", "2/L1"}


def test_a_glob_that_matches_nothing_raises(model):
    with pytest.raises(ValueError, match=r"'layers\.\*' matches none"):
        regularize(model, {"layers.*": L2()})
    with pytest.raises(ValueError, match="nothing to regularize"):
        regularize(model)


def test_a_site_that_recorded_nothing_raises(model, x):
    reg = regularize(model, {"*": L2()})
    skipped = model[1](model[0](x))
    with pytest.raises(RuntimeError, match=r"\['2'\] recorded no penalty"):
        reg.combine(task(skipped))
    reg.combine(task(model(x)))  # the failed step left nothing behind
    with pytest.raises(RuntimeError, match="recorded no penalty"):
        reg.combine(task(model[2](model[1](model[0].forward(x)))))


def test_a_detached_activation_raises(x):
    model = nn.Sequential(nn.Linear(4, 8).requires_grad_(False), nn.Linear(8, 2))
    reg = regularize(model, {"0": L2()})
    with pytest.raises(RuntimeError, match=r"no gradient can flow through the penalty at \['0'\]"):
        reg.combine(task(model(x)))


def test_compiled_without_a_break_and_without_recompiling(model, x):
    torch._dynamo.reset()
    reg = regularize(model, {"1": SPEC})
    eager = gradients(reg.combine(task(model(x))), model)
    with torch._dynamo.config.patch(error_on_recompile=True, fail_on_recompile_limit_hit=True):
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for _ in range(4):
            for ours, theirs in zip(gradients(reg.combine(task(compiled(x))), model), eager, strict=True):
                torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpointed_activations_count_once(model, x):
    reg = regularize(model, {"1": L2()})
    plain = gradients(reg.combine(task(model(x))), model)
    again = gradients(reg.combine(task(checkpoint(model, x, use_reentrant=False))), model)
    for ours, theirs in zip(again, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    reg.combine(task(model(x)))
    assert reg.report()["1/L2"].fired == 3
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        reg.combine(task(checkpoint(model, x, use_reentrant=True)))


def test_a_layer_takes_a_mask():
    layer, x = Regularize(AR()), torch.randn(2, 5, 3, requires_grad=True)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    reg = regularize(nn.Sequential(layer))
    assert layer(x, mask) is x
    assert reg.combine(torch.zeros(())) == AR()(x, mask=mask)


def test_coefficients_change_after_compile(model, x):
    torch._dynamo.reset()
    reg, compiled = regularize(model, {"1": 2.0 * L2()}), torch.compile(model, fullgraph=True, backend="aot_eager")
    full = reg.combine(task(compiled(x)))
    bare = task(model(x))
    reg.reset()
    reg.sites["1"].set_coefficient("L2", 1.0)
    torch.testing.assert_close(reg.combine(task(compiled(x))) - bare, (full - bare) / 2)
    with pytest.raises(ValueError, match=r"no term 'L3'; it has \['L2'\]"):
        reg.sites["1"].set_coefficient("L3", 1.0)
    with pytest.raises(ValueError, match="must be a finite number"):
        reg.sites["1"].set_coefficient("L2", float("nan"))


def test_the_report_says_whether_the_gradient_came_through(model, x):
    reg = regularize(model, {"1": 2.0 * L2()})
    before = reg.report()["1/L2"]
    loss = reg.combine(task(model(x)))
    unused = reg.report()["1/L2"]
    loss.backward()
    used = reg.report()["1/L2"]
    assert (before.fired, before.value, before.reached) == (0, None, False)
    assert (unused.fired, unused.coefficient, unused.reached) == (1, 2.0, False)
    assert used.reached
    assert used.value == L2()(model[1](model[0](x)))


def test_removing_restores_the_model(model, x):
    with regularize(model, {"**": L2()}) as reg:
        assert model[1]._forward_hooks
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(RuntimeError, match="was removed"):
        reg.combine(task(model(x)))


def test_a_float64_model_stays_exact(x):
    model = nn.Sequential(nn.Linear(4, 8)).double()
    reg = regularize(model, {"0": 0.1 * L2()})
    h = model(x.double())
    assert reg.combine(task(h)) == task(h) + 0.1 * L2()(h)


def test_half_precision_gives_a_float32_penalty():
    model = nn.Sequential(nn.Linear(4, 8)).bfloat16()
    reg = regularize(model, {"0": exact(L2())})
    loss = reg.combine(task(model(torch.ones(3, 4, dtype=torch.bfloat16))))
    assert loss.dtype == torch.float32
    loss.backward()
    assert model[0].weight.grad.dtype == torch.bfloat16


def test_a_model_with_layers_pickles(model, x):
    layered = nn.Sequential(model[0], Regularize(SPEC))
    copy = pickle.loads(pickle.dumps(layered))
    assert regularize(copy).combine(task(copy(x))) == regularize(layered).combine(task(layered(x)))


def test_the_state_of_the_model_has_no_part_in_the_handle(model):
    reg = regularize(nn.Sequential(model, Regularize(SPEC)), {"0.1": BatchEntropy()})
    assert set(dict(reg.named_parameters())) == {"sites.0/1.params.alpha"}
    assert regcore.L2() not in reg.state_dict().values()

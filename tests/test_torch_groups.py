"""Many sites, and many arrays, as one node of PyTorch's graph."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from regcore import AR, L2, TAR, BatchEntropy, Covariance, Variance, added, plain  # noqa: E402
from regcore.backends.torch_groups import MOST, at_once  # noqa: E402
from regcore_torch import regularize, values  # noqa: E402
from regcore_torch.groups import Seen  # noqa: E402

DEPTH = 6
SPEC = BatchEntropy(alpha=0.75) * (1.0 / DEPTH) + 0.5 * AR() + TAR(time_axis=1)


def plain_net(width=5, depth=DEPTH):
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)]).double()


def task(y):
    return (y * y).mean()


def x(*shape):
    return torch.randn(*(shape or (7, 5)), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Kernels(TorchDispatchMode):
    """Counts what is computed, without views."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def both(rules=None, **options):
    """A model whose sites are evaluated together, and one where each is on its own."""
    models = plain_net(), plain_net()
    regs = [
        regularize(m, rules or {"*": SPEC}, together=together, **options)
        for m, together in zip(models, (True, False), strict=True)
    ]
    return list(zip(models, regs, strict=True))


def test_values_and_gradients_are_those_of_single_sites():
    (model, reg), (other, single) = both()
    ours, theirs = reg.combine(task(model(x()))), single.combine(task(other(x())))
    close(ours, theirs)
    assert list(reg.terms()) == list(single.terms())
    for ours, theirs in zip(reg.terms().values(), single.terms().values(), strict=True):
        close(ours, theirs)
    for ours, theirs in zip(
        torch.autograd.grad(ours_total(reg, model), [*model.parameters(), *reg.parameters()]),
        torch.autograd.grad(ours_total(single, other), [*other.parameters(), *single.parameters()]),
        strict=True,
    ):
        close(ours, theirs)


def ours_total(reg, model):
    return reg.combine(task(model(x())))


def test_second_derivatives():
    found = []
    for model, reg in both():
        parameters = [*model.parameters(), *reg.parameters()]
        first = torch.autograd.grad(ours_total(reg, model), parameters, create_graph=True)
        found.append(torch.autograd.grad(sum((g * g).sum() for g in first), parameters))
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs)


def test_few_kernels_for_each_layer():
    """Forward and backward, beyond those of the model; the official code takes 43."""
    counts = []
    for depth in (20, 60):
        models = [plain_net(depth=depth), plain_net(depth=depth)]
        reg = regularize(models[1], {"*": BatchEntropy() * (1.0 / depth)})
        for model, combine in zip(models, (lambda loss: loss, reg.combine), strict=True):
            combine(task(model(x()))).backward()  # the first time it looks for the size of a group
            with Kernels() as kernels:
                combine(task(model(x()))).backward()
            counts.append(kernels.count)
    plain, regularized = counts[2] - counts[0], counts[3] - counts[1]
    assert regularized - plain <= 2 * 40  # adding to the gradients of the output and of alpha, and nothing else


def test_nothing_is_saved_but_what_was_there_and_numbers_for_each_unit():
    model, reg = both()[0]
    seen = []
    for i in range(DEPTH):
        model[i].register_forward_hook(lambda module, args, output: seen.append(output.untyped_storage().data_ptr()))
    loss = task(model(x()))
    there = {*seen, *[p.untyped_storage().data_ptr() for p in reg.parameters()]}
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        reg.combine(loss)
    assert len(saved) > DEPTH
    new = [t for t in saved if t.untyped_storage().data_ptr() not in there]
    assert sum(t.numel() for t in new if t.numel() > DEPTH) <= 2 * DEPTH * 5  # a mean and a slope


def test_a_change_in_place_is_noticed():
    for after in (False, True):
        model, reg = both()[0]
        outputs = []
        model[2].register_forward_hook(lambda module, args, output, kept=outputs: kept.append(output))
        y = model(x())
        loss = reg.combine(task(y)) if after else task(y)
        with torch.no_grad():
            outputs[0].add_(1.0)
        with pytest.raises(RuntimeError, match=r"was changed in place before backward.*clone=True"):
            (loss if after else reg.combine(loss)).backward()


def test_a_parameter_that_changes_is_noticed():
    model, reg = both()[0]
    y = model(x())
    with torch.no_grad():
        next(reg.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match=r"was changed in place"):
        reg.combine(task(y))


def test_shapes_and_specs_that_differ():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4), nn.Linear(4, 4)).double()
    found = []
    for together in (True, False):
        with regularize(model, {"*": L2(), "1": BatchEntropy(), "3": BatchEntropy()}, together=together) as reg:
            found.append(torch.autograd.grad(ours_total(reg, model), list(model.parameters())))
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs)


def test_weights_are_evaluated_together():
    model, reg = both({"weight:*.weight": L2()})[0]
    expected = sum(L2()(layer.weight) for layer in model)
    close(reg.combine(torch.zeros((), dtype=torch.float64)), expected)


def test_several_calls_and_coefficients_and_micro_batches():
    totals = []
    for calls in ("sum", "mean", "last"):
        for model, reg in both(calls=calls):
            reg.set_coefficient("2/*", 3.0)
            y = [model(x()), model(2 * x())]
            totals.append(reg.combine(task(y[0] + y[1]), micro_batches=2))
            reg.set_coefficient("**", 0.0)
            totals.append(ours_total(reg, model))
    for i in range(0, len(totals), 4):
        close(totals[i], totals[i + 2])
        close(totals[i + 1], totals[i + 3])


def test_the_report_counts_every_site():
    model, reg = both()[0]
    ours_total(reg, model).backward()
    reg.check()
    assert {(one.fired, one.reached) for one in reg.report().values()} == {(1, True)}
    loss = ours_total(reg, model)
    assert not any(one.reached for one in reg.report().values())
    loss.backward(retain_graph=True)
    loss.backward()


def test_errors_come_from_the_hook_and_name_the_site():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    regularize(model, {"*": BatchEntropy()})
    with pytest.raises(ValueError, match=r"at '0': .*a batch of 1"):
        model(torch.ones(1, 5))


def test_a_checkpoint_keeps_nothing():
    model, reg = both()[0]
    expected = torch.autograd.grad(ours_total(reg, model), list(model.parameters()))
    y = checkpoint(model, x().requires_grad_(), use_reentrant=False)
    (waiting,) = reg._watch.passes._waiting
    assert not any(isinstance(call, Seen) for calls in waiting.calls.values() for call in calls)
    for ours, theirs in zip(torch.autograd.grad(reg.combine(task(y)), list(model.parameters())), expected, strict=True):
        close(ours, theirs)


def test_func_grad():
    model, reg = both()[0]
    parameters = dict(model.named_parameters())
    expected = torch.autograd.grad(ours_total(reg, model), list(parameters.values()))
    by_func = torch.func.grad(lambda p: reg.combine(task(torch.func.functional_call(model, p, (x(),)))))(parameters)
    for ours, theirs in zip(by_func.values(), expected, strict=True):
        close(ours, theirs)


def arrays(*shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


class TestValues:
    SHAPES = ((3, 4), (5, 2), (3, 4), (3, 4), (1, 600, 600), (5, 2))

    def test_are_those_of_single_calls(self):
        xs, spec = arrays(*self.SHAPES), 2.0 * AR() + added(BatchEntropy(batch_axis=-1))
        params = [{"BatchEntropy_alpha": torch.tensor(0.1 * i, requires_grad=True)} for i in range(len(xs))]
        leaves = [*xs, *[own["BatchEntropy_alpha"] for own in params]]
        ours, theirs = values(spec, xs, params), torch.stack([spec(x, own) for x, own in zip(xs, params, strict=True)])
        close(ours, theirs)
        weights = torch.arange(1.0, 7.0, dtype=torch.float64)
        found = [torch.autograd.grad(weights @ (v * v), leaves, create_graph=True) for v in (ours, theirs)]
        for a, b in zip(*found, strict=True):
            close(a, b)
        second = [torch.autograd.grad(sum((g * g).sum() for g in each), leaves) for each in found]
        for a, b in zip(*second, strict=True):
            close(a, b)

    def test_half_precision_and_constants(self):
        xs = arrays(*[(6, 3)] * 4, dtype=torch.bfloat16)
        spec = BatchEntropy()
        ours = values(spec, xs, [spec.init()] * 4)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, torch.stack([spec(x, spec.init()) for x in xs]))
        assert torch.autograd.grad(ours.sum(), xs)[0].dtype == torch.bfloat16

    def test_gradients_are_apart(self):
        xs = arrays((2, 3), (2, 3))
        values(AR(), xs).sum().backward()
        xs[0].grad.zero_()
        close(xs[1].grad, 2 * xs[1].detach() / 6)

    def test_few_kernels(self):
        xs = arrays(*[(4, 4)] * 500)
        values(AR(), xs).sum().backward()
        for x in xs:
            x.grad = None
        with Kernels() as kernels:
            values(AR(), xs).sum().backward()
        assert kernels.count < 50

    def test_transforms_and_compile(self):
        xs = arrays((2, 3), (2, 3))
        total = lambda x: values(AR(), [x, 2.0 * x]).sum()  # noqa: E731
        close(torch.func.grad(total)(xs[0].detach()), 10 * xs[0].detach() / 6)
        close(torch.compile(total, fullgraph=True, backend="aot_eager")(xs[0]), total(xs[0]))

    def test_errors(self):
        with pytest.raises(ValueError, match="got 0 arrays"):
            values(AR(), [])
        with pytest.raises(ValueError, match="got 2 arrays, and params for 1"):
            values(BatchEntropy(), arrays((2, 3), (2, 3)), [{}])
        with pytest.raises(ValueError, match=r"learned parameters and got none named \['alpha'\]"):
            values(BatchEntropy(), arrays((2, 3), (2, 3)))
        with pytest.raises(TypeError, match="real floating"):
            values(AR(), [torch.ones(2, dtype=torch.int64)] * 2)
        xs = arrays((2, 3), (2, 3))
        total = values(AR(), xs).sum()
        with torch.no_grad():
            xs[1].add_(1.0)
        with pytest.raises(RuntimeError, match="changed in place before backward"):
            total.backward()


def test_large_intermediates_make_small_groups():
    small, wide = arrays((4, 8), (4, 700))
    assert at_once(AR(), small, {}) == MOST // 32
    assert at_once(Covariance(), wide, {}) <= max(1, MOST // (2 * 700))


def test_groups_are_accurate_far_from_zero_and_skip_no_dtype():
    """In chunks, of several batch axes, and twice differentiated by what a single array is differentiated by."""
    for spec, dtype in [(BatchEntropy(), torch.float32), (Variance(batch_axis=(0, 1)), torch.float32)]:
        far = [(x.detach() + 1e4).requires_grad_() for x in arrays(*[(6, 50, 40)] * 30, dtype=dtype)]
        wide = [x.detach().double().requires_grad_() for x in far]
        ours = values(spec, far, [spec.init()] * 30)
        theirs = torch.stack([plain(spec)(x, spec.init()) for x in wide])
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=0.0)
        for a, b in zip(*[torch.autograd.grad(v.sum(), xs) for v, xs in ((ours, far), (theirs, wide))], strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))

"""The PyTorch adapter in compiled code, under checkpoints, in mixed precision, and where the model changes in place."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from regcore import AR, L1, L2, BatchEntropy, Covariance, added  # noqa: E402
from regcore_torch import Regularize, regularize  # noqa: E402

SPEC = 2.0 * AR() + BatchEntropy(alpha=0.75)
PLAIN = 2.0 * AR() + added(BatchEntropy(alpha=0.75))  # nothing multiplies the task loss, so it can be attached
MODES = pytest.mark.parametrize("mode", ["collect", "attach"])


class Block(nn.Module):
    """The middle may be checkpointed, and checkpoints may be nested."""

    def __init__(self, reentrant=None, nested=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.reentrant, self.nested = reentrant, nested

    def inner(self, h):
        return torch.tanh(self.second(h))

    def middle(self, x):
        h = torch.tanh(self.first(x))
        return checkpoint(self.inner, h, use_reentrant=self.reentrant) if self.nested else self.inner(h)

    def forward(self, x):
        run = (
            self.middle
            if self.reentrant is None
            else lambda x: checkpoint(self.middle, x, use_reentrant=self.reentrant)
        )
        return self.last(run(x))


@pytest.fixture(autouse=True)
def _fresh():
    torch.compiler.reset()


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


def task(y):
    return (y * y).mean()


def gradients(loss, module):
    module.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in module.parameters()]


def by_hand(model, x, spec=PLAIN):
    """Without a call of any module, which a hook would see."""
    first, second, last = (lambda h, fc=fc: nn.functional.linear(h, fc.weight, fc.bias) for fc in model.children())
    h = second(torch.tanh(first(x)))
    params = {name: torch.tensor(p, dtype=x.dtype) for name, p in spec.init().items()}
    return task(last(torch.tanh(h))) + spec(h, params)


def close(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
class TestCheckpoints:
    def naive(self, model, x):
        values = []
        model.second.register_forward_hook(lambda module, args, output: values.append((output * output).mean()))
        y = model(x)
        return values, task(y) + sum(values)

    def test_what_naive_hooks_lose_and_leave(self, x):
        plain = gradients(self.naive(model := Block(), x)[1], model)
        values, loss = self.naive(model := Block(reentrant=True), x)
        lost = gradients(loss, model)
        assert not torch.allclose(lost[0], plain[0])  # the gradient of the penalty
        assert len(values) == 2  # the next loss would have both
        values, loss = self.naive(model := Block(reentrant=False), x)
        close(gradients(loss, model), plain)
        assert len(values) == 2

    @pytest.mark.parametrize("nested", [False, True], ids=["one", "nested"])
    @pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
    def test_attached_under_each_kind(self, x, reentrant, nested):
        model, x = Block(reentrant, nested).double(), x.detach().double().requires_grad_()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN}, mode="attach")
        for _ in range(3):
            close(gradients(reg.combine(task(model(x))), model), expected, rtol=1e-12, atol=1e-14)
        assert all(term.fired == 3 for term in reg.report().values())
        reg.check()

    @pytest.mark.parametrize("nested", [False, True], ids=["one", "nested"])
    def test_collected_without_reentry(self, x, nested):
        model, x = Block(False, nested).double(), x.detach().double().requires_grad_()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN})
        for _ in range(3):
            close(gradients(reg.combine(task(model(x))), model), expected, rtol=1e-12, atol=1e-14)
        assert all(term.fired == 3 for term in reg.report().values())

    def test_collected_with_reentry_is_an_error(self, x):
        model = Block(reentrant=True)
        reg = regularize(model, {"second": PLAIN})
        with pytest.raises(RuntimeError, match=r'\[\'second\'\] recorded no penalty.*mode="attach"'):
            reg.combine(task(model(x)))

    def test_a_mask_that_the_recomputation_would_not_have_is_an_error(self, x):
        model = Block(reentrant=False)
        reg = regularize(model, {"second": L2()}, mask=lambda x: x.detach()[:, 0] > 0)
        reg.combine(task(model(x))).backward()
        losses = [reg.combine(task(model(sign * x))) for sign in (1, -1)]
        with pytest.raises(RuntimeError, match=r"'second' is recomputed.*another mask"):
            sum(losses).backward()


class TestCompiled:
    @MODES
    def test_without_a_break(self, x, mode):
        model = Block().double()
        x = x.detach().double()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN}, mode=mode)
        with torch._dynamo.config.patch(error_on_recompile=True, fail_on_recompile_limit_hit=True):
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
            for _ in range(3):
                ours = gradients(reg.combine(task(compiled(x))), model)
                close(ours, expected, rtol=1e-12, atol=1e-14)

    def test_the_whole_loss_compiled(self, x):
        model, x = Block(), x.detach()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN})
        loss = torch.compile(lambda x: reg.combine(task(model(x))), fullgraph=True, backend="aot_eager")
        for _ in range(3):
            close(gradients(loss(x), model), expected)

    def test_attached_in_a_compiled_checkpoint(self, x):
        model = Block(reentrant=False).double()
        x = x.detach().double()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN}, mode="attach")
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for scale in (1.0, 1024.0):  # the scale of the loss is no constant of the compiled code
            ours = gradients(scale * reg.combine(task(compiled(x))), model)
            close([g / scale for g in ours], expected, rtol=1e-12, atol=1e-14)
        assert all((term.fired, term.reached) == (2, True) for term in reg.report().values())
        reg.check()

    def test_a_hook_after_the_first_call(self, x):
        model = Block()
        compiled = torch.compile(model, backend="eager")
        compiled(x)
        values = []
        naive = model.second.register_forward_hook(lambda module, args, output: values.append(output))
        compiled(x)
        assert values == []  # compiled code does not look for new hooks
        naive.remove()
        reg = regularize(model, {"second": PLAIN})
        torch.testing.assert_close(reg.combine(task(compiled(x))), by_hand(model, x))

    def test_a_second_instance_of_a_compiled_class(self, x):
        torch.compile(Block(), backend="eager")(x)
        second, values = Block(), []
        naive = second.second.register_forward_hook(lambda module, args, output: values.append(output))
        torch.compile(second, backend="eager")(x)
        assert values == []  # the code of the first instance is used
        naive.remove()
        reg = regularize(second, {"second": PLAIN})
        torch.testing.assert_close(reg.combine(task(torch.compile(second, backend="eager")(x))), by_hand(second, x))

    @MODES
    def test_code_without_hooks_that_another_instance_lends(self, x, mode):
        """After a regularizer was made, so that nothing resets what is compiled."""
        model, other = Block(), Block()
        reg = regularize(model, {"second": L2()}, mode=mode)
        torch.compile(other, backend="aot_eager")(x)
        compiled = torch.compile(model, backend="aot_eager")
        if mode == "collect":
            with pytest.raises(RuntimeError, match=r"\['second'\] recorded no penalty.*torch\.compiler\.reset"):
                reg.combine(task(compiled(x)))
            return
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        reg.combine(task(compiled(x))).backward()
        optimizer.step()
        y = task(compiled(x))
        with pytest.warns(RuntimeWarning, match=r"no gradient came through \['second/L2'\]"):
            reg.combine(y)
        with pytest.raises(RuntimeError, match="second/L2 recorded nothing"):
            reg.check()

    def test_a_dynamic_batch_compiles_once_more_and_no_more(self, x):
        model = Block()
        reg = regularize(model, {"second": PLAIN})
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        for n in (6, 5, 4, 3, 7):
            part = torch.randn(n, 4)
            torch.testing.assert_close(reg.combine(task(compiled(part))), by_hand(model, part))
        assert counter.frame_count <= 2

    def test_training_and_evaluation_take_turns(self, x):
        model = Block()
        reg = regularize(model, {"second": PLAIN})
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(model, fullgraph=True, backend=counter)
        for _ in range(3):
            torch.testing.assert_close(reg.combine(task(compiled.train()(x))), by_hand(model, x))
            y = task(compiled.eval()(x))
            assert reg.combine(y) is y
        assert counter.frame_count <= 4

    @MODES
    def test_a_coefficient_changes_without_compiling_again(self, x, mode):
        model = Block()
        reg = regularize(model, {"second": 2.0 * L2()}, mode=mode)
        with torch._dynamo.config.patch(error_on_recompile=True):
            compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
            for coefficient in (2.0, 0.5, 0.0):
                reg.set_coefficient("second/*", coefficient)
                ours = gradients(reg.combine(task(compiled(x))), model)
                close(ours, gradients(by_hand(model, x, coefficient * L2()), model))
        with pytest.raises(ValueError, match=r"'third/L2' matches none.*second/L2"):
            reg.set_coefficient("third/L2", 1.0)


class TestPrecision:
    def test_autocast_does_not_reach_the_penalty(self, x):
        model = nn.Sequential(nn.Linear(4, 256))
        reg = regularize(model, {"0": Covariance()})
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
            h = y.detach().float()
            centred = h - h.mean(0)
            naive = (centred.T @ centred).dtype
            total = reg.combine(torch.zeros(()))
        assert (y.dtype, naive, total.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
        torch.testing.assert_close(total, Covariance()(h))

    @MODES
    def test_a_scaled_loss(self, x, mode):
        model = Block()
        expected = gradients(by_hand(model, x), model)
        reg = regularize(model, {"second": PLAIN}, mode=mode)
        reg.requires_grad_(False)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(reg.combine(task(model(x)))).backward()
            scaler.unscale_(optimizer)
            close([p.grad for p in model.parameters()], expected)
            scaler.step(optimizer)
            scaler.update()
            expected = gradients(by_hand(model, x), model)

    def test_what_is_attached_needs_a_scalar_loss(self, x):
        model = Block()
        reg = regularize(model, {"second": PLAIN}, mode="attach")
        with pytest.raises(ValueError, match=r"the loss has shape \(6, 2\); expected a 0-d loss"):
            reg.combine(model(x))

    def test_half_precision_does_not_overflow(self):
        model = nn.Sequential(nn.Linear(4, 4, bias=False)).half()
        nn.init.eye_(model[0].weight)
        x = torch.full((8, 4), 300.0, dtype=torch.float16)
        reg = regularize(model, {"0": L2()})
        y = model(x)
        assert (y * y).mean().isinf()
        assert reg.combine(torch.zeros(())) == 90000.0


class TestInPlace:
    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))

    def expected(self, model, x):
        h = model[0](x)
        return gradients(task(model[2](h.relu())) + L2()(h), model)

    def test_what_happens_to_naive_hooks(self, x):
        model, values = self.model(), []
        expected = L2()(model[0](x))
        model[0].register_forward_hook(lambda module, args, output: values.extend([output, (output**2).mean()]))
        y = model(x)
        assert L2()(values[0]) < expected  # a stored output has changed
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (task(y) + values[1]).backward()

    @MODES
    def test_a_model_that_says_so_is_copied_from(self, x, mode):
        model = self.model()
        expected = self.expected(self.model(), x)
        reg = regularize(model, {"0": L2()}, mode=mode)
        close(gradients(reg.combine(task(model(x))), model), expected)

    def test_one_that_does_not_say_so_is_an_error_that_does(self, x):
        model = self.model()
        regularize(model, {"0": L2()}, clone=False)
        reg = regularize(model, {"0": L2()}, clone=False)
        with pytest.raises(RuntimeError, match=r"L2\(\).*was changed in place.*clone=True"):
            reg.combine(task(model(x))).backward()


def test_a_layer_attaches(x):
    layer = Regularize(L1(), mode="attach")
    model = nn.Sequential(nn.Linear(4, 4), layer)
    expected = gradients((lambda h: task(h) + L1()(h))(model[0](x)), model)
    reg = regularize(model)
    close(gradients(reg.combine(task(model(x))), model), expected)
    assert reg.terms()["1/L1"] == L1()(model[0](x))
    with pytest.raises(ValueError, match=r"mode='add'; expected 'collect' or 'attach'"):
        Regularize(L1(), mode="add")
    with pytest.raises(ValueError, match=r"\['BatchEntropy'\].*multiplies the task loss"):
        regularize(model, {"0": SPEC}, mode="attach")
    with pytest.raises(ValueError, match="a function as select="):
        regularize(model, {"0": L1()}, mode="attach", select=lambda output: output)

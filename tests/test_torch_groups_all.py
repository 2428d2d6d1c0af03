"""Every penalty that can be evaluated for many arrays at once gives what it gives for each."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from regcore.backends.torch_groups import at_once, values  # noqa: E402
from regcore.config import catalogue  # noqa: E402
from regcore_torch import values as many  # noqa: E402

KINDS = {name: kind for name, kind in catalogue().items() if not next(kind.examples()).inputs}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_values_and_gradients(kind):
    spec, shape, *_ = next(kind.examples())
    generator = torch.Generator().manual_seed(0)
    xs = [torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]
    params = [
        {name: torch.tensor(p, dtype=torch.float64).requires_grad_() for name, p in spec.init().items()} for _ in xs
    ]
    leaves = [*xs, *[parameter for own in params for parameter in own.values()]]
    grouped = (many if at_once(spec, xs[0], params[0]) == 1 else values)(spec, xs, params)
    alone = torch.stack([spec(x, own) for x, own in zip(xs, params, strict=True)])
    torch.testing.assert_close(grouped, alone, rtol=1e-12, atol=1e-14)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = [torch.autograd.grad(weights @ each, leaves) for each in (grouped, alone)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)

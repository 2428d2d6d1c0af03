"""Penalties make no array of their own device: they run on PyTorch's meta device, without values, and on DTensor."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import regcore  # noqa: E402
from regcore.config import catalogue  # noqa: E402
from regcore_torch import regularize  # noqa: E402

FIRST = [next(iter(kind.examples())) for kind in catalogue().values()]


def filled(example, name):
    given = example.inputs.get(name)
    kind = example.spec.inputs()[name]
    if isinstance(given, tuple):
        given = np.zeros(given, {"real floating": np.float32, "integral": np.int64, "bool": np.bool_}[kind])
    return torch.as_tensor(given)


@pytest.mark.parametrize("example", FIRST, ids=lambda example: type(example.spec).__name__)
def test_meta(example):
    spec = example.spec
    x = torch.empty(example.shape, device="meta", requires_grad=True)
    params = {name: torch.tensor(initial).to("meta") for name, initial in spec.init().items()}
    params |= {name: filled(example, name).to("meta") for name in spec.inputs()}
    value = spec(x, params)
    assert (value.device.type, value.shape) == ("meta", ())
    value.backward()
    assert x.grad.device.type == "meta"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_sharded_weight(tmp_path):
    from torch import distributed, nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_module, distribute_tensor

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        model = nn.Sequential(nn.Linear(4, 4))
        plain = regcore.Orthogonality()(model[0].weight).detach()

        def shard(name, module, mesh):
            for key, parameter in list(module.named_parameters(recurse=False)):
                module.register_parameter(key, nn.Parameter(distribute_tensor(parameter.data, mesh, [Shard(0)])))

        distribute_module(model, mesh, shard)
        assert isinstance(model[0].weight, DTensor)
        reg = regularize(model, {"weight:0.weight": regcore.Orthogonality()})
        total = reg.combine(torch.zeros(()))
        assert not isinstance(total, DTensor)
        torch.testing.assert_close(total, plain)
        total.backward()
        assert model[0].weight.grad.full_tensor().abs().sum() > 0
    finally:
        distributed.destroy_process_group()

"""Two processes of torch.distributed are one: statistics of the batch, gradients, learned parameters."""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed")

TWO = """
import sys, torch, regcore, regcore_torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

rank = int(sys.argv[1])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()

def task(y):
    return (y * y).mean()

SPEC = regcore.added(regcore.BatchEntropy(alpha=0.75)) + regcore.DeadUnits() + 0.1 * regcore.Covariance()
x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in module.parameters()]

def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)

alone = model()
reg = regcore_torch.regularize(alone, {"1": SPEC})
reg.register_on(alone)
import unittest.mock
with unittest.mock.patch.object(distributed, "get_world_size", lambda group=None: 1):
    total = reg.combine(task(alone(x)))
whole = gradients(alone, total)
value = sum(term.sum() for term in reg.terms().values())

# Statistics of each process alone are not those of the batch.
local = [regcore.BatchEntropy()(part.tanh(), regcore.BatchEntropy().init()) for part in (x[:4], x[4:])]
assert abs(sum(local) / 2 - regcore.BatchEntropy()(x.tanh(), regcore.BatchEntropy().init())) > 1e-4

def entropy(h, alpha, reduce):
    # by hand, from sums that `reduce` adds over processes
    n = torch.tensor(float(len(h)), dtype=h.dtype)
    n, total, square = reduce(n), reduce(h.sum(0)), reduce((h * h).sum(0))
    variance = (square - total**2 / n) / (n - 1)
    return (torch.log(torch.pi * torch.e * variance + 1).mean() / 2 - alpha) ** 2

def reduced_in_place(array):
    array = array.detach().clone() if not array.requires_grad else array.clone()
    with torch.no_grad():
        distributed.all_reduce(array)
    return array

plain = model()
whole_entropy = task(plain(x)) + entropy(plain[1](plain[0](x)), 0.75, lambda array: array)
by_hand = gradients(plain, whole_entropy)
net = model()
wrapped = DistributedDataParallel(net)
y = wrapped(x.split(4)[rank])
naive = entropy(net[1](net[0](x.split(4)[rank])), 0.75, reduced_in_place)
torch.testing.assert_close(naive, whole_entropy - task(plain(x)))  # the right value,
wrong = gradients(net, task(y) + naive)
assert max((a - b).abs().max() for a, b in zip(wrong, by_hand, strict=True)) > 1e-3  # and not the gradient

for options in ({"find_unused_parameters": True}, {"static_graph": True}):  # with a parameter that only a penalty has
    net = model()
    reg = regcore_torch.regularize(net, {"1": regcore.BatchEntropy(alpha=0.75)})
    reg.register_on(net)
    wrapped = DistributedDataParallel(net, **options)
    try:
        for _ in range(2):
            reg.combine(task(wrapped(x.split(4)[rank]))).backward()
    except RuntimeError as error:
        assert "find_unused_parameters" in options and "ready only once" in str(error), (options, error)
        net._backward_hooks.clear()
    else:
        assert "static_graph" in options, options

for sizes in ((4, 4), (6, 2)):  # batches of different size too
    for mode in ("collect", "attach"):
        net = model()
        reg = regcore_torch.regularize(net, {"1": SPEC}, mode=mode, across=regcore_torch.AllReduce())
        reg.register_on(net)
        wrapped = DistributedDataParallel(net)
        part = x.split(sizes)[rank]
        y = wrapped(part)
        share = (y * y).sum() * 2 / (8 * 2)  # of the mean over the batch, and DDP averages over processes
        ours = gradients(net, reg.combine(share))
        close(ours, whole)
        close([sum(term.sum() for term in reg.terms().values())], [value])

net = model()  # what is additive is exact on shards of equal size without communication
reg = regcore_torch.regularize(net, {"1": regcore.L2()})
wrapped = DistributedDataParallel(net)
ours = gradients(net, reg.combine(task(wrapped(x.split(4)[rank]))))
plain = model()
close(ours, gradients(plain, task(plain(x)) + regcore.L2()(plain[1](plain[0](x)))))

for given in (False, True):  # learned parameters that DDP does not know would go apart
    net = model()
    reg = regcore_torch.regularize(net, {"1": regcore.BatchEntropy()})
    if given:
        reg.register_on(net)
    wrapped = DistributedDataParallel(net)
    y = task(wrapped(x.split(4)[rank]))
    try:
        loss = reg.combine(y)
    except RuntimeError as error:
        assert not given and "['1.params.alpha'] are learned on 2 processes" in str(error), error
    else:
        assert given
        loss.backward()
        alpha = reg.sites["1"].params["alpha"].grad
        both = [torch.zeros_like(alpha) for _ in range(2)]
        distributed.all_gather(both, alpha)
        assert both[0] == both[1]
print("done", rank)
distributed.destroy_process_group()
"""


def test_two_processes(tmp_path):
    store = tmp_path / "store"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    assert all(f"done {rank}" in output for rank, output in enumerate(outputs))

"""Lightning: the same training however it is cut, logged, saved and resumed."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
lightning = pytest.importorskip("lightning", reason="lightning is not installed")

from torch import nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import regcore  # noqa: E402
from regcore.schedules import Linear  # noqa: E402
from regcore_torch import regularize  # noqa: E402 - after the check that torch is there
from regcore_torch.lightning import RegularizerCallback  # noqa: E402

pytestmark = [  # what Lightning does and advises by itself
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty:UserWarning"),
]

ADDED = {"1": 2.0 * regcore.L2()}
LEARNED = {"1": 2.0 * regcore.L2() + regcore.BatchEntropy(alpha=0.75)}
SCHEDULES = {"*/L2": Linear(start=0.0, stop=4.0, steps=4)}


class Net(lightning.LightningModule):
    def __init__(self, rules=ADDED):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.reg = regularize(self.net, rules)
        self.validated = []

    def forward(self, batch):
        x, y = batch
        return cross_entropy(self.net(x), y)

    def training_step(self, batch, index):
        return self.reg.combine(self(batch))

    def validation_step(self, batch, index):
        task = self(batch)
        self.validated.append(self.reg.combine(task).item() == task.item())
        self.log("task", task)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Sgd(Net):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(size):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=size)


def fit(module, path, size=16, resume=None, callbacks=(), schedules=None, steps=4, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    options = {**quiet, "enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0, **options}
    callbacks = [*callbacks, RegularizerCallback(schedules)]
    trainer = lightning.Trainer(default_root_dir=path, max_steps=steps, callbacks=callbacks, **options)
    trainer.fit(module, batches(size), batches(size), ckpt_path=resume)
    return trainer


def distance(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one.parameters(), other.parameters(), strict=True))


class AddedBeforeBackward(lightning.Callback):
    """What is written first: it comes after Lightning divided the loss by the number of batches."""

    def on_before_backward(self, trainer, module, loss):
        loss.add_(module.reg.combine(torch.zeros(())))


class Unaware(Sgd):
    def training_step(self, batch, index):
        return self(batch)


def test_accumulated_batches_are_the_whole_one(tmp_path):
    ours = [Sgd(), Sgd()]
    naive = [Unaware(), Unaware()]
    cuts = [{}, {"size": 8, "accumulate_grad_batches": 2}]
    for module, cut in zip(ours, cuts, strict=True):
        fit(module, tmp_path, **cut)
    for module, cut in zip(naive, cuts, strict=True):
        fit(module, tmp_path, callbacks=[AddedBeforeBackward()], **cut)
    assert distance(ours[0], naive[0]) < 1e-6
    assert distance(*naive) > 1e-3
    assert distance(*ours) < 1e-6


def test_validation_and_its_rehearsal_record_nothing(tmp_path):
    module = Net()
    fit(module, tmp_path, steps=2, num_sanity_val_steps=1)
    assert module.validated == [True] * 3
    assert [row.fired for row in module.reg.report().values()] == [2]


class Kept(lightning.Callback):
    def __init__(self):
        self.logged = []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.logged.append({name: value.item() for name, value in trainer.logged_metrics.items()})


def test_each_term_is_logged(tmp_path):
    kept, module = Kept(), Net(LEARNED)
    trainer = fit(module, tmp_path, steps=2, callbacks=[kept])
    assert set(kept.logged[1]) == {"penalty/1/L2", "penalty/1/BatchEntropy", "task"}
    assert {name: trainer.logged_metrics[f"penalty/{name}"] for name in module.reg.terms()} == module.reg.terms()
    assert kept.logged[1]["penalty/1/L2"] != trainer.logged_metrics["penalty/1/L2"].item()


def test_resuming_gives_the_weights_of_an_uninterrupted_run(tmp_path):
    whole, half, resumed = Net(LEARNED), Net(LEARNED), Net(LEARNED)
    fit(whole, tmp_path, schedules=SCHEDULES)
    stopped = fit(half, tmp_path, schedules=SCHEDULES, steps=2)
    stopped.save_checkpoint(tmp_path / "half.ckpt")
    fit(resumed, tmp_path, schedules=SCHEDULES, resume=tmp_path / "half.ckpt")
    assert [row.fired for row in resumed.reg.report().values()] == [2, 2]
    assert distance(whole, resumed) == 0.0
    assert distance(half, resumed) > 0.0
    assert whole.reg.sites["1"].params["BatchEntropy_alpha"].item() != 0.75
    assert [module.reg.report()["1/L2"].coefficient for module in (whole, half, resumed)] == [3.0, 1.0, 3.0]


def without(module):
    del module.reg
    return module


def twice(module):
    module.second = regularize(module.net, ADDED)
    return module


def foreign(module):
    module.reg = Net().reg
    return module


class Forgetful(Net):
    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("error", "module", "schedules", "match"),
    [
        (ValueError, lambda: without(Net()), None, "Net has 0 regularizers.*self.reg = regcore_torch.regularize"),
        (ValueError, lambda: twice(Net()), None, r"Net has 2 regularizers, \['reg', 'second'\]"),
        (ValueError, lambda: foreign(Net()), None, "of another Sequential than the Net"),
        (RuntimeError, lambda: Forgetful(LEARNED), None, r"no optimizer has .*\['sites.1.params.BatchEntropy_alpha'\]"),
        (ValueError, Net, {"1/L1": float}, "'1/L1' matches none"),
    ],
    ids=["no regularizer", "two", "of another model", "a parameter that is not trained", "a schedule of no term"],
)
def test_what_would_be_lost_is_refused(tmp_path, error, module, schedules, match):
    with pytest.raises(error, match=match):
        fit(module(), tmp_path, schedules=schedules, steps=1)

"""A deep plain network in Lightning that layer batch entropy makes trainable, with its learned parameters.

Run it by `python -m examples.embedding.lightning_module`.
"""

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import regcore  # + import
import regcore_torch  # + import
from regcore_torch.lightning import RegularizerCallback  # + import

from .data import digits
from .outcome import Outcome, show
from .torch_training import compare

LAYERS = 6
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(LAYERS)]
        self.net = nn.Sequential(*layers, nn.Linear(64, 10)).double()
        self.reg = regcore_torch.regularize(self.net, {"*.1": 1 / LAYERS * regcore.BatchEntropy()})  # +
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        images, classes = batch
        task = cross_entropy(self.net(images), classes)
        self.losses.append(task.item())
        return self.reg.combine(task)  # +

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.002)


def by_hand(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    x, penalty = images, 0.0
    for layer, site in zip(model.net[:-1], model.reg.sites.values(), strict=True):
        x = layer(x)
        entropy = (torch.pi * torch.e * x.var(0) + 1).log().mean() / 2
        penalty = penalty + 0.5 / LAYERS * (entropy - site.params["alpha"].abs().clamp(min=0.2)) ** 2
    return cross_entropy(model.net[-1](x), classes) * (1 + penalty)


def build() -> tuple[Classifier, Tensor, Tensor]:
    torch.manual_seed(0)
    images, classes = map(torch.from_numpy, digits(128))
    return Classifier(), images, classes


def main(steps: int = 20) -> Outcome:
    model, images, classes = build()
    batches = DataLoader(TensorDataset(images, classes), batch_size=len(images))
    trainer = lightning.Trainer(max_epochs=steps, accelerator="cpu", callbacks=[RegularizerCallback()], **QUIET)  # +
    trainer.fit(model, batches)
    losses, model.losses = model.losses, []

    def step() -> tuple[Tensor, Tensor]:
        loss = model.training_step([images, classes], 0)
        return loss, loss

    return compare(step, lambda: by_hand(model, images, classes), model.reg, list(model.parameters()), losses)


if __name__ == "__main__":
    show(main())

"""An LSTM language model in PyTorch with AR and TAR, as in AWD-LSTM, on the states of its last layer.

Run it by `python -m examples.embedding.lstm_language_model`.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import regcore  # + import
import regcore_torch  # + import

from .data import sentences
from .outcome import Outcome, show
from .torch_training import train


class LanguageModel(nn.Module):
    def __init__(self, words: int = 32, units: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, units)
        self.rnn = nn.LSTM(units, units, num_layers=2, batch_first=True)
        self.decoder = nn.Linear(units, words)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.rnn(self.embedding(words))
        return self.decoder(states)


def build() -> tuple[LanguageModel, regcore_torch.Regularizer, Tensor]:
    torch.manual_seed(0)
    model = LanguageModel().double()
    reg = regcore_torch.regularize(model, {"rnn": 2.0 * regcore.AR() + regcore.TAR(time_axis=1)})  # +
    return model, reg, torch.from_numpy(sentences(words=32, number=16, length=13))


def next_word(logits: Tensor, words: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())


def by_hand(model: LanguageModel, words: Tensor) -> Tensor:
    states, _ = model.rnn(model.embedding(words[:, :-1]))
    penalty = 2.0 * states.square().mean() + (states[:, 1:] - states[:, :-1]).square().mean()
    return next_word(model.decoder(states), words) + penalty


def main(steps: int = 20) -> Outcome:
    model, reg, words = build()

    def step() -> tuple[Tensor, Tensor]:
        task = next_word(model(words[:, :-1]), words)
        loss = reg.combine(task)  # +
        return task, loss

    return train(step, lambda: by_hand(model, words), reg, list(model.parameters()), steps)


if __name__ == "__main__":
    show(main())

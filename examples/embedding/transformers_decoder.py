"""A GPT-2 language model of transformers: AR and TAR on the last hidden states, and the z-loss on the logits.

Run it by `python -m examples.embedding.transformers_decoder`.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

import regcore  # + import
import regcore_torch  # + import

from .data import sentences
from .outcome import Outcome, show
from .torch_training import train

CONFIG = GPT2Config(
    vocab_size=32,
    n_positions=16,
    n_embd=32,
    n_layer=2,
    n_head=2,
    embd_pdrop=0.0,  # so that the same step can be written by hand
    attn_pdrop=0.0,
    resid_pdrop=0.0,
    bos_token_id=0,
    eos_token_id=0,
)
RULES = {"transformer.ln_f": 0.2 * regcore.AR() + regcore.TAR(time_axis=1), "lm_head": 1e-3 * regcore.ZLoss()}  # +


def build() -> tuple[GPT2LMHeadModel, regcore_torch.Regularizer, Tensor]:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(CONFIG).double()
    reg = regcore_torch.regularize(model, RULES)  # +
    return model, reg, torch.from_numpy(sentences(words=32, number=16, length=13))


def next_word(logits: Tensor, words: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())


def by_hand(model: GPT2LMHeadModel, words: Tensor) -> Tensor:
    outputs = model(words[:, :-1], output_hidden_states=True)
    last = outputs.hidden_states[-1]
    z_loss = outputs.logits.logsumexp(-1).square().mean()
    penalty = 0.2 * last.square().mean() + last.diff(dim=1).square().mean() + 1e-3 * z_loss
    return next_word(outputs.logits, words) + penalty


def main(steps: int = 20) -> Outcome:
    model, reg, words = build()

    def step() -> tuple[Tensor, Tensor]:
        task = next_word(model(words[:, :-1]).logits, words)
        loss = reg.combine(task)  # +
        return task, loss

    return train(step, lambda: by_hand(model, words), reg, list(model.parameters()), steps)


if __name__ == "__main__":
    show(main())

"""A Mixtral language model of transformers: load balance and z-loss on the logits of every router.

Run it by `python -m examples.embedding.mixture_of_experts`.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import MixtralConfig, MixtralForCausalLM

import regcore  # + import
import regcore_torch  # + import

from .data import sentences
from .outcome import Outcome, show
from .torch_training import train

CONFIG = MixtralConfig(
    vocab_size=32,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_local_experts=4,
    num_experts_per_tok=2,
)
RULES = {"model.layers.*.mlp.gate": 0.1 * regcore.LoadBalance(top_k=2) + 1e-3 * regcore.ZLoss()}  # +


def build() -> tuple[MixtralForCausalLM, regcore_torch.Regularizer, Tensor]:
    torch.manual_seed(0)
    model = MixtralForCausalLM(CONFIG)
    reg = regcore_torch.regularize(model, RULES)  # +
    return model, reg, torch.from_numpy(sentences(words=32, number=16, length=12))


def by_hand(model: MixtralForCausalLM, words: Tensor) -> Tensor:
    outputs = model(words, labels=words, output_router_logits=True)
    loss = outputs.loss - model.router_aux_loss_coef * outputs.aux_loss  # its own balance is that of all layers at once
    for logits in outputs.router_logits:
        chosen = one_hot(logits.topk(2).indices, 4).float().mean((0, 1))
        balance = 4 * (chosen * logits.softmax(-1).mean(0)).sum()
        loss = loss + 0.1 * balance + 1e-3 * logits.logsumexp(-1).square().mean()
    return loss


def main(steps: int = 20) -> Outcome:
    model, reg, words = build()

    def step() -> tuple[Tensor, Tensor]:
        task = model(words, labels=words).loss
        loss = reg.combine(task)  # +
        return task, loss

    return train(step, lambda: by_hand(model, words), reg, list(model.parameters()), steps)


if __name__ == "__main__":
    show(main())

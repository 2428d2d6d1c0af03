"""A BERT classifier of transformers: AR on what each encoder layer returns, at the tokens and not at the padding.

Run it by `python -m examples.embedding.transformers_encoder`.
"""

import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

import regcore  # + import
import regcore_torch  # + import

from .data import sentences
from .outcome import Outcome, show
from .torch_training import train

CONFIG = BertConfig(
    vocab_size=32,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=16,
    num_labels=2,
    hidden_dropout_prob=0.0,  # so that the same step can be written by hand
    attention_probs_dropout_prob=0.0,
)
RULES = {"bert.encoder.layer.*": 0.1 * regcore.AR()}  # +


def tokens(attention_mask: Tensor, **_: Tensor) -> Tensor:
    """Which positions count, from the arguments of the model."""
    return attention_mask.bool()


def build() -> tuple[BertForSequenceClassification, regcore_torch.Regularizer, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG).double()
    reg = regcore_torch.regularize(model, RULES, mask=tokens)  # +
    words = torch.from_numpy(sentences(words=32, number=16, length=12))
    lengths = torch.arange(16) % 8 + 5
    return (
        model,
        reg,
        {
            "input_ids": words,
            "attention_mask": (torch.arange(12) < lengths[:, None]).long(),
            "labels": (words[:, 0] > 15).long(),
        },
    )


def by_hand(model: BertForSequenceClassification, batch: dict[str, Tensor]) -> Tensor:
    outputs = model(**batch, output_hidden_states=True)
    mask = batch["attention_mask"].bool()
    return outputs.loss + 0.1 * sum(hidden[mask].square().mean() for hidden in outputs.hidden_states[1:])


def main(steps: int = 20) -> Outcome:
    model, reg, batch = build()

    def step() -> tuple[Tensor, Tensor]:
        task = model(**batch).loss
        loss = reg.combine(task)  # +
        return task, loss

    return train(step, lambda: by_hand(model, batch), reg, list(model.parameters()), steps)


if __name__ == "__main__":
    show(main())

"""The Trainer of transformers, on a stock model: the same training however it is cut, logged, saved and resumed."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

import regcore  # noqa: E402
from regcore.schedules import Linear  # noqa: E402
from regcore_torch import regularize  # noqa: E402 - after the check that torch is there
from regcore_torch.huggingface import RegularizedTrainer  # noqa: E402

BLOCKS = "transformer.h.*"
ADDED = {BLOCKS: 20.0 * regcore.L2()}
LEARNED = {"transformer.h.1": regcore.BatchEntropy(alpha=0.75)}
WORDS = torch.randint(16, (16, 6), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": words, "labels": words} for words in WORDS]


def gpt2():
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    no_dropout = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    config = transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=2, n_head=2, **ends, **no_dropout)
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture
def arguments(tmp_path):
    def make(**options):
        quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
        steady = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
        saved = {"save_strategy": "no", "logging_strategy": "no"}
        options = {**quiet, **steady, **saved, "per_device_train_batch_size": 8, "max_steps": 1, **options}
        return transformers.TrainingArguments(tmp_path, **options)

    return make


def trained(arguments, rules=None, kind=RegularizedTrainer, model=None, resume=None, options=None, **regularizing):
    model = model or gpt2()
    options = dict(options or {})
    if kind is not transformers.Trainer:
        options["regularizer"] = regularize(model, rules, **regularizing)
    trainer = kind(model, arguments, train_dataset=DATA, eval_dataset=DATA, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def distance(one, other):
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


class Naive(transformers.Trainer):
    """What is written first: the penalty is added, and the trainer, which does not divide, adds up those of parts."""

    def __init__(self, *args, regularizer, **options):
        super().__init__(*args, **options)
        self.regularizer = regularizer

    def compute_loss(self, *args, **options):
        return self.regularizer.combine(super().compute_loss(*args, **options))


PARTS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}


def test_accumulated_parts_are_the_whole_batch(arguments):
    plain = [trained(arguments(**cut), kind=transformers.Trainer) for cut in ({}, PARTS)]
    assert distance(*plain) < 1e-6
    naive = [trained(arguments(**cut), ADDED, Naive) for cut in ({}, PARTS)]
    assert distance(*naive) > 1e-2
    ours = [trained(arguments(**cut), ADDED) for cut in ({}, PARTS)]
    assert distance(*ours) < 1e-6
    assert distance(ours[0], naive[0]) == 0.0
    assert distance(ours[0], plain[0]) > 1e-2


def test_a_model_whose_loss_the_trainer_divides(arguments):
    def divided(**cut):
        model = gpt2()
        model.accepts_loss_kwargs = False
        return trained(arguments(**cut), ADDED, model=model)

    assert distance(divided(), divided(**PARTS)) < 1e-6


@pytest.mark.parametrize(
    ("mode", "reentrant"), [("collect", False), ("attach", False), ("attach", True)], ids=lambda value: str(value)
)
def test_gradient_checkpointing(arguments, mode, reentrant):
    checkpointing = {
        "activation_checkpointing": True,
        "activation_checkpointing_kwargs": {"use_reentrant": reentrant},
    }
    assert distance(trained(arguments(), ADDED), trained(arguments(**checkpointing), ADDED, mode=mode)) < 1e-6


def test_attached_penalties_accumulate_too_and_follow_their_schedule(arguments):
    schedules = {f"{BLOCKS}/*": Linear(start=20.0, stop=0.0, steps=2)}
    cuts = [({}, "collect"), (PARTS, "attach")]
    ours = [
        trained(arguments(max_steps=2, **cut), ADDED, mode=mode, options={"schedules": schedules}) for cut, mode in cuts
    ]
    assert distance(*ours) < 1e-6
    assert distance(ours[0], trained(arguments(max_steps=2), ADDED)) > 1e-3


def test_a_model_that_ignores_the_number_of_items(arguments):
    """The trainer trusts what the signature says. Not our bug, but docs/trainers.md names it."""

    def encoder(**options):
        config = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(transformers.BertConfig(num_hidden_layers=1, **config))
        vars(model).update(options)
        data = [{"input_ids": words, "labels": int(words[0] > 7)} for words in WORDS]
        trainer = transformers.Trainer(model, arguments(**PARTS), train_dataset=data)
        return trainer.train().training_loss

    assert encoder() == pytest.approx(2.0 * encoder(accepts_loss_kwargs=False), rel=0.2)


def test_evaluation_has_penalties_where_they_are_wanted(arguments):
    ours = trained(arguments(), ADDED, train_only=False)
    with_penalty = ours.evaluate()["eval_loss"]
    ours.regularizer.remove()
    plain = transformers.Trainer(ours.model, arguments(), eval_dataset=DATA).evaluate()["eval_loss"]
    assert with_penalty > plain


def test_evaluation_has_no_penalties_and_logs_say_each_term(arguments):
    options = {"logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    ours = trained(arguments(max_steps=2, **options), ADDED)
    logs = [log for log in ours.state.log_history if "loss" in log]
    names = [f"penalty/transformer.h.{i}/L2" for i in (0, 1)]
    assert [sorted(name for name in log if "/" in name) for log in logs] == [names] * 2
    evaluated = [log for log in ours.state.log_history if "eval_loss" in log]
    assert not any("/" in name for log in evaluated for name in log)
    plain = transformers.Trainer(ours.model, arguments(), eval_dataset=DATA)
    assert evaluated[-1]["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-6)
    assert {row.fired for row in ours.regularizer.report().values()} == {2}


def test_resuming_gives_the_weights_of_an_uninterrupted_run(arguments, tmp_path):
    schedules = {f"{BLOCKS}/*": Linear(start=0.0, stop=4.0, steps=4)}
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "learning_rate": 0.01}
    whole = trained(arguments(**options), LEARNED, options={"schedules": schedules})
    coefficient = {row.coefficient for row in whole.regularizer.report().values()}
    assert coefficient == {3.0}  # of step 3, the last
    checkpoint = str(tmp_path / "checkpoint-2")
    resumed = trained(arguments(**options), LEARNED, resume=checkpoint, options={"schedules": schedules})
    assert {row.fired for row in resumed.regularizer.report().values()} == {2}
    assert distance(whole, resumed) == 0.0
    alpha = dict(whole.model.named_parameters())["regcore.sites.transformer/h/1.params.alpha"]
    assert alpha.item() != 0.75
    assert {row.coefficient for row in resumed.regularizer.report().values()} == {3.0}


def test_learned_parameters_do_not_decay(arguments):
    decaying = {"weight_decay": 0.5, "optim": "adamw_torch"}
    trainer = trained(arguments(**decaying), LEARNED)
    groups = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    (alpha,) = trainer.regularizer.parameters()
    assert groups[id(alpha)] == 0.0
    assert groups[id(trainer.model.transformer.wte.weight)] == 0.5


def test_an_optimizer_without_a_learned_parameter_is_refused(arguments):
    model = gpt2()
    optimizers = torch.optim.SGD(model.parameters(), lr=0.1), None
    with pytest.raises(RuntimeError, match=r"no optimizer has the learned parameters \['sites.transformer/h/1"):
        trained(arguments(), LEARNED, model=model, options={"optimizers": optimizers})


def test_it_goes_before_another_trainer(arguments):
    class Theirs(transformers.Trainer):
        def compute_loss(self, *args, **options):
            loss, outputs = super().compute_loss(*args[:2], True, *args[3:])
            return (2.0 * loss, outputs) if args[2] else 2.0 * loss

    class Mine(RegularizedTrainer, Theirs):
        pass

    assert distance(trained(arguments(), ADDED, Mine), trained(arguments(), ADDED)) > 1e-3


@pytest.mark.parametrize(
    ("error", "change", "match"),
    [
        (TypeError, {"regularizer": None}, "regularizer is a NoneType; expected what .*regularize"),
        (ValueError, {"regularizer": "foreign"}, "of another GPT2LMHeadModel"),
        (ValueError, {"model": None, "model_init": gpt2}, "got model_init, .* pass model="),
        (ValueError, {"schedules": {"decoder/L2": float}}, "'decoder/L2' matches none"),
    ],
    ids=["no regularizer", "of another model", "model_init", "a schedule of no term"],
)
def test_what_would_be_lost_is_refused(arguments, error, change, match):
    model = gpt2()
    options = {"model": model, "regularizer": regularize(model, ADDED), **change}
    if options["regularizer"] == "foreign":
        options["regularizer"] = regularize(gpt2(), ADDED)
    with pytest.raises(error, match=match):
        RegularizedTrainer(args=arguments(), **options)

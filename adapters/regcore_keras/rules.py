"""`regularize`: penalties for the layers and weights of a model that was written without us."""

from collections.abc import Mapping
from typing import Any

import keras

from regcore.penalty import Penalty
from regcore.sites import WEIGHT, choose, split

from .graphs import Rewriting, graph_paths, is_graph
from .layer import Regularize
from .model import RegularizedModel
from .sites import weight_sites
from .subclassed import RegularizedSubclassed


def regularize(
    model: keras.Model,
    rules: Mapping[str, Penalty],
    *,
    mode: str = "collect",
    train_only: bool = True,
    select: int | str | None = None,
) -> RegularizedModel:
    """A `RegularizedModel` of the layers of `model`, with penalties where `rules` say; compile and train this one.

    Rules are `{glob: penalty}` over dotted paths of layer names, where `*` is one component and `**` any number; after
    "weight:" over paths of weights that train, such as "weight:**.kernel", each tied weight counted once. Several rules
    for one place add up. Layers and weights are shared with `model`, in nested models too; what the penalties learn
    belongs to the new one, which saves and loads it. `mode`, `train_only` are those of `Regularize`, and `select` that
    of `Regularized`, for all rules; `regularize` can be applied again for others.

    A functional or built Sequential model gets `Regularize` layers behind its layers, and is left as it is. A model of
    any other class gets them in place, so it must not be built yet; it is then called by the new model.

        model = regularize(model, {"encoder.*": 0.01 * regcore.L1(), "weight:**.kernel": 1e-4 * regcore.L2()})
        model.compile("adam", "mse")

    Raises ValueError for a glob that matches nothing, with the sites that are near; TypeError for a rule that is no
    penalty; ValueError for a model that cannot be regularized so, with what to do instead.
    """
    for glob, spec in rules.items():
        if not isinstance(spec, Penalty):
            raise TypeError(f"the rule {glob!r} got {spec!r}; expected a penalty, such as 0.01 * regcore.L2()")
    activities, weights = split(rules)
    options: dict[str, Any] = {"mode": mode, "train_only": train_only, "select": select}
    if is_graph(model):
        found = choose(activities, graph_paths(model))
        made = RegularizedModel(*Rewriting(found, options).tensors(model), name=model.name)
    else:
        made = RegularizedSubclassed(model, activities, **options)
    made.weight_penalties = (*_kept(model), *_of_weights(made, weights, train_only))
    return made


def _kept(model: keras.Model) -> tuple[Regularize, ...]:
    return model.weight_penalties if isinstance(model, RegularizedModel) else ()


def _of_weights(model: keras.Model, rules: Mapping[str, Penalty], train_only: bool) -> list[Regularize]:
    weights = weight_sites(model) if rules else {}
    if rules and not weights:
        raise ValueError(f"{model.name} got rules for weights, and has none yet: build it first, by calling it on data")
    seen, penalties = set(), []
    for path, spec in choose(rules, weights).items():
        if weights[path][0] not in seen:  # tied weights have several paths
            seen.add(weights[path][0])
            name = f"weight_{path.replace('.', '_')}"
            penalties.append(Regularize(spec, site=f"{WEIGHT}{path}", name=name, train_only=train_only))
    return penalties

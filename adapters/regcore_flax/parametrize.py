"""Parameters of a model as functions of the raw ones that train: a transform of the tree of parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from regcore.parametrizations import Parametrization, choose

Tree = Any  # nested dicts of arrays, as model.init(...)["params"] is
Rules = Mapping[str, Parametrization]  # {glob over dotted paths: parametrization}


def unparametrize(params: Tree, rules: Rules) -> Tree:
    """The raw parameters to start from, such that `parametrize` of them gives `params`.

    Rules are `{glob: parametrization}` over dotted paths such as "Dense_0.kernel", where `*` is one component and `**`
    any number. A parameter whose parametrization has several parts becomes a dict of them. Train the result; it reads
    values, so call it outside of `jax.jit`.

        raw = unparametrize(model.init(key, x)["params"], rules)

    Raises ValueError for a glob that matches no parameter, for two rules that match one, and for a weight outside the
    domain.
    """
    chosen = _choose(params, rules, _no_parts)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _inverse(chosen, _name(path), leaf), params)


def parametrize(raw: Tree, rules: Rules) -> Tree:
    """The parameters that the model uses, f(W) where a rule matches. Differentiable; call it inside of the loss.

        def loss(raw):
            return task(model.apply({"params": parametrize(raw, rules)}, x))

    The rules are those that `unparametrize` had. Raises ValueError for a glob that matches no parameter, for two rules
    that match one, and for a parameter that is not in the form that `unparametrize` gives.
    """
    parts = {frozenset(spec.parts) for spec in rules.values() if spec.parts}

    def is_leaf(node: Any) -> bool:
        return isinstance(node, Mapping) and frozenset(node) in parts

    chosen = _choose(raw, rules, is_leaf)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: chosen[_name(path)](leaf) if _name(path) in chosen else leaf, raw, is_leaf=is_leaf
    )


def parametrized(apply: Callable[..., Any], rules: Rules) -> Callable[..., Any]:
    """`model.apply`, for raw parameters in the collection `params`.

    state = TrainState.create(apply_fn=parametrized(model.apply, rules), params=raw, tx=tx)
    """

    def wrapped(variables: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return apply({**variables, "params": parametrize(variables["params"], rules)}, *args, **kwargs)

    return wrapped


def _no_parts(node: Any) -> bool:
    return False


def _choose(tree: Tree, rules: Rules, is_leaf: Callable[[Any], bool]) -> dict[str, Parametrization]:
    paths = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)]
    return choose(rules, paths)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _inverse(chosen: Mapping[str, Parametrization], path: str, leaf: Any) -> Any:
    if path not in chosen:
        return leaf
    try:
        return chosen[path].right_inverse(leaf)
    except jax.errors.ConcretizationTypeError:
        raise TypeError(
            f"{path!r} has no values inside of a traced function: unparametrize outside of jax.jit"
        ) from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path!r}: {error}") from None

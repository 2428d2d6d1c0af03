"""Which array of a module's output is penalized."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

import regcore

Select = Mapping[str, Callable[[Any], Any]]  # {glob of sites: from the output to its array}


def find(output: Any, site: str, select: Select) -> jax.Array:
    """What `select` has for the site; else the output itself, or the first element of a tuple that is an array.

    Raises TypeError where that is no array.
    """
    chosen = regcore.match(select, site)
    if chosen:
        found = chosen[-1](output)
        if not isinstance(found, jax.Array):
            raise TypeError(f"select for {site!r} gave {_described(found)}; expected an array of the output")
        return found
    elements = output if isinstance(output, tuple) else (output,)
    for element in elements:
        if isinstance(element, jax.Array):
            return element
    raise TypeError(
        f"{site!r} gave {_described(output)}; expected an array, or a tuple with an array in it: "
        f"pass select={{{site!r}: lambda output: ...}}, which takes the array out of the output"
    )


def replace(output: Any, site: str, old: jax.Array, new: jax.Array) -> Any:
    """`output` with `new` where it has `old`. Raises ValueError where it does not have it."""
    leaves, tree = jax.tree.flatten(output)
    if not any(leaf is old for leaf in leaves):
        raise ValueError(
            f"select for {site!r} gave an array that is not in the output as it is, so no gradient can be attached to "
            "it: return one of its arrays, or collect"
        )
    return jax.tree.unflatten(tree, [new if leaf is old else leaf for leaf in leaves])


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with the keys {sorted(map(str, output))}"
    if isinstance(output, tuple):
        return f"a tuple of {[type(element).__name__ for element in output]}"
    return "None" if output is None else f"a {type(output).__module__}.{type(output).__name__}"

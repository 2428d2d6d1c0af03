"""Which weight has which parametrization: globs over dotted paths, one for each weight at most."""

from collections.abc import Iterable, Mapping

from ..sites import select
from .parametrization import Parametrization


def choose(rules: Mapping[str, Parametrization], paths: Iterable[str]) -> dict[str, Parametrization]:
    """The parametrization of each path that a glob matches.

    Raises TypeError for a rule that is no parametrization, and ValueError for a glob that matches none of the paths,
    for a path that two globs match, and for no rules at all.

    >>> from regcore.parametrizations import Exp, choose
    >>> choose({"*.kernel": Exp()}, ["first.kernel", "first.bias"])
    {'first.kernel': Exp()}
    """
    if not rules:
        raise ValueError("got no rules; expected {glob: parametrization}, such as {'**.kernel': Sinh()}")
    for glob, spec in rules.items():
        if not isinstance(spec, Parametrization):
            raise TypeError(f"the rule {glob!r} has {spec!r}; expected a parametrization, such as Sinh()")
    chosen = select(rules, paths)
    for path, specs in chosen.items():
        if len(specs) > 1:
            raise ValueError(f"{path!r} is matched by the rules of {specs}; expected one: narrow the globs")
    return {path: spec for path, (spec,) in chosen.items()}

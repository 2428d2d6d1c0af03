"""The interceptor that sees what the modules of a Linen model give out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

import regcore

from . import outputs, weights
from .linen import Regularize
from .recorded import COLLECTION, attach, attached, by_name, record
from .scales import Scales


class Interceptor:
    """Which modules were called, and what becomes of the outputs that a rule selects."""

    def __init__(
        self,
        rules: weights.Rules,
        select: outputs.Select | None = None,
        across: Any = regcore.Alone,
        scales: Scales | None = None,
    ) -> None:
        self.called: dict[str, None] = {}
        self._rules, self._select, self._across, self._scales = rules, select or {}, across, scales
        self._expected: dict[str, list[regcore.Term]] = {}
        self._active: list[str] = []

    def __call__(self, call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module, site = context.module, ".".join(context.module.path)
        if context.method_name != "__call__" or site in self._active:  # the latter is super().__call__
            return call(*args, **kwargs)
        self._active.append(site)
        try:
            output = call(*args, **kwargs)
        finally:
            self._active.pop()
        self.called[site] = None
        if isinstance(module, Regularize) and module.mode == "collect":
            self._expected[site] = [*module.spec.terms()]
        if specs := regcore.match(self._rules, site):
            try:
                return self._tap(module, site, weights.one(specs), output)
            except Exception as error:
                error.add_note(f"at the site {site!r}")
                raise
        return output

    def _tap(self, module: nn.Module, site: str, spec: regcore.Penalty, output: Any) -> Any:
        x = outputs.find(output, site, self._select)
        if module.is_initializing():
            for name, initial in spec.init().items():
                module.put_variable("params", weights.LEARNED + name, jnp.asarray(initial))
            return output
        params = weights.learned(spec, module.variables.get("params", {}), site)
        if self._scales is None or module.is_mutable_collection(COLLECTION):
            recorded = record(spec, x, params, across=self._across)
            for name, one in (attached(recorded) if self._scales else recorded).items():
                module.sow(COLLECTION, weights.LEARNED + name, one)
        if self._scales is None:
            self._expected.setdefault(site, []).extend(spec.terms())
            return output
        return outputs.replace(output, site, x, attach(spec, x, params, self._scales(site, spec), across=self._across))

    def match(self, others: Iterable[str] = ()) -> None:
        """ValueError for a rule that matches no module that was called, and none of `others`."""
        try:
            sites = regcore.select(self._rules, dict.fromkeys([*self.called, *others]))
        except ValueError as error:
            error.add_note("a site is a module whose __call__ runs: name the module around one that is used otherwise")
            raise
        regcore.select(self._select, sites)

    def check(self, state: Mapping[str, Any]) -> None:
        """ValueError for a rule that matches no module that was called, and for what was sown and did not arrive."""
        arrived = by_name(state)
        self.match([name.partition("/")[0] for name in arrived])
        lost = [
            site
            for site, terms in self._expected.items()
            if any(f"{site}/{term.name}" not in arrived for term in terms)
        ]
        if lost:
            raise ValueError(
                f"the penalties of {lost} were recorded inside of nn.scan, nn.vmap or another lifted transform, which "
                f'dropped them: give it variable_axes={{"{COLLECTION}": 0, ...}}, or use mode="attach"'
            )

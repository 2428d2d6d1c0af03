"""A call of an NNX model in which some modules have another class, so that their outputs can be seen."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flax import nnx

import regcore

from . import outputs, weights
from .recorded import Recorded, attach, record


class Recording(nnx.Variable[Any]):
    """What one term recorded in each call of its site. It never stays in a model."""


@dataclasses.dataclass(frozen=True)
class Tap:
    """What becomes of the output of a module. What is compared is part of the graph, and so of what is traced."""

    site: str
    spec: regcore.Penalty
    select: tuple[tuple[str, Callable[[Any], Any]], ...]
    across: Any
    attaching: int | None  # the number of a call that attaches: no other may reuse its trace, which has its scales
    scales: Mapping[str, Any] = dataclasses.field(compare=False)
    fired: set[str] = dataclasses.field(compare=False)

    def __call__(self, module: nnx.Module, output: Any) -> Any:
        self.fired.add(self.site)
        x = outputs.find(output, self.site, dict(self.select))
        params = weights.learned(self.spec, _values(module, self.spec), self.site)
        if self.attaching is None:
            for name, one in record(self.spec, x, params, across=self.across).items():
                sow(module, weights.LEARNED + name, one)
            return output
        return outputs.replace(output, self.site, x, attach(self.spec, x, params, self.scales, across=self.across))


def sow(module: nnx.Module, name: str, recorded: Recorded) -> None:
    """Record it for the call that captures. ValueError where another capture is in the way."""
    if not module.sow(Recording, name, recorded):
        raise ValueError(
            f"{name!r} of a {type(module).__name__} was recorded inside of another nnx.capture, which keeps the "
            "variables that it names alone: captures do not nest, so let the model be called outside of it"
        )


@contextmanager
def tapped(modules: Mapping[str, Any], taps: Mapping[str, Tap]) -> Iterator[None]:
    """The modules at the sites of `taps` hand their outputs to them; afterwards the model is what it was."""
    classes: dict[str, Any] = {site: type(modules[site]) for site in taps}
    for site, tap in taps.items():
        modules[site].regcore_tap = tap
        object.__setattr__(modules[site], "__class__", _tapped(classes[site]))
    try:
        yield
    finally:
        for site, original in classes.items():
            object.__setattr__(modules[site], "__class__", original)
            del modules[site].regcore_tap


@functools.cache  # one class for each, or every call would be another graph and another trace
def _tapped(original: Any) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = original.__call__(self, *args, **kwargs)
        try:
            return self.regcore_tap(self, output)
        except Exception as error:
            error.add_note(f"at the site {self.regcore_tap.site!r}")
            raise

    return type(original.__name__, (original,), {"__call__": call, "__module__": original.__module__})


def _values(module: nnx.Module, spec: regcore.Penalty) -> dict[str, Any]:
    own = vars(module)
    names = [weights.LEARNED + name for name in spec.shapes()]
    return {name: own[name].get_value() for name in names if name in own}


def modules_of(model: nnx.Module) -> dict[str, nnx.Module]:
    """Every module of the model by its dotted path, "" for the model itself; a shared one by the first of its paths."""
    return {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}


@contextmanager
def replaced_params(model: nnx.Module, params: Any) -> Iterator[None]:
    """The model with other parameters, and afterwards with its own."""
    original, replaced = nnx.state(model, nnx.Param), nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(replaced, params)
    nnx.update(model, replaced)
    try:
        yield
    finally:
        nnx.update(model, original)


def called(model: nnx.Module, method: str, args: Any, kwargs: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """The output of the model, and what was recorded in it as {site: {name: calls}}."""
    try:
        output, recordings = nnx.capture(lambda model: getattr(model, method)(*args, **kwargs), Recording)(model)
    except BaseException:
        nnx.capture(lambda model: None, Recording)(model)  # takes out what was recorded before the error
        raise
    found: dict[str, dict[str, Any]] = {}
    for path, recording in nnx.to_flat_state(recordings):
        *site, name = map(str, path)
        found.setdefault(".".join(site), {})[name] = recording.get_value()
    return output, found

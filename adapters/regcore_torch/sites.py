"""Which modules and which weights of a model the rules name."""

import functools
import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils import parametrize

import regcore
from regcore.sites import choose, split

WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")  # of names, by torch itself


class Weight(NamedTuple):
    """A weight as the module uses it, which a parametrization may have computed."""

    module: nn.Module
    name: str

    def read(self) -> Tensor:
        weight: Tensor = getattr(self.module, self.name)
        if isinstance(weight, nn.parameter.UninitializedParameter):
            raise ValueError(f"{self.name} of a {type(self.module).__name__} has no shape yet: run the model once")
        return weight


class Chosen(NamedTuple):
    """What rules choose, by path: specs, and where they apply."""

    outputs: dict[str, regcore.Penalty]
    weights: dict[str, regcore.Penalty]
    weight: dict[str, Weight]


def named(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by their names in the model as it was written, without those that wrappers add. The root is ""."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if isinstance(module, DataParallel):
            raise TypeError(
                "got nn.DataParallel, whose replicas would share one record and lose its gradients: use "
                "DistributedDataParallel, and regularize the model before you wrap it"
            )
        kept, owner = [], model
        for part in path.split(".") if path else ():
            if part not in WRAPPERS and not (part == "module" and isinstance(owner, DistributedDataParallel)):
                kept.append(part)
            owner = owner.get_submodule(part)
        found[".".join(kept)] = module
    return found


def resolve(rules: Mapping[str, regcore.Penalty], modules: Mapping[str, nn.Module]) -> Chosen:
    """Specs by the paths that the globs match. ValueError for a glob that matches none, and for what cannot work."""
    for glob, spec in rules.items():
        if not isinstance(spec, regcore.Penalty):
            raise TypeError(f"the rule {glob!r} is {spec!r}; expected a penalty, such as 0.1 * regcore.L1()")
        if beside := sorted(spec.inputs()):
            raise ValueError(
                f"{spec} for {glob!r} needs {beside} beside x, which no rule can pass: put a Regularize layer there"
            )
    of_outputs, of_weights = split(rules)
    outputs = choose(of_outputs, [path for path in modules if path])
    weight = {path: weight for module_path, module in modules.items() for path, weight in _weights(module_path, module)}
    weights = _once(regcore.select(of_weights, weight), weight)
    return Chosen(outputs, weights, weight)


def _weights(path: str, module: nn.Module) -> Iterator[tuple[str, Weight]]:
    if "parametrizations" in path.split("."):  # raw parameters, of which the weight is made
        return
    names = [name for name, parameter in module._parameters.items() if parameter is not None]
    if parametrize.is_parametrized(module):
        names += [name for name, _ in module.parametrizations.named_children()]  # type: ignore[union-attr]
    for name in names:
        yield f"{path}.{name}".lstrip("."), Weight(module, name)


def _once(found: Mapping[str, list[regcore.Penalty]], weight: Mapping[str, Weight]) -> dict[str, regcore.Penalty]:
    """Each rule once for a weight that has several names."""
    rules: dict[Any, list[regcore.Penalty]] = {}
    chosen = {}
    for path, specs in found.items():
        module, name = weight[path]
        key = id(module._parameters[name]) if name in module._parameters else (id(module), name)
        new = [spec for spec in specs if not any(spec is known for known in rules.get(key, []))]
        rules.setdefault(key, []).extend(new)
        if new:
            chosen[path] = functools.reduce(operator.add, new)
    return chosen

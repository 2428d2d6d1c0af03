"""Weights of a model as functions of the raw parameters that train, by torch.nn.utils.parametrize."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize as torch_parametrize

from regcore.parametrizations import Parametrization, choose


def parametrize(model: nn.Module, rules: Mapping[str, Parametrization]) -> list[str]:
    """Train W in place of each parameter A = f(W) that `rules` name, starting from the W with f(W) = A.

    Rules are `{glob: parametrization}` over `model.named_parameters()`, where `*` is one component and `**` any number.
    The model computes as before and returns the same. The names of the parametrized parameters are returned. Do it
    before you make the optimizer: a parametrization of two parts makes new parameters. `unparametrize` undoes it.

        parametrize(model, {"encoder.*.weight": Sinh(), "scale": Exp()})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    Raises ValueError, and changes nothing, for a glob that matches no parameter, for two rules that match one, for a
    weight outside the domain, and for a parameter that is shared under a name that the rule does not reach.
    """
    chosen = choose(rules, [name for name, _ in _named(model) if not _is_raw(name)])
    for name, spec in chosen.items():
        _check(model, name, spec)
    for name, spec in chosen.items():
        owner, _, attribute = name.rpartition(".")
        torch_parametrize.register_parametrization(model.get_submodule(owner), attribute, Parametrized(spec))
    return list(chosen)


def unparametrize(model: nn.Module) -> list[str]:
    """Make each weight that `parametrize` took a plain parameter again, with the value it has now. Returns the names.

    Raises ValueError if there is none. Make a new optimizer: its state was that of the raw parameters.
    """
    owners = [
        (module, name, attribute)
        for name, module in model.named_modules()
        if torch_parametrize.is_parametrized(module)
        for attribute, chain in module.parametrizations.items()
        if any(isinstance(part, Parametrized) for part in chain)
    ]
    if not owners:
        raise ValueError(
            f"{type(model).__name__} has no weight that regcore parametrized; call parametrize(model, rules)"
        )
    for module, _, attribute in owners:
        torch_parametrize.remove_parametrizations(module, attribute)
    return [f"{name}.{attribute}".lstrip(".") for _, name, attribute in owners]


class Parametrized(nn.Module):
    """`spec` in the form that `torch.nn.utils.parametrize.register_parametrization` takes.

    Parts that do not train, such as the signs of `FixedSign`, are buffers of it.
    """

    def __init__(self, spec: Parametrization) -> None:
        super().__init__()
        self.spec = spec
        self._trained = tuple(part for part in spec.parts if part not in spec.fixed)

    def forward(self, *raw: Tensor) -> Tensor:
        if not self.spec.parts:
            return self.spec(raw[0])
        fixed = {part: self.get_buffer(part) for part in self.spec.fixed}
        return self.spec({**dict(zip(self._trained, raw, strict=True)), **fixed})

    def right_inverse(self, weight: Tensor) -> Any:
        raw = self.spec.right_inverse(weight.detach())
        if not self.spec.parts:
            return raw.clone()  # that of Identity is the very weight
        for part in self.spec.fixed:
            self.register_buffer(part, raw[part])
        return [raw[part] for part in self._trained]

    def extra_repr(self) -> str:
        return str(self.spec)


def _named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters(remove_duplicate=False))


def _is_raw(name: str) -> bool:
    """Whether it is the raw parameter of a parametrization that is there already."""
    return "parametrizations" in name.split(".")


def _check(model: nn.Module, name: str, spec: Parametrization) -> None:
    parameter = model.get_parameter(name)
    if others := [other for other, tensor in _named(model) if tensor is parameter and other != name]:
        raise ValueError(
            f"{name!r} is shared with {others}, and a parametrization would part them: parametrize a module that owns "
            "the weight alone, and let the others read it from there"
        )
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        raise ValueError(f"{name!r} has no shape yet: run the model once before you parametrize it")
    with torch.no_grad():
        try:
            spec.check(parameter)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name!r}: {error}") from None

"""`Regularize` for Flax Linen: an identity module with the penalty of what passes."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

import regcore

from .recorded import COLLECTION, attach, attached, record

Mode = Literal["collect", "attach"]


class Regularize(nn.Module):
    """Identity; each term of `spec` is recorded for what passes, or its gradient is attached to it.

    In the mode "collect", terms are sown into the collection `penalties` where it is mutable: training passes
    `mutable=["penalties"]` to `apply` and gives the state to `combine`; evaluation does not. `nn.scan` and `nn.vmap`
    drop the collection unless it is in their `variable_axes`. What the next step gets must not have it: penalties of
    two steps would add up. `regularized_apply(..., rules={})` sees to both.

    In the mode "attach", `loss_scale` times the gradient of the penalty is added in backward and there is nothing to
    collect; see `regcore.attach`. It acts wherever the output is differentiated, so evaluation costs nothing; pass
    `loss_scale=0.0` where you differentiate and do not train. A mutable collection still gets the values, for `report`.

    Learned parameters are parameters of the module. What the penalty needs beside `x`, such as labels, is passed by
    keyword. `across` is for a batch over several replicas; see `Replicas`.

    Raises ValueError for a mode that is none, for a `loss_scale` where there is no use for it, for a penalty that
    multiplies the task loss where it would be attached, and what `regcore.value` raises.

        x = Regularize(0.1 * regcore.L1())(nn.Dense(8)(x))
    """

    spec: regcore.Penalty
    mode: Mode = "collect"
    across: Any = regcore.Alone

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, *, loss_scale: Any = None, **inputs: jax.Array
    ) -> jax.Array:
        check_mode(self.mode, loss_scale)
        params = {
            name: self.param(name, lambda _, initial=initial: jnp.asarray(initial))
            for name, initial in self.spec.init().items()
        }
        params.update(inputs)
        options = {"mask": mask, "across": self.across}
        if self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            recorded = record(self.spec, x, params, **options)
            for name, one in (attached(recorded) if self.mode == "attach" else recorded).items():
                self.sow(COLLECTION, name, one)
        if self.mode == "attach":
            scale = 1.0 if loss_scale is None else loss_scale
            scales = {term.name: term.weight * scale for term in self.spec.terms()}
            return attach(self.spec, jnp.asarray(x), params, scales, **options)
        return x


def check_mode(mode: str, loss_scale: Any, coefficients: Any = None) -> None:
    """Raise for what only the mode "attach" has."""
    if mode not in ("collect", "attach"):
        raise ValueError(f'got mode={mode!r}; expected "collect" or "attach"')
    if mode == "collect" and loss_scale is not None:
        raise ValueError(
            f'got loss_scale={loss_scale!r} in mode="collect", where the penalty is scaled with the loss that it is '
            "added to: leave it out, or attach"
        )
    if mode == "collect" and coefficients is not None:
        raise ValueError('got coefficients in mode="collect": give them to combine, which has the weights in its hands')

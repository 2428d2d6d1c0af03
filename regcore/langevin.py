"""Langevin dynamics around one point, on the arrays of any library: the walk that `complexity` takes averages of."""

import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import backends

Array = Any
Tree = Any  # a nested dict, list or tuple of arrays, or one array
ValueAndGrad = Callable[[Tree], tuple[Array, Tree]]


class _Leaf(NamedTuple):
    """One array of the parameters: where its chain starts, in the dtype to compute in, and its preconditioner."""

    backend: Any
    xp: Any
    start: Array
    dtype: Any
    metric: Array  # None: 1


class Walk:
    """Langevin dynamics around one point. A chain is kept as its displacement: float32 does not lose short steps."""

    def __init__(
        self,
        value_and_grad: ValueAndGrad,
        start: Tree,
        preconditioner: Tree,
        nbeta: float,
        step_size: float,
        localization: float,
    ) -> None:
        self.value_and_grad, self.tree = value_and_grad, start
        self.nbeta, self.step_size, self.localization = float(nbeta), float(step_size), float(localization)
        arrays = dict(_arrays(start))
        if not arrays:
            raise ValueError("start has no array; expected the parameters of a model")
        metrics = dict.fromkeys(arrays) if preconditioner is None else dict(_arrays(preconditioner))
        _same_paths("preconditioner", metrics, arrays)
        self.leaves = {path: _leaf(path, array, metrics[path]) for path, array in arrays.items()}

    def loss_at_start(self, calls: int = 100) -> tuple[float, float]:
        """The loss at the start and its standard error: of two calls, or of many where these differ."""
        still = {path: leaf.xp.zeros_like(leaf.start) for path, leaf in self.leaves.items()}
        losses = [self._evaluate(still)[0] for _ in range(2)]
        if not math.isclose(*losses, rel_tol=1e-6):  # as sums on a GPU are, in an order of their own
            losses += [self._evaluate(still)[0] for _ in range(calls - 2)]
        return float(np.mean(losses)), float(np.std(losses, ddof=1)) / math.sqrt(len(losses))

    def chain(self, seed: int, index: int, burn_in: int, draws: int) -> np.ndarray:
        """Of each draw the loss, and `Walk._terms` summed over all parameters: shape (draws, 4)."""
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))
        moved = {path: leaf.xp.zeros_like(leaf.start) for path, leaf in self.leaves.items()}
        rows = np.zeros((draws, 4))
        for step in range(burn_in + draws):
            with np.errstate(over="ignore", invalid="ignore"):  # what diverges is reported here, in words
                loss, forces = self._evaluate(moved)
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        f"chain {index}, step {step} of {burn_in + draws}: the loss is {loss}. The walk diverged: "
                        f"lower step_size (now {self.step_size}) or nbeta ({self.nbeta}), or raise localization"
                    )
                if step >= burn_in:
                    terms = [self._terms(leaf, moved[path], forces[path]) for path, leaf in self.leaves.items()]
                    rows[step - burn_in] = loss, *np.sum(terms, axis=0)
                for path, leaf in self.leaves.items():
                    moved[path] = self._step(leaf, moved[path], forces[path], _normal(generator, leaf))
        return rows

    def _evaluate(self, moved: Mapping[Any, Array]) -> tuple[float, dict[Any, Array]]:
        """The loss there, and nbeta times its gradient."""
        there = {path: _cast(leaf.xp, leaf.start + moved[path], leaf.dtype) for path, leaf in self.leaves.items()}
        loss, grads = self.value_and_grad(_like(self.tree, there))
        forces = dict(_arrays(grads))
        _same_paths("the gradient", forces, self.leaves)
        for path, leaf in self.leaves.items():
            expected = leaf.backend.shape(leaf.start)
            if forces[path] is None or leaf.backend.shape(forces[path]) != expected:
                came = "None" if forces[path] is None else f"shape {leaf.backend.shape(forces[path])}"
                raise ValueError(f"the gradient by {_name(path)} is {came}; expected shape {expected}, 0 where unused")
            forces[path] = self.nbeta * _cast(leaf.xp, _without_graph(forces[path]), leaf.start.dtype)
        return _number(loss), forces

    def _terms(self, leaf: _Leaf, moved: Array, force: Array) -> list[float]:
        """What the estimate of the error averages: moved * force, drift * metric * force, moved**2."""
        drift = force + self.localization * moved
        heat = drift * force if leaf.metric is None else leaf.metric * drift * force
        return [float(leaf.xp.sum(term)) for term in (moved * force, heat, moved * moved)]

    def _step(self, leaf: _Leaf, moved: Array, force: Array, normal: Array) -> Array:
        drift, noise = 0.5 * self.step_size * (force + self.localization * moved), math.sqrt(self.step_size) * normal
        if leaf.metric is not None:
            drift, noise = leaf.metric * drift, leaf.xp.sqrt(leaf.metric) * noise
        return moved - drift + noise


def _leaf(path: tuple[Any, ...], array: Array, metric: Array) -> _Leaf:
    backend, xp = enter(_name(path), array)
    wide = wide_dtype(xp, array)
    start = xp.astype(_without_graph(array), wide)  # a copy: a model may change its own in place
    if metric is not None:
        enter(f"preconditioner {_name(path)}", metric)
        if backend.shape(metric) != backend.shape(start):
            raise ValueError(
                f"preconditioner {_name(path)} has shape {backend.shape(metric)}; expected {backend.shape(start)}"
            )
        metric = xp.astype(_without_graph(metric), wide)
        if not (float(-xp.max(-metric)) > 0.0 and float(xp.max(metric)) < math.inf):
            raise ValueError(f"preconditioner {_name(path)} has entries that are not positive and finite")
    return _Leaf(backend, xp, start, array.dtype, metric)


def enter(name: str, array: Array) -> tuple[Any, Any]:
    backend = backends.of(array)
    xp = backend.namespace(array)
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(f"{name} has dtype {array.dtype}; expected real floating: leave out counters and indices")
    return backend, xp


def _normal(generator: np.random.Generator, leaf: _Leaf) -> Array:
    normal = np.asarray(generator.standard_normal(leaf.backend.shape(leaf.start)))
    wide = normal if leaf.start.dtype == leaf.xp.float64 else normal.astype(np.float32)
    return leaf.backend.asarray(wide, leaf.start)


def _without_graph(array: Array) -> Array:
    """PyTorch would otherwise record the whole walk, and hold on to each of its draws."""
    return array.detach() if getattr(array, "requires_grad", False) else array


def _number(loss: Any) -> float:
    if isinstance(loss, numbers.Real):
        return float(loss)
    if shape := backends.of(loss).shape(loss):
        raise ValueError(f"the loss has shape {shape}; expected one number, the mean over samples")
    return float(_without_graph(loss))


def wide_dtype(xp: Any, array: Array) -> Any:
    return xp.float64 if array.dtype == xp.float64 else xp.float32


def _cast(xp: Any, array: Array, dtype: Any) -> Array:
    return array if array.dtype == dtype else xp.astype(array, dtype)


def _arrays(tree: Tree, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Array]]:
    """Arrays by path, by sorted names: libraries give gradients back in orders of their own."""
    if isinstance(tree, Mapping):
        for key in sorted(tree, key=str):
            yield from _arrays(tree[key], (*path, key))
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from _arrays(child, (*path, index))
    else:
        yield path, tree


def _like(tree: Tree, arrays: Mapping[Any, Array], path: tuple[Any, ...] = ()) -> Tree:
    """The tree with other arrays."""
    kind: Any = type(tree)
    if isinstance(tree, Mapping):
        return kind({key: _like(tree[key], arrays, (*path, key)) for key in tree})
    if isinstance(tree, list | tuple):
        children = [_like(child, arrays, (*path, index)) for index, child in enumerate(tree)]
        return kind(children) if kind in (list, tuple) else kind(*children)
    return arrays[path]


def _same_paths(what: str, came: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    missing, unknown = (sorted(map(_name, one.keys() - other)) for one, other in ((expected, came), (came, expected)))
    if missing or unknown:
        raise ValueError(f"{what} lacks {missing} and has unknown {unknown}; expected the form of start")


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path)) or "start"

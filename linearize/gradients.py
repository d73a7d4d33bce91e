"""Gradients of a network's loss, one for each example, of which sums, norms and inner products alone are computed.

g(x, y) = ∇_θ ℓ(f(x), y) = J(x)ᵀ d(x, y), d = ∂ℓ/∂f: p - y for cross-entropy, f - y for l2, which is C/2 times what an
example's share of the mean over classes is.  P floats for a sum and a few numbers for each example are all that is
kept, and inputs are fetched portion by portion: neither [N, P] nor all of the inputs is ever held.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.losses import Loss, get_loss
from linearize.build import find_loss
from linearize.engine import compute
from linearize.engine.execute import arithmetic
from linearize.engine.program import bytes_of
from linearize.engine.tape import Tape, split
from linearize.engine.units import Unit
from linearize.engine.work import CACHED, WEIGHTS
from linearize.errors import LinearizeError, NonFiniteError
from linearize.heads import Full, OwnLoss
from linearize.kernel import convert, empirical_ntk, tape_of
from linearize.options import KernelOptions
from linearize.types import ApplyFn, Array, Float64, Progress, Variables

MOST_EXAMPLES = 256
"""Examples that are differentiated at once."""
SHARE = 2
"""A portion takes at most the memory budget divided by this."""


class Examples(NamedTuple):
    """Inputs that are fetched when they are needed.

    Args:
        size: N.
        fetch: maps positions, integers from 0 to N - 1, to their inputs ``[n, ...]``.

    """

    size: int
    fetch: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, x: np.ndarray) -> "Examples":
        """Return inputs that are there already, ``[N, ...]``."""
        return cls(len(x), lambda rows: x[rows])


class Gradients(NamedTuple):
    """What is known of the gradient of each example's loss.

    Args:
        labels: y, the classes that they are of ``[N]``.
        squared_norms: ‖g‖² ``[N]``.
        products: g·G ``[N]``.

    """

    labels: np.ndarray
    squared_norms: Float64
    products: Float64


@dataclass(frozen=True)
class LossGradients:
    """The gradients of a network's loss at its present weights.

    Args:
        apply_fn: the network in eval mode: frozen batch norm, no dropout.
        variables: its collections; only ``variables["params"]`` is differentiated.
        loss: of which ``pseudo_residual`` is read, as it is without a labelled set: d = -r.
        options: ``layers``, ``precision`` and ``memory_budget`` are read; heads, ridge and devices are of kernels.

    """

    apply_fn: ApplyFn
    variables: Variables
    loss: Loss
    options: KernelOptions

    @classmethod
    def of(
        cls, apply_fn: ApplyFn, variables: Variables, loss: str | Loss, options: KernelOptions | None = None
    ) -> "LossGradients":
        """Make them of a network and the loss that trained it.

        Args:
            apply_fn: the network in eval mode.
            variables: its collections.
            loss: its name, or the record.
            options: see the fields.

        Raises:
            LinearizeError: there is no such loss.

        """
        return cls(apply_fn, variables, find_loss(loss), options or KernelOptions())

    def total(self, examples: Examples, labels: np.ndarray, progress: Progress | None = None) -> Any:
        """Compute G = Σ_i g(x_i, y_i), a sum and not a mean, by one backward pass in portions.

        Args:
            examples: N inputs, at least one.
            labels: their classes ``[N]``.
            progress: called with ``(examples done, N)``.

        Returns:
            A tree like ``variables["params"]``; zero where ``options.layers`` leaves a parameter out.

        Raises:
            LinearizeError: no inputs, another number of labels, or no such class.
            NonFiniteError: the sum overflows.

        """
        labels = _checked(labels, examples.size)
        total: list[Array] | None = None
        with self._arithmetic():
            for rows, x, n in self._portions(examples):
                f = np.asarray(_evaluated(self._tape(x), *self._arrays, x), np.float64)
                d = self._d(f, labels[rows])
                d[n:] = 0  # rows that fill the portion up
                share = _pulled(self._tape(x), *self._arrays, x, d)
                total = share if total is None else [a + b for a, b in zip(total, share, strict=True)]
                _advance(progress, rows[n - 1] + 1, examples.size)
        assert total is not None
        if not all(np.isfinite(leaf).all() for leaf in total):
            raise NonFiniteError("the gradient of the loss contains NaN or infinity: train with a lower learning rate")
        return jax.tree.unflatten(jax.tree.structure(self.variables["params"]), total)

    def measure(
        self, examples: Examples, G: Any, labels: np.ndarray | None = None, progress: Progress | None = None
    ) -> Gradients:
        """Compute ‖g(x, y)‖² and g(x, y)·G of every example.

        g·G = d·ḟ, ḟ the derivative of f in direction G, is one forward-mode pass.  ‖g‖² is added up layer by layer from
        what each saw and what came back to it, without the gradient wherever that is cheaper.

        Source: Goodfellow 2015 for norms of layers that see one position; Rochette, Manoel & Tramel 2019 for
        convolutions.

        Args:
            examples: N inputs, at least one.
            G: a tree like ``variables["params"]``.
            labels: their classes ``[N]``; by default the network's own, argmax f, the first of equals.
            progress: called with ``(examples done, N)``.

        Raises:
            LinearizeError: as of ``total``, or the tree does not fit.
            NonFiniteError: a number overflows.

        """
        return self._measured(examples, G, labels, progress, norms=True)

    def products(
        self, examples: Examples, G: Any, labels: np.ndarray | None = None, progress: Progress | None = None
    ) -> Float64:
        """Compute g(x, y)·G of every example ``[N]`` alone, by one forward-mode pass.

        Args:
            examples: as of ``measure``, like all that follow.
            G: the direction.
            labels: classes.
            progress: called meanwhile.

        Raises:
            LinearizeError: as ``measure``.

        """
        return self._measured(examples, G, labels, progress, norms=False).products

    def gram(self, x: np.ndarray, progress: Progress | None = None) -> Float64:
        """Compute g(x_i)·g(x_j) of all pairs, with the labels that the network predicts, by the kernel's engine.

        Args:
            x: inputs ``[N, ...]``.
            progress: called with ``(done, total)``.

        Returns:
            ``[N, N]``.

        Raises:
            LinearizeError: no inputs, or a loss that reads outputs out in another way than by themselves or softmax.
            MemoryBudgetError: it does not fit.

        """
        heads = {
            get_loss("cross-entropy").readout: OwnLoss(softmax=True),
            get_loss("l2").readout: OwnLoss(softmax=False),
        }
        if self.loss.readout not in heads:
            raise LinearizeError(f"gram: expected a loss of outputs or their softmax, got {self.loss.name}")
        options = replace(self.options, head=heads[self.loss.readout])
        return empirical_ntk(self.apply_fn, self.variables, x, options=options, progress=progress)

    def outputs(self, examples: Examples) -> Float64:
        """Compute f(x) of every example ``[N, C]``."""
        with self._arithmetic():
            parts = [_evaluated(self._tape(x), *self._arrays, x)[:n] for _, x, n in self._portions(examples)]
            return np.concatenate(parts).astype(np.float64)

    def _measured(
        self, examples: Examples, G: Any, labels: np.ndarray | None, progress: Progress | None, *, norms: bool
    ) -> Gradients:
        given = None if labels is None else _checked(labels, examples.size)
        shapes = [jax.tree.map(np.shape, tree) for tree in (G, self.variables["params"])]
        if shapes[0] != shapes[1]:
            raise LinearizeError("G: expected a tree of arrays shaped like variables['params']")
        found = Gradients(
            np.zeros(examples.size, np.int64) if given is None else given,
            np.zeros(examples.size),
            np.zeros(examples.size),
        )
        with self._arithmetic():
            direction = [jnp.asarray(leaf) for leaf in jax.tree.leaves(G)]
            for rows, x, n in self._portions(examples):
                tape = self._tape(x)
                f, moved = (np.asarray(a, np.float64) for a in _pushed(tape, *self._arrays, x, direction))  # [B, C]
                y = f.argmax(axis=1) if given is None else given[rows]
                d = self._d(f, y)
                at = rows[:n]
                found.labels[at], found.products[at] = y[:n], np.einsum("bc,bc->b", d, moved)[:n]
                if norms:
                    found.squared_norms[at] = np.asarray(_norms(tape, *self._arrays, x, d), np.float64)[:n, 0]
                _advance(progress, at[-1] + 1, examples.size)
        if not np.isfinite([found.squared_norms, found.products]).all():
            raise NonFiniteError("the gradients of the loss contain NaN or infinity: train with a lower learning rate")
        return found

    def _d(self, f: Float64, labels: np.ndarray) -> Float64:
        """Return d = ∂ℓ/∂f, ``[B, C]``."""
        C = f.shape[1]
        if labels.max() >= C:
            raise LinearizeError(f"labels: expected classes from 0 to {C - 1}, as the network has, got {labels.max()}")
        return -self.loss.pseudo_residual(f).of(np.eye(C)[labels])

    def _arithmetic(self) -> Any:
        return arithmetic(self.options.precision)

    @cached_property
    def _wide(self) -> Variables:
        return convert(self.variables, np.zeros(0), self.options.precision)[0]

    @cached_property
    def _arrays(self) -> tuple[list[Array], list[Array]]:
        """Parameters and all others, on the device."""
        parameters, others = split(self._wide)
        return [jnp.asarray(leaf) for leaf in parameters], [jnp.asarray(leaf) for leaf in others]

    def _tape(self, x: np.ndarray) -> Tape:
        full = KernelOptions(Full(), layers=self.options.layers, precision=self.options.precision)
        return tape_of(self.apply_fn, self._wide, x, full)

    def _portions(self, examples: Examples) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield positions, their inputs and how many are meant; the last portion is filled up with its last row."""
        if examples.size < 1:
            raise LinearizeError("gradients: expected at least one input, got none")
        first = convert({}, examples.fetch(np.zeros(1, np.int64)), self.options.precision)[1]
        size = min(_portion(self._tape(first), self.options.budget), 1 << (examples.size - 1).bit_length())
        for start in range(0, examples.size, size):
            rows = np.arange(start, start + size).clip(max=examples.size - 1)
            n = min(size, examples.size - start)
            x = examples.fetch(rows[:n])
            filled = x if n == size else np.concatenate([x, np.repeat(x[-1:], size - n, axis=0)])
            yield rows, convert({}, filled, self.options.precision)[1], n


def squared_norm(G: Any) -> float:
    """Return ‖G‖², added up in float64.

    Args:
        G: a tree of arrays.

    """
    return float(sum(np.vdot(leaf, leaf) for leaf in (np.asarray(a, np.float64) for a in jax.tree.leaves(G))))


def _advance(progress: Progress | None, done: int, total: int) -> None:
    if progress:
        progress(int(done), total)


def _checked(labels: np.ndarray, N: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (N,) or labels.dtype.kind not in "iu" or (N and labels.min() < 0):
        raise LinearizeError(f"labels: expected {N} classes from 0 on, got {labels.dtype} {list(labels.shape)}")
    return labels.astype(np.int64)


def _portion(tape: Tape, budget: int) -> int:
    """Return how many examples are differentiated at once, a power of two: as many as a cache and the budget hold."""
    itemsize = tape.program.shapes[tape.program.output].dtype.itemsize
    weights = sum(bytes_of(tape.program.shapes[number]) for number in tape.program.parameters)
    one = 2 * tape.activation_bytes + itemsize * max((_entries(unit) for unit in tape.units), default=0)
    room = min(8 * CACHED + WEIGHTS * weights, budget // SHARE)
    fitting = max(min(room // max(one, 1), MOST_EXAMPLES), 1)
    return 1 << (int(fitting).bit_length() - 1)


def _entries(unit: Unit) -> int:
    """Numbers that a unit's norm takes of one example: its gradient, or the two products of its factors."""
    if not compute.by_factors(unit):
        return 2 * unit.size
    assert unit.factors is not None
    return 2 * (prod(unit.factors.inputs) ** 2 + prod(unit.factors.outputs) ** 2)


@partial(jax.jit, static_argnums=0)
def _evaluated(tape: Tape, parameters: list[Array], others: list[Array], examples: Array) -> Array:
    return tape.evaluate(parameters, others, examples)


@partial(jax.jit, static_argnums=0)
def _pulled(tape: Tape, parameters: list[Array], others: list[Array], examples: Array, d: Array) -> list[Array]:
    """Σ_i J(x_i)ᵀ d_i."""
    outputs, pull = jax.vjp(lambda p: tape.evaluate(p, others, examples), parameters)
    (direction,) = pull(d.astype(outputs.dtype))
    return direction


@partial(jax.jit, static_argnums=0)
def _pushed(
    tape: Tape, parameters: list[Array], others: list[Array], examples: Array, direction: list[Array]
) -> tuple[Array, Array]:
    """f(x) and J(x) G, each ``[B, C]``."""
    typed = [g.astype(p.dtype) for g, p in zip(direction, parameters, strict=True)]
    return jax.jvp(lambda p: tape.evaluate(p, others, examples), (parameters,), (typed,))


@partial(jax.jit, static_argnums=0)
def _norms(tape: Tape, parameters: list[Array], others: list[Array], examples: Array, d: Array) -> Array:
    return compute.squared_norms(tape, parameters, others, examples, d)

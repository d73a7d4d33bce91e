"""The tape: one forward and backward pass that yields A and G of every site, and no weight's gradient.

At every site a zero is added to the equation's output; the derivative with respect to that zero is G, and the
equation's operands are A.  The gradients of the parameters are then made from both, unit by unit, as the plan says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linearize.engine.program import Program, bytes_of, read, run, trace
from linearize.engine.sites import Site, find_sites
from linearize.engine.units import Unit, find_units, last_layer
from linearize.errors import LinearizeError
from linearize.heads import Head
from linearize.types import Array, Layers, Variables


class Signature(NamedTuple):
    """What a trace depends on, beside the function: JAX's types of all arrays."""

    parameters: tuple[jax.ShapeDtypeStruct, ...]
    others: tuple[jax.ShapeDtypeStruct, ...]
    example: jax.ShapeDtypeStruct
    structure: Any
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Tape:
    """A traced network with its units."""

    program: Program
    units: tuple[Unit, ...]
    unused: tuple[str, ...]  # parameters that the outputs do not depend on
    head: Head
    outputs: int  # k

    @property
    def rows(self) -> int:
        """Rows of Θ that one example has."""
        return self.outputs if self.head.combine == "rows" else 1

    @property
    def copies(self) -> int:
        """Columns of features that one parameter has."""
        return self.outputs if self.head.combine == "sum" else 1

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of everything that one example's forward pass computes."""
        shapes = self.program.shapes
        return sum(bytes_of(shapes[out]) for equation in self.program.body for out in equation.outputs)

    def prepare(self, parameters: Sequence[Array], others: Sequence[Array]) -> dict[int, Array]:
        """Evaluate what does not depend on the example.

        Args:
            parameters: trainable leaves.
            others: constant leaves.

        """
        values = {**self.program.constants, **dict(zip(self.program.parameters, parameters, strict=True))}
        values |= dict(zip(self.program.others, others, strict=True))
        run(self.program.prelude, values)
        return values

    def forward(
        self, values: Mapping[int, Array], example: Array, zeros: Mapping[int, list[Array]]
    ) -> tuple[Array, dict[int, list[Array]]]:
        """Run the body on one example, adding ``zeros`` to the sites' outputs; return outputs and sites' operands.

        Args:
            values: by variable, those of ``prepare``.
            example: one input.
            zeros: to add to the sites' outputs, by equation; differentiated by.

        """
        env, taken = {**values, self.program.example: example}, {}
        for position, equation in enumerate(self.program.body):
            operands = read(env, equation.inputs)
            results = equation.evaluate(operands)
            if position in zeros:
                taken[position] = operands
                added = iter(zeros[position])
                results = [z + next(added) if jnp.issubdtype(z.dtype, jnp.inexact) else z for z in results]
            env.update(zip(equation.outputs, results, strict=True))
        return env[self.program.output], taken

    def evaluate(self, parameters: Sequence[Array], others: Sequence[Array], examples: Array) -> Array:
        """Return the k outputs of every example ``[B, k]``, differentiable by the parameters that the units hold.

        Args:
            parameters: trainable leaves.
            others: constant leaves.
            examples: ``[B, ...]``.

        """
        chosen = {leaf for unit in self.units for leaf in unit.leaves}
        held = [leaf if at in chosen else jax.lax.stop_gradient(leaf) for at, leaf in enumerate(parameters)]
        values = self.prepare(held, others)
        return jax.vmap(lambda example: self.forward(values, example, {})[0])(examples)

    def tap(
        self, values: Mapping[int, Array], example: Array, units: Sequence[Unit], along: Array | None = None
    ) -> tuple[dict[int, list[Array]], dict[int, list[Array]]]:
        """Operands of the units' sites, and gradients of their outputs, by equation.

        Args:
            values: by variable, those of ``prepare``.
            example: one input.
            units: parameters with the sites where they meet data.
            along: sums of the k outputs that are differentiated, by their weights ``[m, k]``; by default each output.

        Returns:
            Operands, and m gradients ``[m, ...]``.

        """
        wanted = {site.position for unit in units for site in unit.sites}
        shapes = {at: [self.program.shapes[out] for out in self.program.body[at].outputs] for at in wanted}
        zeros = {
            at: [jnp.zeros(s.shape, s.dtype) for s in out if jnp.issubdtype(s.dtype, jnp.inexact)]
            for at, out in shapes.items()
        }
        outputs, pull, operands = jax.vjp(lambda z: self.forward(values, example, z), zeros, has_aux=True)
        sums = jnp.eye(self.outputs, dtype=outputs.dtype) if along is None else along.astype(outputs.dtype)
        (G,) = jax.vmap(pull)(sums)
        return operands, G

    def gradient(
        self,
        unit: Unit,
        parameters: Sequence[Array],
        others: Sequence[Array],
        operands: Mapping[int, list[Array]],
        G: Mapping[int, list[Array]],
    ) -> Array:
        """One unit's gradient for one example and one output, flat ``[P_unit]``.

        Args:
            unit: whose gradient.
            parameters: trainable leaves.
            others: constant leaves.
            operands: of the units' sites, by equation.
            G: gradients of the sites' outputs, by equation.

        """
        if unit.factored:
            return unit.factored.features(operands[unit.sites[0].position], G[unit.sites[0].position])
        into: dict[int, Array] = {}
        for site in unit.sites:
            weight = self.weight(site)
            gradient = site.gradient(operands[site.position], G[site.position])
            into[weight] = into[weight] + gradient if weight in into else gradient
        if unit.alone:
            return next(iter(into.values())).reshape(-1)

        def of_leaves(leaves: list[Array]) -> list[Array]:
            changed = list(parameters)
            for leaf, value in zip(unit.leaves, leaves, strict=True):
                changed[leaf] = value
            values = self.prepare(changed, others)
            return [values[weight] for weight in into]

        _, pull = jax.vjp(of_leaves, [parameters[leaf] for leaf in unit.leaves])
        (gradients,) = pull(list(into.values()))
        return jnp.concatenate([gradient.reshape(-1) for gradient in gradients])

    def weight(self, site: Site) -> int:
        """The number of a site's weight."""
        number = self.program.body[site.position].inputs[site.operand]
        assert isinstance(number, int)
        return number


def signature(variables: Variables, example: Any) -> Signature:
    """Describe a network's arrays and one example.

    Args:
        variables: the network's collections.
        example: one input.

    Raises:
        LinearizeError: there is no trainable parameter, or one that is not real.

    """
    paths, structure = jax.tree_util.tree_flatten_with_path(variables["params"])
    if not paths:
        raise LinearizeError("the network has no trainable parameter: a kernel needs at least one array in 'params'")
    names = tuple("/".join(str(getattr(key, "key", key)) for key in path) for path, _ in paths)
    for name, (_, leaf) in zip(names, paths, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise LinearizeError(f"parameter {name}: expected real numbers to differentiate by, got {leaf.dtype}")
    others, rest = jax.tree.flatten({name: tree for name, tree in variables.items() if name != "params"})
    return Signature(
        tuple(_shape(leaf) for _, leaf in paths),
        tuple(_shape(leaf) for leaf in others),
        _shape(example),
        (structure, rest),
        names,
    )


def split(variables: Variables) -> tuple[list[Array], list[Array]]:
    """A network's arrays as the tape takes them: parameters, and all others."""
    others = {name: tree for name, tree in variables.items() if name != "params"}
    return jax.tree.leaves(variables["params"]), jax.tree.leaves(others)


def _shape(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(array), jax.dtypes.canonicalize_dtype(array.dtype, allow_extended_dtype=True))


@lru_cache(maxsize=64)
def record(apply_fn: Any, head: Head, layers: Layers, given: Signature, x64: bool, precision: str) -> Tape:
    """Trace a network and find its units; the same arguments give the same tape, with all that was compiled for it.

    Args:
        apply_fn: the network in eval mode.
        head: what is differentiated.
        layers: ``all``, or ``last`` for the last linear layer's parameters alone.
        given: types of its arrays.
        x64: whether 64-bit types are enabled; a part of the key.
        precision: of matrix products; a part of the key, in force while this is called.

    Raises:
        LinearizeError: there is no last linear layer, the outputs depend on no parameter, or the network does not
            return logits ``[B, C]``.

    """
    structure, rest = given.structure

    def network(parameters: list[Array], others: list[Array], example: Array) -> Array:
        tree = {**jax.tree.unflatten(rest, others), "params": jax.tree.unflatten(structure, parameters)}
        logits = apply_fn(tree, example[None])
        if getattr(logits, "ndim", None) != 2 or logits.shape[0] != 1:
            found = getattr(logits, "shape", type(logits).__name__)
            raise LinearizeError(f"the network: expected logits [1, C] for one example, got {found}")
        # A network that ignores its input has a kernel all the same: make the outputs depend on it, by nothing.
        nothing = 0 * example.reshape(-1)[:1].astype(logits.dtype).sum()
        return head(logits[0] + nothing)

    program = trace(network, given.parameters, given.others, given.example)
    sites = find_sites(program)
    units, unused = find_units(program, sites, given.names)
    if not units:
        raise LinearizeError("the network: its outputs depend on none of the parameters, so it has no tangent kernel")
    if layers == "last":
        units = last_layer(units, sites)
    return Tape(program, tuple(units), tuple(unused), head, program.shapes[program.output].shape[0])

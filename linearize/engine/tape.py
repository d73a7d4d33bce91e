"""The tape: one forward and backward pass that yields A and G of every site, and no weight's gradient.

At every site a zero is added to the equation's output; the derivative with respect to that zero is G, and the
equation's operands are A.  The gradients of the parameters are then made from both, unit by unit, as the plan says.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linearize.engine.program import Program, bytes_of, read, run, size_of, trace
from linearize.engine.sites import Factored, Factors, GenericSite, Site, find_sites
from linearize.errors import LinearizeError
from linearize.heads import Head
from linearize.types import Array, Layers, Variables

LAYOUT = ("reshape", "transpose", "squeeze", "expand_dims", "rev", "copy")
"""Primitives that only move a parameter's entries, so that inner products of gradients stay what they are."""


@dataclass(frozen=True, eq=False)
class Unit:
    """Parameters whose gradients are made together: one array at one site, or all that share sites.

    Args:
        names: the parameter arrays' names.
        leaves: their positions among the network's parameters.
        sites: where they meet data.
        size: their entries.
        alone: one array at one site, reached by moving entries only; then the site's factored form may be used.

    """

    names: tuple[str, ...]
    leaves: tuple[int, ...]
    sites: tuple[Site, ...]
    size: int
    alone: bool

    @property
    def factored(self) -> Factored | None:
        """The unit's only site, where its gradient is a sum of outer products."""
        site = self.sites[0]
        return site if self.alone and not isinstance(site, GenericSite) else None  # type: ignore[return-value]

    @property
    def factors(self) -> Factors | None:
        """Sizes of the factored form, where there is one."""
        return self.factored.factors if self.factored else None

    @property
    def label(self) -> str:
        """What the unit's sites are."""
        counts = Counter(site.label for site in self.sites)
        return " + ".join(f"{count}·{label}" if count > 1 else label for label, count in counts.items())


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
        """Evaluate what does not depend on the example."""
        values = {**self.program.constants, **dict(zip(self.program.parameters, parameters, strict=True))}
        values |= dict(zip(self.program.others, others, strict=True))
        run(self.program.prelude, values)
        return values

    def forward(
        self, values: Mapping[int, Array], example: Array, zeros: Mapping[int, list[Array]]
    ) -> tuple[Array, dict[int, list[Array]]]:
        """Run the body on one example, adding ``zeros`` to the sites' outputs; return outputs and sites' operands."""
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

    def tap(
        self, values: Mapping[int, Array], example: Array, units: Sequence[Unit]
    ) -> tuple[dict[int, list[Array]], dict[int, list[Array]]]:
        """Operands of the units' sites, and the k gradients ``[k, ...]`` of their outputs, by equation."""
        wanted = {site.position for unit in units for site in unit.sites}
        shapes = {at: [self.program.shapes[out] for out in self.program.body[at].outputs] for at in wanted}
        zeros = {
            at: [jnp.zeros(s.shape, s.dtype) for s in out if jnp.issubdtype(s.dtype, jnp.inexact)]
            for at, out in shapes.items()
        }
        outputs, pull, operands = jax.vjp(lambda z: self.forward(values, example, z), zeros, has_aux=True)
        (G,) = jax.vmap(pull)(jnp.eye(self.outputs, dtype=outputs.dtype))
        return operands, G

    def gradient(
        self,
        unit: Unit,
        parameters: Sequence[Array],
        others: Sequence[Array],
        operands: Mapping[int, list[Array]],
        G: Mapping[int, list[Array]],
    ) -> Array:
        """One unit's gradient for one example and one output, flat ``[P_unit]``."""
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
    units, unused = _units(program, sites, given.names)
    if not units:
        raise LinearizeError("the network: its outputs depend on none of the parameters, so it has no tangent kernel")
    if layers == "last":
        units = _last(units, sites)
    return Tape(program, tuple(units), tuple(unused), head, program.shapes[program.output].shape[0])


def _units(program: Program, sites: Sequence[Site], names: Sequence[str]) -> tuple[list[Unit], list[str]]:
    """Join parameters that share a site, and sites that share a parameter."""
    reached = _reached(program)
    consumers = Counter(
        operand
        for equation in (*program.prelude, *program.body)
        for operand in equation.inputs
        if isinstance(operand, int)
    )
    groups: list[tuple[set[int], list[Site]]] = []
    for site in sites:
        number = program.body[site.position].inputs[site.operand]
        leaves = set(reached.get(number, ()))  # type: ignore[arg-type]
        touching = [group for group in groups if group[0] & leaves]
        groups = [group for group in groups if not group[0] & leaves]
        members = [member for group in touching for member in group[1]] + [site]
        groups.append((leaves.union(*(group[0] for group in touching)), members))
    units = []
    for leaves, members in sorted(groups, key=lambda group: min(site.position for site in group[1])):
        order = tuple(sorted(leaves))
        size = sum(size_of(program.shapes[program.parameters[leaf]]) for leaf in order)
        alone = len(order) == len(members) == 1 and _moved_only(program, order[0], members[0], consumers)
        units.append(Unit(tuple(names[leaf] for leaf in order), order, tuple(members), size, alone))
    used = {leaf for unit in units for leaf in unit.leaves}
    return units, [name for leaf, name in enumerate(names) if leaf not in used]


def _reached(program: Program) -> dict[int, frozenset[int]]:
    """Which parameters each value of the prelude is made from."""
    reached = {number: frozenset([leaf]) for leaf, number in enumerate(program.parameters)}
    for equation in program.prelude:
        made = frozenset().union(*(reached.get(o, frozenset()) for o in equation.inputs if isinstance(o, int)))
        reached.update({out: made for out in equation.outputs if program.depends[out]})
    return reached


def _moved_only(program: Program, leaf: int, site: Site, consumers: Counter[int]) -> bool:
    """Whether a site's weight is a parameter whose entries were at most moved, and that nothing else uses."""
    made_by = {out: equation for equation in program.prelude for out in equation.outputs}
    number = program.body[site.position].inputs[site.operand]
    while isinstance(number, int) and consumers[number] == 1:
        if number == program.parameters[leaf]:
            return True
        equation = made_by.get(number)
        if equation is None or not isinstance(equation.inputs[0], int):
            return False
        before, after = (program.shapes[value] for value in (equation.inputs[0], equation.outputs[0]))
        kept = equation.name in LAYOUT or (
            equation.name in ("broadcast_in_dim", "convert_element_type")
            and size_of(before) == size_of(after)
            and before.dtype == after.dtype
        )
        if not kept:
            return False
        number = equation.inputs[0]
    return False


def _last(units: Sequence[Unit], sites: Sequence[Site]) -> list[Unit]:
    """The units that meet data at the last matrix product or convolution, or nowhere before it."""
    linear = [site.position for site in sites if not isinstance(site, GenericSite)]
    if not linear:
        raise LinearizeError("layers 'last': the network has no linear layer; use 'all'")
    last = max(linear)
    positions = {unit: [site.position for site in unit.sites] for unit in units}
    return [unit for unit in units if last in positions[unit] or min(positions[unit]) > last]

"""Units: parameters whose gradients are made together, and the sites where they meet data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from linearize.engine.factored import Factors
from linearize.engine.program import Program, size_of
from linearize.engine.sites import Factored, GenericSite, Site
from linearize.errors import LinearizeError

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


def find_units(program: Program, sites: Sequence[Site], names: Sequence[str]) -> tuple[list[Unit], list[str]]:
    """Join parameters that share a site, and sites that share a parameter.

    Args:
        program: the traced network.
        sites: where parameters meet data.
        names: of the trainable leaves.

    """
    reached = _reached(program)
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
        alone = len(order) == len(members) == 1 and _moved_only(program, order[0], members[0])
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


def _moved_only(program: Program, leaf: int, site: Site) -> bool:
    """Whether a site's weight is a parameter whose entries were at most moved."""
    made_by = {out: equation for equation in program.prelude for out in equation.outputs}
    number = program.body[site.position].inputs[site.operand]
    while isinstance(number, int):
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


def last_layer(units: Sequence[Unit], sites: Sequence[Site]) -> list[Unit]:
    """The units that meet data at the last matrix product or convolution, or nowhere before it.

    Args:
        units: parameters with the sites where they meet data.
        sites: where parameters meet data.

    """
    linear = [site.position for site in sites if not isinstance(site, GenericSite)]
    if not linear:
        raise LinearizeError("layers 'last': the network has no linear layer; use 'all'")
    last = max(linear)
    positions = {unit: [site.position for site in unit.sites] for unit in units}
    return [unit for unit in units if last in positions[unit] or min(positions[unit]) > last]

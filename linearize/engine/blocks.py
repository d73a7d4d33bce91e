"""J(x) J(x)ᵀ of each example, the C×C block of the full kernel on its diagonal."""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp

from linearize.engine.compute import ghost_gram
from linearize.engine.tape import Tape
from linearize.engine.units import Unit
from linearize.types import Array


def own_blocks(tape: Tape, parameters: Sequence[Array], others: Sequence[Array], examples: Array) -> Array:
    """J(x) J(x)ᵀ of m examples, ``[m, k, k]``: every unit's share by the cheaper of its two ways.

    Args:
        tape: the traced network.
        parameters: trainable leaves.
        others: constant leaves.
        examples: ``[m, ...]``.

    """
    values = tape.prepare(parameters, others)

    def one(example: Array) -> Array:
        operands, G = tape.tap(values, example, tape.units)
        total = jnp.zeros((tape.outputs, tape.outputs))
        for unit in tape.units:
            at = unit.sites[0].position
            if made_of_ghosts(unit, tape.outputs):
                assert unit.factored is not None
                assert unit.factors is not None
                A = unit.factored.activations(operands[at])[..., None, :]  # [positions..., 1, K]
                H = jnp.moveaxis(jax.vmap(unit.factored.cotangents)(G[at]), 0, -2)  # [positions..., k, O]
                total = total + ghost_gram(unit.factors, A, H, A, H)  # one row of A for all k of H
            else:
                J = jax.vmap(lambda G, unit=unit: tape.gradient(unit, parameters, others, operands, G))(G)
                total = total + J @ J.T
        return total

    return jax.vmap(one)(examples)


def made_of_ghosts(unit: Unit, outputs: int) -> bool:
    """Whether a unit's share of J(x) J(x)ᵀ takes less without its gradients.

    Args:
        unit: parameters with the sites where they meet data.
        outputs: k.

    """
    factors = unit.factors
    if factors is None:
        return False
    positions_in, positions_out = prod(factors.inputs), prod(factors.outputs)
    ghosts = positions_in**2 * factors.K + outputs**2 * (positions_out**2 * factors.O + factors.meetings)
    made = sum(site.multiplications for site in unit.sites)
    return ghosts < outputs * made + outputs**2 * unit.size

"""Sites: the equations where a parameter meets data, and the gradient that each leaves in the parameter.

At a site with data A, weight w and output z, the gradient of a scalar g with respect to w needs A and G = ∂g/∂z alone:
that is why one forward and backward pass with respect to the outputs z, without any weight's gradient, is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from linearize.engine.factored import ConvSite, DenseSite, Factors, Params, times
from linearize.engine.program import PARAMETER, Equation, Program, size_of
from linearize.types import Array

WHOLE = ("pad", "custom_linear_solve")
"""Primitives that JAX cannot differentiate by one operand alone: by the value that is padded with, or by the factors of
a matrix without the matrix."""


class Site(Protocol):
    """One operand of one equation of the body."""

    @property
    def position(self) -> int:
        """The equation's place in the program's body."""
        ...

    @property
    def operand(self) -> int:
        """Which operand of it is the weight."""
        ...

    @property
    def label(self) -> str:
        """The primitive, and the shape of what it puts out."""
        ...

    def gradient(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """∂g/∂w in the shape of w, for one example, from the equation's operands and outputs' gradients.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        ...

    @property
    def multiplications(self) -> int:
        """Multiplications that ``gradient`` takes for one example."""
        ...


class Factored(Site, Protocol):
    """A site whose gradient is a sum of outer products of rows of A and G, so that its Gram needs no gradient."""

    def features(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """The entries of ``gradient``, flat and in whatever order is cheapest.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        ...

    def activations(self, operands: Sequence[Array]) -> Array:
        """A ``[positions..., K]`` for one example, where ``factors`` is not None."""
        ...

    def cotangents(self, G: Sequence[Array]) -> Array:
        """G ``[positions..., O]`` for one example."""
        ...

    @property
    def factors(self) -> "Factors | None":
        """Sizes of the factored form; None where there is none."""
        ...


@dataclass(frozen=True)
class GenericSite:
    """Any primitive: its own derivative, one example at a time under ``vmap``."""

    position: int
    operand: int
    equation: Equation
    shape: tuple[int, ...]  # of the first output
    weight_size: int

    @property
    def label(self) -> str:
        """The primitive and its output's shape."""
        return f"{self.equation.name} {times(self.shape)}"

    @property
    def multiplications(self) -> int:
        """One for every entry of the output, as for a broadcast product."""
        return int(np.prod(self.shape, dtype=np.int64))

    def gradient(self, operands: Sequence[Array], G: Sequence[Array]) -> Array:
        """Pull G back through the primitive to its operand w.

        Args:
            operands: of the site's equation, for one example.
            G: gradients of what it puts out, for one output.

        """
        changed = [self.operand]
        if self.equation.name in WHOLE:
            changed = [at for at, value in enumerate(operands) if jnp.issubdtype(value.dtype, jnp.inexact)]

        def of_changed(*values: Array) -> list[Array]:
            operand = dict(zip(changed, values, strict=True))
            outputs = self.equation.evaluate([operand.get(at, value) for at, value in enumerate(operands)])
            return [z for z in outputs if jnp.issubdtype(z.dtype, jnp.inexact)]

        gradients = jax.vjp(of_changed, *(operands[at] for at in changed))[1](list(G))
        return gradients[changed.index(self.operand)]


def find_sites(program: Program) -> list[Site]:
    """List every place where a differentiable parameter meets data."""
    sites: list[Site] = []
    for position, equation in enumerate(program.body):
        outputs = [program.shapes[out] for out in equation.outputs]
        if not any(jnp.issubdtype(out.dtype, jnp.inexact) and size_of(out) for out in outputs):
            continue
        for operand in program.meets(equation):
            number = equation.inputs[operand]
            if isinstance(number, int) and size_of(program.shapes[number]):
                sites.append(_site(program, position, operand))
    return sites


def _site(program: Program, position: int, operand: int) -> Site:
    equation = program.body[position]
    output = program.shapes[equation.outputs[0]].shape
    shapes = [() if not isinstance(value, int) else program.shapes[value].shape for value in equation.inputs]
    params = equation.source.params
    alone = [program.dependence(value) for value in equation.inputs].count(PARAMETER) == 1
    plain = alone and params.get("preferred_element_type") in (None, program.shapes[equation.outputs[0]].dtype)
    if equation.name == "dot_general" and plain:
        contract, batch = params["dimension_numbers"]
        pick = (1 - operand, operand)  # data, weight
        return DenseSite(
            position, operand, shapes[1 - operand], shapes[operand],
            (tuple(contract[pick[0]]), tuple(contract[pick[1]])), (tuple(batch[pick[0]]), tuple(batch[pick[1]])),
        )  # fmt: skip
    convolution = equation.name == "conv_general_dilated" and operand == 1 and params["window_strides"]
    if convolution and plain and params["batch_group_count"] == 1:
        return ConvSite(position, operand, Params(params), shapes[0], shapes[1], output)
    weight = equation.inputs[operand]
    size = int(np.prod(program.shapes[weight].shape, dtype=np.int64)) if isinstance(weight, int) else 1
    return GenericSite(position, operand, equation, output, size)

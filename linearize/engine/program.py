"""A network as a flat list of equations, and which of its values depend on the parameters and which on the input.

A function of one example is traced by JAX; calls are inlined, so that every place where a parameter meets data is an
equation of the list.  Because the trace sees one example alone, no equation can mix the examples of a batch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from linearize.types import Array

INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
"""Calls that mean no more than their bodies.  ``custom_jvp_call`` and ``custom_vjp_call`` stay whole: their derivative
is not that of their body."""

CONSTANT, PARAMETER, INPUT = 0, 1, 2
"""Bits of what a value depends on; on a parameter, by its derivative."""

Operand = int | jex.Literal
"""A value's number, or a literal."""


class Equation(NamedTuple):
    """One primitive applied to values of the program."""

    source: jex.JaxprEqn
    inputs: tuple[Operand, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The primitive's name."""
        return str(self.source.primitive.name)

    def evaluate(self, operands: Sequence[Array]) -> list[Array]:
        """Apply the primitive."""
        primitive = self.source.primitive
        given = primitive.get_bind_params(self.source.params)
        functions, params = given if isinstance(given, tuple) else ((), given)  # jax before 0.10 returns both
        with self.source.ctx.manager:
            result = primitive.bind(*functions, *operands, **params)
        return list(result) if primitive.multiple_results else [result]


class Program(NamedTuple):
    """A traced function of (differentiated parameters, other variables, one example)."""

    parameters: tuple[int, ...]  # numbers of the differentiated arrays
    others: tuple[int, ...]  # numbers of the other variables
    example: int
    constants: Mapping[int, Array]
    prelude: tuple[Equation, ...]  # equations that do not see the example
    body: tuple[Equation, ...]  # equations that do
    output: int  # number of the outputs [k]
    depends: Mapping[int, int]  # what each value depends on
    shapes: Mapping[int, jax.ShapeDtypeStruct]

    def meets(self, equation: Equation) -> tuple[int, ...]:
        """Positions of an equation's operands that depend on the parameters and not on the example."""
        numbers = enumerate(equation.inputs)
        return tuple(at for at, operand in numbers if self.dependence(operand) == PARAMETER)

    def dependence(self, operand: Operand) -> int:
        """What an operand depends on."""
        return CONSTANT if isinstance(operand, jex.Literal) else self.depends[operand]


def trace(function: Callable[..., Array], parameters: Sequence[Any], others: Sequence[Any], example: Any) -> Program:
    """Trace ``function(parameters, others, example) -> [k]`` into a program.

    Args:
        function: the network and its head, for one example.
        parameters: arrays, or their shapes, that are differentiated.
        others: arrays that are not.
        example: one input, without a batch axis.

    Returns:
        The program, with calls inlined and equations split into those that see the example and those that do not.

    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(parameters, others, example)
    del shape
    builder = _Builder()
    numbers = [builder.number(var) for var in closed.jaxpr.invars]
    for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
        builder.constants[builder.number(var)] = value
    builder.inline(closed.jaxpr.eqns)
    (output,) = (builder.operand(var) for var in closed.jaxpr.outvars)
    split = len(parameters), len(parameters) + len(others)
    depends = dict.fromkeys(builder.constants, CONSTANT)
    depends |= dict.fromkeys(numbers[: split[0]], PARAMETER)
    depends |= dict.fromkeys(numbers[split[0] : split[1]], CONSTANT)
    depends[numbers[split[1]]] = INPUT
    prelude, body = _split(builder.equations, depends, builder.shapes)
    assert isinstance(output, int)
    return Program(
        parameters=tuple(numbers[: split[0]]),
        others=tuple(numbers[split[0] : split[1]]),
        example=numbers[split[1]],
        constants=builder.constants,
        prelude=prelude,
        body=_live(body, output),
        output=output,
        depends=depends,
        shapes=builder.shapes,
    )


class _Builder:
    """Numbers the values of nested jaxprs and lists their equations."""

    def __init__(self) -> None:
        self.constants: dict[int, Array] = {}
        self.equations: list[Equation] = []
        self.shapes: dict[int, jax.ShapeDtypeStruct] = {}
        self._numbers: dict[Any, Operand] = {}

    def number(self, var: Any) -> int:
        """Give a variable a number of its own."""
        fresh = len(self.shapes)
        self.shapes[fresh] = jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype)
        self._numbers[var] = fresh
        return fresh

    def operand(self, var: Any) -> Operand:
        """Look a variable up; a literal stands for itself."""
        return var if isinstance(var, jex.Literal) else self._numbers[var]

    def inline(self, equations: Iterable[Any]) -> None:
        """List equations, replacing calls by what they call."""
        for equation in equations:
            inner = _called(equation)
            operands = tuple(self.operand(var) for var in equation.invars)
            if inner is None:
                outputs = tuple(self.number(var) for var in equation.outvars)
                self.equations.append(Equation(equation, operands, outputs))
                continue
            jaxpr, consts = inner
            saved = self._numbers  # the same body may be called again: its variables are numbered anew each time
            self._numbers = dict(zip(jaxpr.invars, operands, strict=True))
            for var, value in zip(jaxpr.constvars, consts, strict=True):
                self.constants[self.number(var)] = value
            self.inline(jaxpr.eqns)
            results = [self.operand(var) for var in jaxpr.outvars]
            self._numbers = saved
            self._numbers.update(zip(equation.outvars, results, strict=True))


def _called(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    if equation.primitive.name not in INLINED:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if isinstance(inner, jex.ClosedJaxpr):
        return inner.jaxpr, inner.consts
    return (inner, ()) if inner is not None else None


def _split(
    equations: Sequence[Equation], depends: dict[int, int], shapes: Mapping[int, jax.ShapeDtypeStruct]
) -> tuple[tuple[Equation, ...], tuple[Equation, ...]]:
    """Part the equations by whether they see the example, noting in ``depends`` what every value depends on.

    Integers, and what has passed ``stop_gradient``, depend on no parameter: their derivative is zero, and a loop that
    makes them may have none.
    """
    prelude: list[Equation] = []
    body: list[Equation] = []
    for equation in equations:
        bits = CONSTANT
        for operand in equation.inputs:
            bits |= CONSTANT if isinstance(operand, jex.Literal) else depends[operand]
        for out in equation.outputs:
            differentiable = equation.name != "stop_gradient" and jnp.issubdtype(shapes[out].dtype, jnp.inexact)
            depends[out] = bits if differentiable else bits & ~PARAMETER
        (body if bits & INPUT else prelude).append(equation)
    return tuple(prelude), tuple(body)


def _live(equations: Sequence[Equation], output: int) -> tuple[Equation, ...]:
    """Drop the equations that the output does not need."""
    needed, kept = {output}, []
    for equation in reversed(equations):
        if needed & set(equation.outputs):
            kept.append(equation)
            needed |= {operand for operand in equation.inputs if isinstance(operand, int)}
    return tuple(reversed(kept))


def run(equations: Sequence[Equation], values: dict[int, Array]) -> None:
    """Evaluate equations in order, adding what they compute to ``values``.

    Args:
        equations: in order.
        values: by variable; added to.

    """
    for equation in equations:
        results = equation.evaluate(read(values, equation.inputs))
        values.update(zip(equation.outputs, results, strict=True))


def read(values: Mapping[int, Array], operands: Sequence[Operand]) -> list[Array]:
    """Fetch the operands of an equation.

    Args:
        values: by variable.
        operands: variables and literals.

    """
    return [operand.val if isinstance(operand, jex.Literal) else values[operand] for operand in operands]


def size_of(shape: jax.ShapeDtypeStruct) -> int:
    """Entries of an array of that shape."""
    return int(np.prod(shape.shape, dtype=np.int64))


def bytes_of(shape: jax.ShapeDtypeStruct) -> int:
    """Bytes of an array of that shape; a key of jax.random counts as nothing."""
    return size_of(shape) * getattr(shape.dtype, "itemsize", 0)

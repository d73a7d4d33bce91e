"""How the call of an operator's function is written."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from migrator import ops
from migrator.layout import Operand
from migrator.ops.elementwise import add, div, sub

LAST = 2**63 - 1
"""How torch writes the end of a slice that has none."""

INFIX: dict[Callable[..., Any], str] = {
    add: "+",
    sub: "-",
    div: "/",
    jnp.multiply: "*",
    **{ops.shape.ARITHMETIC[name]: sign for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"))},
    **{ops.shape.ARITHMETIC[name]: sign for name, sign in (("floordiv", "//"), ("truediv", "/"), ("mod", "%"))},
}

HOMES: tuple[tuple[str, Any, str], ...] = (
    ("jnp", jnp, "import jax.numpy as jnp"),
    ("jax.nn", jax.nn, "import jax"),
    ("lax", lax, "from jax import lax"),
    ("jax.scipy.special", jax.scipy.special, "import jax"),
    ("math", math, "import math"),
)


def takes_all(args: tuple[Any, ...]) -> bool:
    """Return whether a slice's arguments take all of an axis."""
    start, end, step = args[2:] + (None, None, 1)[len(args) - 2 :]
    return start in (None, 0) and end in (None, LAST) and step == 1


def infix(function: Callable[..., Any]) -> str | None:
    """Return the sign that stands between the operands, ``None`` for functions that have none."""
    try:
        return INFIX.get(function)
    except TypeError:  # not every callable can be looked up
        return None


def explicit_arguments(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    named: Mapping[str, Any],
    texts: list[str],
    keyword_texts: dict[str, str],
) -> list[str]:
    """Return the arguments of a call without those that say what is the default anyway.

    Args:
        function: what is called.
        args: its positional arguments.
        named: its keyword arguments.
        texts: how the positional ones are written.
        keyword_texts: how the keyword ones are written; ``repr`` where there is none.

    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        parameters = []
    keyword_texts = {key: keyword_texts.get(key, repr(value)) for key, value in named.items()}
    if not parameters or getattr(function, "__module__", "").partition(".")[0] != "migrator":
        return [*texts, *(f"{key}={text}" for key, text in keyword_texts.items())]
    explicit: list[str] = []
    skipped = False
    windows = function.__module__.endswith((".conv", ".pool"))
    accepted = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    for position, parameter in enumerate(parameters):
        if position >= len(args) or parameter.kind is parameter.VAR_POSITIONAL:
            break
        if _says_default(args[position], parameter.default, broadcast=windows):
            skipped = True
        elif skipped or (parameter.default is not parameter.empty and not isinstance(args[position], Operand)):
            explicit.append(f"{parameter.name}={texts[position]}")
            skipped = True
        else:
            explicit.append(texts[position])
    for key, text in keyword_texts.items():
        if key in accepted or any(p.kind is p.VAR_KEYWORD and key in ("min", "max") for p in parameters):
            explicit.append(f"{key}={text}")
    return explicit


def _says_default(value: Any, default: Any, *, broadcast: bool) -> bool:
    if default is None and type(value) is int and value == LAST:
        return True
    if isinstance(value, Operand) or default is inspect.Parameter.empty:
        return False
    if broadcast and isinstance(value, tuple) and value and type(default) is int:
        return all(type(item) is int and item == default for item in value)
    return type(value) is type(default) and value == default

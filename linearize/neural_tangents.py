"""neural-tangents on current jax: the one place that knows what moved since its last release.

neural-tangents 0.6.5 imports names that jax ≥ 0.6 has moved or dropped, and its ``experimental`` sub-package imports
TensorFlow, which nothing here needs.  ``import_neural_tangents`` restores the names that are missing, puts an empty
module in the place of ``experimental``, imports it, and gives its ``STRUCTURED_DERIVATIVES`` the two internals of
differentiation that have changed; nothing happens before it is called.
"""

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import jax

from linearize.errors import LinearizeError
from linearize.types import Array

MOVED: dict[str, dict[str, tuple[str, ...]]] = {  # where 0.6.5 looks for a name -> where jax keeps it now
    "jax.core": {
        "jax.extend.core": ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var"),
        "jax._src.core": ("AbstractValue", "ShapedArray", "Value", "eval_context"),
        "jax._src.state.indexing": ("DShapedArray",),
    },
    "jax.util": {"jax._src.util": ("safe_map", "safe_zip")},
    "jax.api_util": {"jax._src.api_util": ("flatten_fun_nokwargs",)},
}


INSTALL = "pip install --no-deps neural-tangents==0.6.5 frozendict==2.5.1"
"""Without what it depends on: that is TensorFlow, some 2 GB, which nothing here needs."""


def import_neural_tangents() -> ModuleType:
    """Import neural-tangents, restoring what it misses in the installed jax.

    Returns:
        The package ``neural_tangents``; its ``experimental`` sub-package is empty.

    Raises:
        LinearizeError: it is not installed, or does not import all the same.

    """
    if importlib.util.find_spec("neural_tangents") is None:
        raise LinearizeError(f"neural-tangents is not installed: {INSTALL}")
    try:
        _restore_names()
        sys.modules.setdefault("neural_tangents.experimental", ModuleType("neural_tangents.experimental"))
        package = importlib.import_module("neural_tangents")
        _restore_derivatives(importlib.import_module("neural_tangents._src.empirical"))
    except (ImportError, AttributeError, TypeError) as error:
        raise LinearizeError(
            f"neural-tangents does not import on this jax ({error}): it is known to work on jax 0.10.2"
        ) from error
    return package


def _restore_names() -> None:
    for old, homes in MOVED.items():
        module = _module(old)
        for new, names in homes.items():
            for name in names:
                if not hasattr(module, name):
                    setattr(module, name, getattr(importlib.import_module(new), name))
    ad = importlib.import_module("jax.interpreters.ad")
    if not hasattr(ad, "zeros_like_p"):  # a key of its rule tables; jax has no such primitive any more
        primitive = importlib.import_module("jax.extend.core").Primitive("zeros_like")
        setattr(ad, "zeros_like_p", primitive)  # noqa: B010 - mypy knows that jax has no such name


def _module(name: str) -> ModuleType:
    """Import a module, or make an empty one where jax has dropped it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module = sys.modules[name] = ModuleType(name)
        parent, _, child = name.rpartition(".")
        setattr(importlib.import_module(parent), child, module)
        return module


def _restore_derivatives(empirical: ModuleType) -> None:
    """Replace, in the namespace of one module of neural-tangents, what it calls of jax's differentiation."""
    differentiation = ModuleType("ad")
    vars(differentiation).update(vars(importlib.import_module("jax._src.interpreters.ad")))
    differentiation.linearize = _linearize  # type: ignore[attr-defined]
    differentiation.config = jax.config  # type: ignore[attr-defined]
    empirical.ad = differentiation  # type: ignore[attr-defined]
    empirical._eqn_vjp_fn = _pull_back  # type: ignore[attr-defined]


def _linearize(function: Any, *primals: Array, **_: bool) -> tuple[list[Array], list[Any], Any, list[Array]]:
    """Linearize as jax < 0.10 did: outputs, which of their derivatives are known, a linear jaxpr and its constants."""
    outputs, push = jax.linearize(function.call_wrapped, *primals)
    linear = jax.make_jaxpr(push)(*primals)
    unknown = SimpleNamespace(is_known=lambda: False)
    return outputs, [unknown] * len(outputs), linear.jaxpr, linear.consts


def _pull_back(equation: Any, cotangent: Any, *operands: Any) -> list[Any]:
    """Transpose one linear equation: cotangents of its unknown operands, None for the known ones."""
    if equation is None:
        return [cotangent]
    ad = importlib.import_module("jax.interpreters.ad")
    unknown = [at for at, operand in enumerate(operands) if isinstance(operand, ad.UndefinedPrimal)]

    def evaluate(*values: Array) -> Array:
        changed = list(operands)
        for at, value in zip(unknown, values, strict=True):
            changed[at] = value
        return equation.primitive.bind(*changed, **equation.params)

    shapes = [jax.ShapeDtypeStruct(operands[at].aval.shape, operands[at].aval.dtype) for at in unknown]
    found = jax.linear_transpose(evaluate, *shapes)(ad.instantiate_zeros(cotangent))
    cotangents: list[Any] = [None] * len(operands)
    for at, value in zip(unknown, found, strict=True):
        cotangents[at] = value
    return cotangents

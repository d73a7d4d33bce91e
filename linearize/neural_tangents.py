"""neural-tangents on current jax: the one place that knows what moved since its last release.

neural-tangents 0.6.5 imports names that jax ≥ 0.6 has moved or dropped, and its ``experimental`` sub-package imports
TensorFlow, which nothing here needs.  ``import_neural_tangents`` restores the names that are missing, puts an empty
module in the place of ``experimental``, and imports it; nothing happens before it is called.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

from linearize.errors import LinearizeError

MOVED: dict[str, dict[str, tuple[str, ...]]] = {  # where 0.6.5 looks for a name -> where jax keeps it now
    "jax.core": {
        "jax.extend.core": ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var"),
        "jax._src.core": ("AbstractValue", "ShapedArray", "Value", "eval_context"),
    },
    "jax.util": {"jax._src.util": ("safe_map", "safe_zip")},
    "jax.api_util": {"jax._src.api_util": ("flatten_fun_nokwargs",)},
}


def import_neural_tangents() -> ModuleType:
    """Import neural-tangents, restoring what it misses in the installed jax.

    Returns:
        The package ``neural_tangents``; its ``experimental`` sub-package is empty.

    Raises:
        LinearizeError: it is not installed, or does not import all the same.

    """
    if importlib.util.find_spec("neural_tangents") is None:
        raise LinearizeError("neural-tangents is not installed: install this project with its extra 'infinite'")
    try:
        _restore_names()
        sys.modules.setdefault("neural_tangents.experimental", ModuleType("neural_tangents.experimental"))
        return importlib.import_module("neural_tangents")
    except (ImportError, AttributeError, TypeError) as error:
        raise LinearizeError(
            f"neural-tangents does not import on this jax ({error}): it is known to work on jax 0.10.2"
        ) from error


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

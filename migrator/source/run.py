"""Running the source of a port, perhaps changed by hand."""

from __future__ import annotations

from types import ModuleType

import jax

from migrator.errors import PortMismatch
from migrator.module import ApplyFn


def apply_source(text: str, name: str = "source") -> ApplyFn:
    """Return the function ``(variables, x) -> y`` of the source of a port, which is executed.

    Args:
        text: as ``to_source`` writes it, perhaps changed by hand.
        name: what an error calls it.

    Raises:
        PortMismatch: it is not Python, or has no Flax class to run.

    """
    module = ModuleType("ported")
    try:
        exec(compile(text, name, "exec"), module.__dict__)
    except Exception as error:  # the text may have been changed by hand
        raise PortMismatch(f"{name} cannot be run ({type(error).__name__}: {error})") from error
    kinds = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == "ported"]
    networks = [kind for kind in kinds if issubclass(kind, vars(module)["nn"].Module)] if kinds else []
    if not networks:
        raise PortMismatch(f"{name} has no Flax class; expected what `migrator source` writes")
    network = networks[-1]()
    return jax.jit(network.apply)

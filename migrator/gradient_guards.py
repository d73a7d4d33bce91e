"""Guards on gradients: ``no_grad`` regions are carried over, what torch does not record is refused."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, fx

from migrator.errors import UnsupportedGradient


@contextmanager
def guard_gradients() -> Iterator[None]:
    """Refuse, while a forward pass is recorded, what changes its gradient without being recorded.

    Raises:
        UnsupportedGradient: naming what was called, and from where.

    """
    entries = (
        (torch.autograd.Function, "apply", "a `torch.autograd.Function`", "write it with operators and `detach()`"),
        (torch.inference_mode, "__enter__", "`torch.inference_mode()`", "use `torch.no_grad()`"),
        (Tensor, "detach_", "`detach_()`", "use `detach()`"),
        (Tensor, "register_hook", "a hook on a tensor", "write what it does with operators and `detach()`"),
    )
    with ExitStack() as stack:
        for home, name, what, advice in entries:
            stack.enter_context(_refused(home, name, f"the forward pass uses {what}, which is not recorded", advice))
        yield


@contextmanager
def _refused(home: Any, name: str, message: str, advice: str) -> Iterator[None]:
    """Make a function of torch raise when it is called from outside of torch."""
    own = vars(home)[name]

    def guarded(*args: Any, **kwargs: Any) -> Any:
        place = _user_line()
        if place:
            raise UnsupportedGradient(f"{message}, at {place}; {advice}")
        return (own.__func__ if isinstance(own, classmethod) else own)(*args, **kwargs)

    setattr(home, name, classmethod(guarded) if isinstance(own, classmethod) else guarded)
    try:
        yield
    finally:
        setattr(home, name, own)


def _user_line() -> str:
    """``file.py:line`` that called the guarded function, empty when torch itself did for its own purposes."""
    torch_home = PurePath(torch.__file__).parent
    through = (__file__, str(torch_home / "utils" / "_contextlib.py"))
    caller = next(frame for frame in reversed(traceback.extract_stack()) if frame.filename not in through)
    own = PurePath(caller.filename).is_relative_to(torch_home)
    return "" if own else f"{PurePath(caller.filename).name}:{caller.lineno}"


def lower_no_grad_regions(graph_module: fx.GraphModule) -> None:
    """Write every ``no_grad`` region's end as ``detach`` on what it returns, so that the gradient still stops there.

    Torch keeps such a region as a call of a sub-graph, and inlines it without a trace when it decomposes operators.

    Args:
        graph_module: the exported graph, changed in place.

    Raises:
        UnsupportedGradient: a region changes a tensor of its outside in place.

    """
    for node in list(graph_module.graph.nodes):
        if "wrap_with_set_grad_enabled" not in str(node.target):
            if "wrap_with_autocast" in str(node.target) and node.args[2]:
                raise UnsupportedGradient("the forward pass uses autocast; port the module without it")
            continue
        enabled, region = node.args[0], getattr(graph_module, node.args[1].target)
        lower_no_grad_regions(region)
        if enabled:
            continue
        _check_region(region)
        for result in list(node.users):
            with graph_module.graph.inserting_after(result):
                detached = graph_module.graph.call_function(torch.ops.aten.detach.default, (result,))
            detached.meta = dict(result.meta)
            result.replace_all_uses_with(detached, delete_user_cb=lambda user, new=detached: user is not new)
    graph_module.recompile()


def _check_region(region: fx.GraphModule) -> None:
    """Refuse changes in place of tensors that are not the region's own."""
    outside = {node for node in region.graph.nodes if node.op in ("placeholder", "get_attr")}
    for node in region.graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or not node.args:
            continue
        if any(argument.alias_info is not None for argument in target._schema.arguments) and node.args[0] in outside:
            if target._schema.is_mutable:
                raise UnsupportedGradient(
                    f"{target} changes a tensor in place inside `no_grad`; write it out of place, or outside the block"
                )
            outside.add(node)  # a view

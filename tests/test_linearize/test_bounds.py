"""A memory budget that is refused before there is a network is one that no plan keeps."""

import jax.numpy as jnp
import numpy as np
import pytest

from linearize import KernelOptions, MemoryBudgetError
from linearize.bounds import check_budget, least_bytes
from linearize.build import plan_build
from linearize.inputs import Data

C = 2
NETWORK = (lambda v, x: jnp.tanh(x @ v["params"]["w"]), {"params": {"w": np.ones((1, C), np.float32)}})  # hardly any


@pytest.mark.parametrize("head", ["sum-of-logits", "full"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("L", "U"), [(3, 5), (300, 1500)])
def test_no_plan_keeps_what_is_refused(L, U, full, head):
    least = least_bytes(L, U, C if head == "full" else 1, "float32", full=full)
    refused = KernelOptions(head, memory_budget=least - 1)
    with pytest.raises(MemoryBudgetError, match=f"the kernel of {L + U} examples does not fit") as caught:
        check_budget(L, U, C, refused, full=full)
    assert "\n" not in str(caught.value)
    X, pool = np.ones((L, 1), np.float32), np.ones((U, 1), np.float32)
    data = Data(X, np.zeros((L, C)), pool, np.arange(U), np.zeros((U, C)))
    with pytest.raises(MemoryBudgetError):
        plan_build(NETWORK, data, refused, full=full)

    check_budget(L, U, C, KernelOptions(head, memory_budget=least), full=full)
    check_budget(L, U, C, KernelOptions(head), full=full)
    enough = KernelOptions(head, memory_budget=4 * least)  # not far from it, for a network as small as this
    assert plan_build(NETWORK, data, enough, full=full).estimate > least / 2

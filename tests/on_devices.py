"""Kernels and look-ahead on all devices of one process or of several: ``on_devices.py OUT [PORT PROCESSES INDEX]``."""

import sys
from pathlib import Path

import jax
import layers
import numpy as np

from linearize import KernelOptions, LookAhead
from linearize.engine import compute
from linearize.heads import make_head
from linearize.kernel import empirical_ntk

L, U, CLASSES = 5, 9, 3


def look_up(v, x):
    return v["params"]["table"][x].reshape(len(x), -1) @ v["params"]["w"]


def results(devices=None):
    """What every number of devices must agree on, by name; names that begin with ``wide`` are made in float64."""
    compute.PAIRED_BYTES = 2**14  # several squares of rows on every device
    found = {}
    apply_fn, variables = layers.network(["conv2d_plain", "layer_norm"], classes=CLASSES, dtype=np.float32)
    x = layers.inputs(0, L + U, np.float32)
    Y = np.eye(CLASSES)[np.arange(L) % CLASSES]
    for name, options in {
        "look-ahead": KernelOptions(devices=devices, ridge=1e-3),
        "wide look-ahead": KernelOptions(devices=devices, ridge=1e-3, precision="float64", head="trace"),
    }.items():
        plans = []
        ahead = LookAhead.fit(apply_fn, variables, x[:L], Y, x[L:], options, on_plan=plans.append)
        assert plans[0].devices.count == (devices or jax.device_count())
        assert "ghost" in {planned.method for planned in plans[0].work.units}
        found |= {f"{name} S": ahead.posterior.S, f"{name} mlmoc": ahead.scores("mlmoc")}
    full = KernelOptions(make_head("full"), precision="float64", block=3, devices=devices)
    found["wide rectangle"] = empirical_ntk(apply_fn, variables, x[:L], x[L:], options=full)
    rng = np.random.default_rng(0)
    table = {"params": {"table": rng.normal(size=(6, 2)), "w": rng.normal(size=(6, CLASSES))}}
    some = None if devices is None else min(devices, 3)
    integers = KernelOptions(precision="float64", devices=some)
    found["wide integers"] = empirical_ntk(look_up, table, rng.integers(0, 6, (4, 3)), options=integers)
    return found


if __name__ == "__main__":
    out, *job = sys.argv[1:]
    if job:
        port, processes, index = map(int, job)
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        address = f"127.0.0.1:{port}"
        jax.distributed.initialize(address, processes, index, coordinator_bind_address=address)
    computed = results()
    np.savez(Path(out), devices=jax.device_count(), **computed)

"""Several devices, and several processes, compute what one does."""

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import layers
import numpy as np
import on_devices
import pytest

from linearize import LinearizeError
from linearize.engine import compute, devices
from linearize.kernel import plan_ntk

TIMEOUT = 240


@cache
def on_one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_devices.compute, "PAIRED_BYTES", on_devices.compute.PAIRED_BYTES)  # put it back afterwards
        return on_devices.results(devices=1)


def start(devices_here, *arguments):
    script = Path(on_devices.__file__)
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices_here}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(script.parents[1]), str(script.parent)]),
    }
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait(processes):
    """Wait for all of them; none survives a failure or a hang."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()


def agree(path, count):
    with np.load(path) as found:
        assert found["devices"] == count
        for name, expected in on_one_device().items():
            tolerance = 1e-10 if name.startswith("wide") else 1e-5
            assert np.abs(found[name] - expected).max() <= tolerance * np.abs(expected).max(), name


@pytest.fixture
def free_port():
    """A port that nobody else is given meanwhile: bound here, beside which those that share it (gRPC) may listen."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.mark.long
def test_eight_devices_of_one_process(tmp_path):
    wait([start(8, tmp_path / "out.npz")])
    agree(tmp_path / "out.npz", 8)


@pytest.mark.long
def test_two_processes_of_two_devices(free_port, tmp_path):
    wait([start(2, tmp_path / f"{index}.npz", free_port, 2, index) for index in range(2)])
    for index in range(2):
        agree(tmp_path / f"{index}.npz", 4)


def test_more_devices_than_there_are_is_named():
    present = len(jax.devices())
    for count in (0, present + 1):
        with pytest.raises(LinearizeError, match=f"expected 1 to {present} of this machine's, got {count}"):
            devices.use(count)


@pytest.mark.usefixtures("x64")
def test_rows_in_groups_are_multiplied_as_all_at_once():
    apply_fn, variables = layers.network(["conv2d_plain"], 3)
    (unit,) = (
        planned.unit
        for planned in plan_ntk(apply_fn, variables, layers.inputs(0, 2)).work.units
        if "w" in planned.unit.names[0]
    )
    factors = unit.factors
    assert len(factors.offsets) > 1
    rng = np.random.default_rng(0)
    shapes = [(*factors.inputs, 6, factors.K), (*factors.outputs, 6, factors.O)] * 2
    A, G, B, H = (rng.normal(size=shape) for shape in shapes)
    whole = compute.ghost_gram(factors, A, G, B, H)
    apart = compute.ghost_gram(factors, A, G, B, H, groups=3)
    np.testing.assert_allclose(apart, whole, rtol=1e-12)

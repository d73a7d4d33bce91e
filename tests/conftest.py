"""Strict numerics, repeatable randomness and shared small cases."""

import gc
import importlib.util
import os
import random
import signal
import sys
from pathlib import Path

# Half of this suite's time would be XLA's: its older code generator compiles small functions in half the time.  What is
# compared does not depend on it; `XLA_FLAGS= python -m pytest` tests with the one that users have.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")

import hypothesis
import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

# Shapes that a signature states are checked at every call; before anything of these packages is imported.
install_import_hook(["linearize.posterior", "linearize.criteria"], "beartype.beartype")

sys.path.insert(0, str(Path(__file__).parent))  # `import reference` from every test file

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a script ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = 0  # any constant

# The same examples in every run, and no verdict on how busy the machine is: no test fails by chance.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_finish():
    """Spare the garbage collector what the imports left behind: it would look through all of it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1000)


def pytest_unconfigure():
    """Give it back, or extension modules complain at exit about what was not freed."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Let every test draw the same numbers, in whatever order, selection and process the tests run.

    What a test module draws while it is imported comes before: build networks inside tests or with given weights.
    """
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  (the global generator is what is meant)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(SEED)


@pytest.fixture
def x64():
    """Run a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile fast: most of a small test's time is XLA's; what is compared does not depend on how well it optimises.

    What was compiled so is forgotten: of other tests some compare bits with those of another process.
    """
    from linearize.engine.execute import compiled  # after the hook

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    compiled.cache_clear()
    jax.clear_caches()


@pytest.fixture
def without_neural_tangents(monkeypatch):
    """As if the optional package were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "neural_tangents" else find(name))

"""Strict numerics, repeatable randomness and shared small cases."""

import random
import signal
import sys
from pathlib import Path

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
    """Compile fast: most of a small test's time is XLA's; what is compared does not depend on how well it optimises."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)

import jax
import pytest


@pytest.fixture(autouse=True)
def _strict_broadcasting():
    """Implicit rank promotion is an error in this package."""
    with jax.numpy_rank_promotion("raise"):
        yield

"""Cases of a test that are left to ``-m long``."""

import pytest


def some_long(*cases):
    """Mark cases, values or tuples of them, as long."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]

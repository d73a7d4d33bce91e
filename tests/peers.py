"""Tests that compare with packages of ``peers.txt`` run where these are installed, as the README's command does."""

import importlib.util

import pytest

needs_neural_tangents = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="tests/peers.txt is not installed"
)

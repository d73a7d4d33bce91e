"""The examples in the docstrings of the public functions run as they are printed."""

import doctest
import importlib

import pytest

import migrator

PUBLIC = ["migrate", "verify", "save", "load", "to_state_dict", "to_source"]


@pytest.mark.parametrize("name", PUBLIC)
def test_example(name):
    function = getattr(migrator, name)
    home = importlib.import_module(function.__module__)
    (example,) = doctest.DocTestFinder().find(function, name, globs=vars(home).copy())
    assert len(example.examples) > 4
    assert doctest.DocTestRunner().run(example).failed == 0

"""What holds for all tests."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# A busy machine must not fail a test, nor chance.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the marks of each test into the results, where `.ci/run` looks whether there are tests of every mark."""
    for item in items:
        item.user_properties.extend(("mark", mark.name) for mark in item.iter_markers())


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, not at the million objects of the collection each time."""
    gc.collect()
    gc.freeze()

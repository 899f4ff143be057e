"""What holds for all tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, not at the million objects of the collection each time."""
    gc.collect()
    gc.freeze()

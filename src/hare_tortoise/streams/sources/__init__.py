"""Sources: where the data come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hare_tortoise.streams.names import find
from hare_tortoise.streams.source import Source

from .digits import digits as digits

SOURCES: dict[str, Callable[..., Source]] = {"digits": digits}


def load_source(name: str, *, root: Path | str | None = None, **settings: Any) -> Source:
    """A source by name.

    Example:
        >>> load_source("digits").outputs
        10
    """
    return find(name, SOURCES, "source")(root=None if root is None else Path(root), **settings)

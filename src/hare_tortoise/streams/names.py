"""Looking things up by name, with the nearest names in the error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def kebab(name: str) -> str:
    """The name as it is written: lower case, `-` between the words."""
    return name.strip().lower().replace("_", "-")


def find(name: str, known: Mapping[str, T], what: str, *, also: str = "") -> T:
    """The entry of `known` called `name`; underscores and capitals are accepted.

    Args:
        name: what the user wrote.
        known: the entries by kebab name.
        what: what they are, for the error.
        also: what else would have been accepted, for the error.

    Raises:
        ValueError: there is none of this name. The nearest ones are in the message.

    Example:
        >>> find("Warm_Start", {"warm-start": 1, "growing": 2}, "scenario")
        1
    """
    key = kebab(name)
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}: {hint}There are {', '.join(sorted(known))}{also}")

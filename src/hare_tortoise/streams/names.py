"""Looking things up by name, with the nearest names in the error."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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


def call(what: str, name: str, function: Callable[..., T], *given: Any, **settings: Any) -> T:
    """`function(*given, **settings)`, where settings it does not have are the user's error.

    Args:
        what: what `function` is, for the error.
        name: what the user calls it, for the error.
        function: what to call.
        given: what we pass.
        settings: what the user wrote.

    Raises:
        ValueError: there is no such setting, or one that is needed is missing.

    Example:
        >>> call("scenario", "half", lambda whole, *, share=0.5: whole * share, 10, share=0.1)
        1.0
    """
    parameters = list(inspect.signature(function).parameters.values())[len(given) :]
    known = {each.name: each for each in parameters}
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            listed = ", ".join(known) or "none"
            raise ValueError(f"{what} {name} has no setting {setting!r}: {hint}There are {listed}")
    missing = [
        each
        for each, kind in known.items()
        if kind.default is inspect.Parameter.empty and each not in settings
    ]
    if missing:
        raise ValueError(f"{what} {name} needs {', '.join(missing)}: write {name}({missing[0]}=…)")
    return function(*given, **settings)

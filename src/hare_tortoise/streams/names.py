"""Looking things up by name, with the nearest names in the error."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
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
    raise unknown(what, name, known, also=also)


def unknown(what: str, name: str, known: Iterable[str], *, also: str = "") -> ValueError:
    """The error for a name that is not known, with those nearest to it.

    Args:
        what: what was named, for the error.
        name: what the user wrote.
        known: what there is.
        also: what else would have been accepted.

    Example:
        >>> print(unknown("method", "hair-tortoise", ["ema", "hare-tortoise"]))
        unknown method 'hair-tortoise'; did you mean 'hare-tortoise'? There are: ema, hare-tortoise
    """
    known = sorted(known)
    near = difflib.get_close_matches(kebab(name), known, n=3, cutoff=0.5)
    near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    there = "There" if hint else "there"
    return ValueError(f"unknown {what} {name!r}; {hint}{there} are: {', '.join(known) or 'none'}{also}")


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
            raise unknown(f"setting of {what} {name}", setting, known)
    missing = [
        each
        for each, kind in known.items()
        if kind.default is inspect.Parameter.empty and each not in settings
    ]
    if missing:
        raise ValueError(f"{what} {name} needs {', '.join(missing)}: write {name}({missing[0]}=…)")
    return function(*given, **settings)

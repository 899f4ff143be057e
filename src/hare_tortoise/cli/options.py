"""How options that may be left out are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import tyro


def _optional(metavar: str, expected: str, read: Callable[[str], object]) -> Any:
    def instance(words: list[str]) -> object:
        try:
            return read(words[0])
        except ValueError:
            raise ValueError(f"got {words[0]!r}, expected {expected}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=instance,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def text(metavar: str) -> tuple[Any, Any]:
    """An option that takes any text."""
    return _optional(metavar, "text", str), tyro.conf.arg(help_behavior_hint="")


def whole(metavar: str) -> tuple[Any, Any]:
    """An option that takes a whole number of at least 1."""

    def read(word: str) -> int:
        if (number := int(word)) < 1:
            raise ValueError
        return number

    return _optional(metavar, "a whole number of at least 1", read), tyro.conf.arg(help_behavior_hint="")


def share(metavar: str) -> tuple[Any, Any]:
    """An option that takes a number from 0 to 1."""

    def read(word: str) -> float:
        if not 0 <= (number := float(word)) <= 1:
            raise ValueError
        return number

    return _optional(metavar, "a share from 0 to 1, such as 0.01", read), tyro.conf.arg(help_behavior_hint="")


def number(metavar: str, *, least: float) -> tuple[Any, Any]:
    """An option that takes a finite number of at least `least`."""

    def read(word: str) -> float:
        if not least <= (value := float(word)) < math.inf:
            raise ValueError
        return value

    return _optional(metavar, f"a number of at least {least:g}", read), tyro.conf.arg(help_behavior_hint="")


def settings(written: Sequence[Sequence[str]], taken: Collection[str], example: str) -> dict[str, str]:
    """Read what was given by `--set`: the values by their names.

    Args:
        written: the words of each `--set`.
        taken: names that were given by options of their own.
        example: of a value, for the message.

    Raises:
        ValueError: One of them is no `name=value`, or is given twice, be it by an option of its own.

    Example:
        >>> settings([["epochs=20", "clip-norm=None"]], (), "epochs=20")
        {'epochs': '20', 'clip_norm': 'None'}
    """
    found: dict[str, str] = {}
    for text in (text for group in written for text in group or ("",)):
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not (equals and name and value):
            raise ValueError(f"--set {text!r}: expected name=value, as in --set {example}")
        if name in found or name in taken:
            raise ValueError(f"--set {text!r}: {name} is given twice")
        found[name] = value
    return found


def folder(metavar: str) -> tuple[Any, Any]:
    """An option that takes the path of a folder."""
    return _optional(metavar, "a path", Path), tyro.conf.arg(help_behavior_hint="")

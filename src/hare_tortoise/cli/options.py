"""How options that may be left out are read."""

from __future__ import annotations

from collections.abc import Callable
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


def folder(metavar: str) -> tuple[Any, Any]:
    """An option that takes the path of a folder."""
    return _optional(metavar, "a path", Path), tyro.conf.arg(help_behavior_hint="")

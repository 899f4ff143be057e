"""Functions that Python runs, also inside a compiled network."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def untraced(function: Function) -> Function:
    """Keep `torch.compile` out of a function and of what it calls.

    As `torch.compiler.disable`, which loads the compiler at once and gives what cannot be pickled: hooks are saved
    along with a module.

    >>> untraced(max)(1, 2)
    2
    """
    disabled: list[Any] = []

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # The compiler's own switch takes longer than most of what is done here: it is used where it is needed only.
        if not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*args, **kwargs)

    return run  # type: ignore[return-value]

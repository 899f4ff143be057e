"""Nested states (of optimizers, methods, generators) as named tensors and a JSON value, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def split(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Split a nested state into its tensors and a JSON value that refers to them by name.

    Containers are dicts (keys: strings or integers), lists and tuples; leaves are tensors, numbers, strings,
    bools and None. A tensor that stands in several places is stored once. Kernels that lie with their channels last
    do so again when they come back: in another order the same sums are rounded in another way.

    Example:
        >>> tensors, rest = split({"step": 3, "moments": [torch.zeros(2)]})
        >>> list(tensors), join(tensors, rest)["step"]
        (['moments.0'], 3)
        >>> join(tensors, rest)
        {'step': 3, 'moments': [tensor([0., 0.])]}

    Raises:
        TypeError: A leaf is none of these.
    """
    tensors: dict[str, Tensor] = {}
    names: dict[int, str] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            if id(value) not in names:
                names[id(value)] = name = path if path not in tensors else f"{path}#{len(tensors)}"
                # a copy: views of one storage (tied or sliced tensors) are refused by safetensors
                tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"channels last" if _channels_last(value) else "tensor": names[id(value)]}
        if isinstance(value, dict):
            return {"dict": [[_key(k), walk(v, f"{path}.{k}" if path else str(k))] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [walk(v, f"{path}.{i}" if path else str(i)) for i, v in enumerate(value)]}
        if isinstance(value, float):
            return {"float": value.hex()}  # exact, and JSON has no infinity
        if value is None or isinstance(value, bool | int | str):
            return value
        raise TypeError(
            f"state at {path!r} is a {type(value).__name__}, which JSON and safetensors do not hold"
        )

    return tensors, walk(state, "")


def join(tensors: dict[str, Tensor], rest: Any) -> Any:
    """Put together what `split` took apart."""
    if not isinstance(rest, dict):
        return rest
    ((kind, value),) = rest.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "channels last":
        return tensors[value].to(memory_format=torch.channels_last)
    if kind == "float":
        return float.fromhex(value)
    if kind == "dict":
        return {key: join(tensors, item) for key, item in value}
    items = [join(tensors, item) for item in value]
    return tuple(items) if kind == "tuple" else items


def _channels_last(tensor: Tensor) -> bool:
    return (
        tensor.dim() == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def _key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"key {key!r} of a state is a {type(key).__name__}, expected a string or an integer")
    return key

"""Where the dimension of the units is after a change of shape."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .unit_marks import Followed
    from .unit_tracing import Call

Place = tuple[int, int]


def reshaped(call: Call, mark: Followed) -> Place | None:
    """After view, reshape, flatten, squeeze …: the dimension before which as many entries lie as before.

    It may have taken up dimensions behind it (more entries per unit) or given them back.
    """
    before, after = call.shape, tuple(call.result.shape)
    if prod(before) != prod(after):
        return None
    width, ahead = before[mark.dim], prod(before[: mark.dim])
    units = width // mark.repeat
    if mark.dim < len(after) and before[: mark.dim + 1] == after[: mark.dim + 1]:
        return mark.dim, mark.repeat
    for dim, size in enumerate(after):
        if prod(after[:dim]) == ahead and size % units == 0 and size > 1:
            return dim, size // units
    return None


def moved(call: Call, mark: Followed) -> Place | None:
    """After permute, transpose and the like."""
    count = len(call.shape)
    order = list(range(count))
    if call.name == "permute":
        order = [dim % count for dim in _numbers(call.args[1:] or call.kwargs.get("dims", ()))]
    elif call.name in ("transpose", "swapaxes", "swapdims"):
        first, second = _numbers((*call.args[1:], *(call.kwargs[k] for k in call.kwargs if k != "input")))
        order[first], order[second] = order[second], order[first]
    elif call.name in ("movedim", "moveaxis"):
        source, target = (_numbers((value,)) for value in (call.get(1, "source"), call.get(2, "destination")))
        rest = [dim for dim in order if dim not in {value % count for value in source}]
        for place, dim in sorted(zip((v % count for v in target), (v % count for v in source), strict=True)):
            rest.insert(place, dim)
        order = rest
    elif call.name in ("mT", "mH"):
        order[-2:] = order[:-3:-1]
    else:
        order.reverse()
    return order.index(mark.dim), mark.repeat


def reduced(call: Call, mark: Followed) -> Place | None:
    """After mean, sum, max …, of other dimensions than the units'."""
    count = len(call.shape)
    given = call.get(1, "dim", call.kwargs.get("axis"))
    if given is None or isinstance(given, Tensor) or given == ():
        return None
    dims = {dim % count for dim in _numbers((given,))}
    if mark.dim in dims:
        return None
    # `max` gives indices beside the values.
    result = call.result if isinstance(call.result, Tensor) else call.result[0]
    kept = result.ndim == count
    return mark.dim - (0 if kept else sum(dim < mark.dim for dim in dims)), mark.repeat


def padded(call: Call, mark: Followed) -> Place | None:
    """After padding other dimensions than the units'."""
    return (mark.dim, mark.repeat) if call.result.shape[mark.dim] == call.shape[mark.dim] else None


def indexed(call: Call, mark: Followed) -> Place | None:
    """After indexing other dimensions by numbers, slices and at most one tensor or list."""
    count = len(call.shape)
    if call.name != "getitem":
        dim = int(call.get(1, "dim")) % count
        return (
            None if dim == mark.dim else (mark.dim - (call.name == "select" and dim < mark.dim), mark.repeat)
        )
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    used = sum(_taken(item) for item in index)
    wide = [
        part for item in index for part in ([slice(None)] * (count - used) if item is Ellipsis else [item])
    ]
    if not any(item is Ellipsis for item in index):
        wide += [slice(None)] * (count - used)
    if sum(isinstance(item, Tensor | list) for item in wide) > 1:
        return None
    dim, place = 0, 0
    for item in wide:
        if dim == mark.dim and item is not None:
            return (place, mark.repeat) if isinstance(item, slice) and item == slice(None) else None
        taken, given = _taken(item), _given(item)
        if dim < mark.dim < dim + taken:
            return None
        dim, place = dim + taken, place + given
    return None


def _taken(item: Any) -> int:
    """How many dimensions an index takes up."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype is torch.bool else 1


def _given(item: Any) -> int:
    """How many dimensions an index leaves."""
    if isinstance(item, Tensor):
        return 1 if item.dtype is torch.bool else item.ndim
    return 0 if isinstance(item, int) else 1


def _numbers(values: Any) -> list[int]:
    found: list[int] = []
    for value in values:
        found += _numbers(value) if isinstance(value, tuple | list) else [int(value)]
    return found

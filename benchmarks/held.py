"""What a method keeps in memory: the tensors that are reached from it, and not from the network alone."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

_NO_DATA = (str, bytes, int, float, type, types.FunctionType, types.MethodType, types.ModuleType)


def held_bytes(thing: object, without: Sequence[object] = ()) -> int:
    """Count the bytes of the tensors reached from a thing, without those that are reached from others.

    Attributes, dictionaries, lists, tuples and sets are followed; closures and weak references are not. Each storage
    counts once, and whole.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> method = types.SimpleNamespace(model=model, before=[model.weight.detach().clone()])
    >>> held_bytes(method, without=[model])
    16
    """
    known = set(_storages(without))
    return sum(size for place, size in _storages([thing]).items() if place not in known)


def _storages(things: Iterable[object]) -> dict[int, int]:
    """Place and size of each storage that is reached."""
    seen: set[int] = set()
    found = {}
    # What was seen is kept alive, lest another object get its number.
    waiting, alive = list(things), []
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _NO_DATA):
            continue
        seen.add(id(thing))
        alive.append(thing)
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            waiting.append(thing.grad if thing.is_leaf else None)
        else:
            waiting.extend(_parts(thing))
    return found


def _parts(thing: object) -> Iterator[object]:
    """What a container or an object holds."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    yield from getattr(thing, "__dict__", {}).values()

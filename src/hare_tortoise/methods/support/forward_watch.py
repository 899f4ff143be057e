"""Being told when a forward of a network in training begins and ends."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from .names import unwrap
from .untraced import untraced

# Hooks are copied and saved along with the model, so that they know what they belong to by a number only.
_WATCHES: weakref.WeakValueDictionary[int, ForwardWatch] = weakref.WeakValueDictionary()
_FIRST: weakref.WeakValueDictionary[int, FirstForward] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


class _Paused(threading.local):
    now = False


_PAUSED = _Paused()


@contextmanager
def paused() -> Iterator[None]:
    """Tell nobody anything: a network runs for other reasons than to learn, perhaps right inside of a forward."""
    before, _PAUSED.now = _PAUSED.now, True
    try:
        yield
    finally:
        _PAUSED.now = before


def is_paused() -> bool:
    """Whether nobody is to be told of what a network does at the moment."""
    return _PAUSED.now


class Watcher(Protocol):
    """What is told of forwards."""

    def forward_begins(self, args: Any, kwargs: Any) -> None:
        """A forward in training mode and with gradients begins on these inputs."""

    def forward_ends(self) -> None:
        """A forward has ended, whatever its mode, also by an exception."""


class ForwardWatch:
    """Hooks on a model, and on no copy of it, that hold what they tell weakly.

    Args:
        model: the very module that is called, wrapped or not.
        watcher: what is told.
    """

    def __init__(self, model: nn.Module, watcher: Watcher) -> None:
        self.model = model
        self.watcher = weakref.ref(watcher)
        number = next(_NUMBERS)
        _WATCHES[number] = self
        # First of all: before FSDP2 gathers weights, and before other hooks change the inputs.
        begins = model.register_forward_pre_hook(partial(_begins, number), prepend=True, with_kwargs=True)
        ends = model.register_forward_hook(partial(_ends, number), always_call=True)
        self._handles = (begins, ends)

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()


class FirstForward:
    """Calls a method of a method once, at the first forward of a model, and of no copy of it.

    Who builds it holds it: with it goes the hook.

    Args:
        model: the very module that is called, wrapped or not.
        look: a bound method that is given the positional and the keyword arguments of the forward; held weakly.
        in_training: whether forwards in eval mode do not count.
    """

    def __init__(
        self, model: nn.Module, look: Callable[[Any, Any], None], *, in_training: bool = False
    ) -> None:
        self.model = model
        self.look = weakref.WeakMethod(look)
        self.in_training = in_training
        number = next(_NUMBERS)
        _FIRST[number] = self
        handle = model.register_forward_pre_hook(partial(_first, number), prepend=True, with_kwargs=True)
        self.remove = weakref.finalize(self, handle.remove)
        """Take the hook away."""


@untraced
def _first(number: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    waiting = _FIRST.get(number)
    if waiting is None or waiting.model is not module or is_paused():
        return
    if waiting.in_training and not unwrap(module).training:
        return
    waiting.remove()
    look = waiting.look()
    if look is not None:
        # It may well run the network.
        with paused():
            look(args, kwargs)


@untraced
def _begins(number: int, module: nn.Module, args: Any, kwargs: Any) -> None:
    watch = _WATCHES.get(number)
    if (
        watch is None
        or watch.model is not module
        or not unwrap(module).training
        or not torch.is_grad_enabled()
    ):
        return
    watcher = watch.watcher()
    if watcher is not None:
        watcher.forward_begins(args, kwargs)


@untraced
def _ends(number: int, module: nn.Module, _args: Any, _result: Any) -> None:
    watch = _WATCHES.get(number)
    watcher = None if watch is None or watch.model is not module else watch.watcher()
    if watcher is not None and not is_paused():
        watcher.forward_ends()

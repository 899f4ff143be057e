"""The data of a probe: the same pairs in the same order each time, or an error."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from hare_tortoise.methods.support.randomness import seeded

Pair = tuple[Tensor, Tensor]
# Samples per forward of a pair of tensors: the activations of all layers are in memory at once.
_ROWS = 256


class Data:
    """Pairs of inputs and targets that are read anew each time, and must be the same in every bit.

    Args:
        source: inputs and targets, or something that can be iterated again and again and gives pairs of them.

    `example` are the first samples, eight where there are as many, in pairs too.

    Raises:
        ValueError: it can be iterated only once, shuffles, gives other pairs the second time, is empty, or holds
            something else than pairs of tensors.
    """

    def __init__(self, source: Pair | Iterable[Pair]) -> None:
        self.pair = _as_pair(source)
        self.source: Iterable[Pair] = [] if self.pair else source  # type: ignore[assignment]
        if self.pair is None:
            _refuse_shuffling(source)
        self.passes = 0
        first = list(self._pass())
        self.digest = _digest(first)
        self.example = _first(first, 8)
        if self.pair is None:
            self.batches()

    def batches(self) -> list[Pair]:
        """The pairs, read anew.

        Raises:
            ValueError: they are others than at the first reading, or come in another order.
        """
        batches = list(self._pass())
        if self.pair is None and _digest(batches) != self.digest:
            raise ValueError(
                "data gave other pairs, or another order, than at the first reading; expected the same each time: turn "
                "off shuffling and augmentation, or give a fixed pair (inputs, targets)"
            )
        return batches

    def _pass(self) -> Iterator[Pair]:
        if self.pair is not None:
            for start in range(0, len(self.pair[0]), _ROWS):
                yield self.pair[0][start : start + _ROWS], self.pair[1][start : start + _ROWS]
            return
        # Other seeds each time, so that what shuffles by the global generators is seen.
        with seeded(self.passes):
            self.passes += 1
            items = list(self.source)
        if not items:
            raise ValueError("data gave no pairs, expected at least one pair (inputs, targets)")
        for item in items:
            pair = _as_pair(item)
            if pair is None:
                raise ValueError(
                    f"data gave a {type(item).__name__}, expected pairs of tensors (inputs, targets)"
                )
            yield pair


def _first(batches: Sequence[Pair], samples: int) -> list[Pair]:
    found: list[Pair] = []
    for inputs, targets in batches:
        left = samples - sum(len(part) for part, _ in found)
        if left <= 0:
            break
        found.append((inputs[:left], targets[:left]))
    return found


def _as_pair(source: Any) -> Pair | None:
    if not (
        isinstance(source, list | tuple) and len(source) == 2 and all(isinstance(x, Tensor) for x in source)
    ):
        return None
    inputs, targets = source
    if not (inputs.ndim and targets.ndim) or len(inputs) != len(targets) or not len(inputs):
        raise ValueError(
            f"inputs and targets have shapes {tuple(inputs.shape)} and {tuple(targets.shape)}, expected the same "
            "number of samples, at least one"
        )
    return inputs.detach(), targets.detach()


def _refuse_shuffling(source: Any) -> None:
    if isinstance(source, Iterator) or not isinstance(source, Iterable):
        raise ValueError(
            f"data is a {type(source).__name__}, expected a pair (inputs, targets), or an iterable of pairs that can "
            "be read again: a list, or a DataLoader without shuffling"
        )
    sampler = getattr(source, "sampler", None)
    if isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler):
        raise ValueError(
            f"data is a {type(source).__name__} that shuffles ({type(sampler).__name__}), expected the same pairs each "
            "time: build it with shuffle=False"
        )


def digest_of_inputs(batches: Iterable[Pair]) -> Tensor:
    """Tell inputs from others by a few bytes, as a tensor of them on the CPU; in what parts they come is one."""
    digest = hashlib.blake2b(digest_size=16)
    for inputs, _ in batches:
        digest.update(_bytes(inputs))
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _digest(batches: Iterable[Pair]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for batch in batches:
        for tensor in batch:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    # Without NumPy, which torch does not need, this is how to read the bytes of a tensor.
    return bytes((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()))

"""The idx format of the MNIST files."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from hare_tortoise.streams.files import corrupt, read_bytes

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes, gzipped or not.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as
    four bytes (the highest first), then the values.

    Args:
        path: the file.

    Returns:
        uint8, of the shape that the file says.

    Raises:
        ValueError: the file is no such file, or shorter or longer than it says.
    """
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        raise corrupt(path, f"it starts with {content[:4]!r}, so it is no idx file")
    if content[2] != UNSIGNED_BYTE:
        raise corrupt(
            path, f"its values are of the idx type {content[2]:#04x}, expected unsigned bytes (0x08)"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise corrupt(path, "it ends within its header")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise corrupt(path, f"it has {len(content) - start} values, its header says {shape}")
    if math.prod(shape) == 0:
        raise corrupt(path, f"it is empty, its header says {shape}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)

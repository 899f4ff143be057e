"""The images of a folder as a data set: decoded when they are asked for."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from hare_tortoise.streams.files import corrupt
from hare_tortoise.streams.folder import Paths

Size = tuple[int, int]


def _decode(path: Path, size: Size | None, mode: str) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise corrupt(path, f"its pixels are of the kind {opened.mode!r}, expected 8 bits a channel")
            image = (
                opened.convert("RGBA").convert(mode)
                if "transparency" in opened.info
                else opened.convert(mode)
            )
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise corrupt(path, error) from error
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files with their classes; of each only its path is held.

    Args:
        paths: the files, at least one.
        labels: (N,) int64, the class of each.
        size: height and width to resize to (bilinear, without regard to the ratio of the sides). None: all have
            the size of the first.
        grey: one channel instead of red, green and blue.

    Raises:
        ValueError: the first file is broken; when read: a file is broken, or has another size and `size` is None.
    """

    def __init__(self, paths: Paths, labels: Tensor, *, size: Size | None = None, grey: bool = False) -> None:
        self.paths = paths
        self.labels = labels
        self.size = size
        self.mode = "L" if grey else "RGB"
        self.shape = tuple(_decode(self.paths[0], size, self.mode).shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """The image (channels, height, width) in uint8, and its class."""
        path = self.paths[row]
        image = _decode(path, self.size, self.mode)
        if tuple(image.shape) != self.shape:
            raise ValueError(
                f"{path} has {image.shape[1]} x {image.shape[2]} pixels, {self.paths[0]} has {self.shape[1]} x "
                f"{self.shape[2]}: give size= to resize them all, for instance size=64"
            )
        return image, int(self.labels[row])

    @property
    def bytes(self) -> int:
        """What all images take when they are decoded."""
        channels, height, width = self.shape
        return len(self) * channels * height * width

    def decoded(self) -> Tensor:
        """All images as one tensor, (N, channels, height, width) uint8."""
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)
        for row in range(len(self)):
            images[row] = self[row][0]
        return images

    def digest(self) -> str:
        """sha256 over names, sizes in bytes and classes of the files and over how they are decoded, in hexadecimal.

        The content is not read: a file that is replaced by another of the same size goes unnoticed.
        """
        value = hashlib.sha256(f"{self.shape} {self.size} {self.mode} ".encode())
        value.update(self.paths.block)
        value.update(array("q", (self.paths[row].stat().st_size for row in range(len(self)))).tobytes())
        value.update(self.labels.numpy().tobytes())
        return value.hexdigest()

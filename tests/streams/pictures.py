"""Folders of small images that differ from each other in every pixel."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Noise of (width, height), on whose mean the seed has a say."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 40 + seed % 200, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def write_pictures(
    top: Path, *, train: int = 30, test: int = 8, classes: int = 3, ending: str = "jpg"
) -> Path:
    """A folder of images with the classes going round; names count down, so that they are in no class's order."""
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            folder = top / split / f"kind{number % classes}"
            folder.mkdir(parents=True, exist_ok=True)
            picture(1000 * (split == "test") + number).save(folder / f"{999 - number:03}.{ending}")
    return top

"""What lies in a folder of images: one folder per class, listed without holding an object for each file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LAYOUT = "expected train/<class>/<image> and val/<class>/<image> (or test/…)"
Labelled = Iterable[tuple[Path, str]]


def labelled_images(folder: Path) -> Iterator[tuple[Path, str]]:
    """The images below each folder of `folder`, with its name as the class; sorted.

    Args:
        folder: holds one folder per class; an image may lie deeper in it. Hidden files are left out.

    Returns:
        Pairs (path, class).

    Raises:
        ValueError: there is no folder in it, or one of them holds no image.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no folders of classes: {LAYOUT}")
    for each in classes:
        images = sorted(path for path in each.rglob("*") if path.suffix.lower() in SUFFIXES)
        images = [path for path in images if path.is_file() and not path.name.startswith(".")]
        if not images:
            raise ValueError(f"{each} holds no image ({', '.join(sorted(SUFFIXES))}): fill or remove it")
        for path in images:
            yield path, each.name


class Paths:
    """Many paths below one folder, in one block of bytes.

    A list of a million Python objects would be copied by each process that only reads it, page by page, as counting
    references writes to them; a block of bytes is shared.

    Args:
        folder: what the paths are relative to.
        paths: each below `folder`.

    Example:
        >>> paths = Paths(Path("pets"), [Path("pets/cat/1.png"), Path("pets/dog/2.png")])
        >>> len(paths), paths.name(1), paths[1] == Path("pets/dog/2.png")
        (2, 'dog/2.png', True)
    """

    def __init__(self, folder: Path, paths: Iterable[Path]) -> None:
        block, ends = bytearray(), array("q", [0])
        for path in paths:
            block += os.fsencode(path.relative_to(folder).as_posix())
            ends.append(len(block))
        self.folder = folder
        self.block = bytes(block)
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    def name(self, row: int) -> str:
        """Path `row`, relative to the folder, with `/` between its parts."""
        return os.fsdecode(self.block[self._ends[row] : self._ends[row + 1]])

    def __getitem__(self, row: int) -> Path:
        return self.folder / self.name(row)

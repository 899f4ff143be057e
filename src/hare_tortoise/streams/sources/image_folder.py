"""Images in one folder per class: the user's own, and Tiny-ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hare_tortoise.streams.files import WHERE, corrupt, data_root, possible_places
from hare_tortoise.streams.prepare import Normalise
from hare_tortoise.streams.source import Source

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LAYOUT = "expected train/<class>/<image> and val/<class>/<image> (or test/…)"
Labelled = list[tuple[Path, str]]


def labelled_images(folder: Path) -> Labelled:
    """The images below each folder of `folder`, with its name as the class; sorted.

    Args:
        folder: holds one folder per class; an image may lie deeper in it. Hidden files are left out.

    Returns:
        Pairs (path, class).

    Raises:
        ValueError: there is no folder in it, or one of them holds no image.
    """
    found: Labelled = []
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{folder} has no folders of classes: {LAYOUT}")
    for each in classes:
        images = sorted(path for path in each.rglob("*") if path.suffix.lower() in SUFFIXES)
        images = [path for path in images if path.is_file() and not path.name.startswith(".")]
        if not images:
            raise ValueError(f"{each} holds no image ({', '.join(sorted(SUFFIXES))}): fill or remove it")
        found += [(path, each.name) for path in images]
    return found


def _decode(path: Path, size: tuple[int, int] | None, mode: str) -> Tensor:
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


def decode(paths: Sequence[Path], size: tuple[int, int] | None, *, grey: bool = False) -> Tensor:
    """Images as one tensor.

    Args:
        paths: the files, at least one.
        size: height and width to resize to (bilinear). None: all must have one size already.
        grey: one channel instead of red, green and blue.

    Returns:
        (N, channels, height, width) uint8.

    Raises:
        ValueError: a file is broken, or sizes differ and `size` is None.
    """
    mode = "L" if grey else "RGB"
    first = _decode(paths[0], size, mode)
    images = torch.empty((len(paths), *first.shape), dtype=torch.uint8)
    for index, path in enumerate(paths):
        image = _decode(path, size, mode)
        if image.shape != first.shape:
            raise ValueError(
                f"{path} has {image.shape[1]} x {image.shape[2]} pixels, {paths[0]} has {first.shape[1]} x "
                f"{first.shape[2]}: give size= to resize them all, for instance size=64"
            )
        images[index] = image
    return images


def _height_and_width(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(side, int) and side >= 1 for side in both):
        raise ValueError(f"size is {size!r}: give the side in pixels, or (height, width)")
    return both[0], both[1]


def source_of_images(
    name: str, train: Labelled, test: Labelled, size: int | Sequence[int] | None, *, grey: bool = False
) -> Source:
    """A source from lists of image files; classes are numbered in the order of their names in train.

    Raises:
        ValueError: a class occurs in test alone, or a file is broken.
    """
    classes = {each: number for number, each in enumerate(sorted({label for _, label in train}))}
    for path, label in test:
        if label not in classes:
            raise ValueError(
                f"{path} is of the class {label!r}, which train does not have: add it, or remove this"
            )
    side = _height_and_width(size)
    images = decode([path for path, _ in train + test], side, grey=grey)
    targets = torch.tensor([classes[label] for _, label in train + test])
    count = len(train)
    return Source(
        name=name,
        train_inputs=images[:count],
        train_targets=targets[:count],
        test_inputs=images[count:],
        test_targets=targets[count:],
        outputs=len(classes),
        input_shape=tuple(images.shape[1:]),
        prepare=Normalise.of(images[:count]),
    )


def image_folder(
    *,
    path: Path | str,
    size: int | Sequence[int] | None = None,
    grey: bool = False,
    root: Path | None = None,
) -> Source:
    """Your own images: train/<class>/ and val/<class>/ (or test/<class>/) with one folder per class.

    Args:
        path: the folder that holds `train` and `val` or `test`; relative to where you are, else to `root`.
        size: side in pixels to resize to, or (height, width). None: all images have one size already.
        grey: one channel instead of red, green and blue.
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.

    Returns:
        The source; images (channels, height, width) in uint8, normalised per channel by the statistics of
        train. With both `val` and `test`, `test` is what is judged on and `val` is not read.

    Raises:
        ValueError: a folder is missing, a file is broken, sizes differ and `size` is None.
    """
    places = possible_places(path, root)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ValueError(f"there is no folder {' or '.join(map(str, places))}: {LAYOUT} in it")
    test = next((folder / split for split in ("test", "val") if (folder / split).is_dir()), None)
    if test is None or not (folder / "train").is_dir():
        raise ValueError(f"{folder} has no train/ and val/ or test/: {LAYOUT}")
    return source_of_images(
        folder.resolve().name, labelled_images(folder / "train"), labelled_images(test), size, grey=grey
    )


def _annotated(folder: Path) -> Labelled:
    """Tiny-ImageNet's val as it is distributed: one folder of images and a table of their classes."""
    table = folder / "val_annotations.txt"
    found: Labelled = []
    for number, line in enumerate(table.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        parts = line.split("\t")
        if len(parts) < 2 or not (folder / "images" / parts[0]).is_file():
            raise corrupt(table, f"line {number} names no image and class: {line!r}")
        found.append((folder / "images" / parts[0], parts[1]))
    return sorted(found)


def tiny_imagenet(*, root: Path | None = None, size: int = 64) -> Source:
    """100,000 photographs of 64 x 64 pixels in 200 classes, 10,000 to test on; read from tiny-imagenet-200/.

    `val` may be as it is distributed (`val/images` and `val_annotations.txt`) or in one folder per class. A part of
    it is another data set: give it as a folder of images.

    Args:
        root: the folder that holds it; None: HARE_TORTOISE_DATA, else the user's cache folder.
        size: side in pixels to resize to.

    Returns:
        The source; images (3, size, size) in uint8, normalised per channel by the statistics of train.

    Raises:
        ValueError: it is not there (it is not downloaded: 118,000 files), or a file is broken.

    Reference:
        Le & Yang, "Tiny ImageNet Visual Recognition Challenge", 2015.
    """
    folder = data_root(root) / "tiny-imagenet-200"
    if not (folder / "train").is_dir() or not (folder / "val").is_dir():
        raise ValueError(
            f"tiny-imagenet is not in {folder.parent}: unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip "
            f"there, so that {folder / 'train'} and {folder / 'val'} exist, or {WHERE}; a part of it in a folder "
            "of another name is read by image-folder(path='…')"
        )
    annotated = (folder / "val" / "val_annotations.txt").is_file() and (folder / "val" / "images").is_dir()
    test = _annotated(folder / "val") if annotated else labelled_images(folder / "val")
    return source_of_images(folder.name, labelled_images(folder / "train"), test, size)

"""Images in one folder per class: the user's own, and Tiny-ImageNet."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Examples, TensorExamples
from hare_tortoise.streams.files import WHERE, corrupt, data_root, possible_places
from hare_tortoise.streams.folder import LAYOUT, Labelled, Paths, labelled_images
from hare_tortoise.streams.folder_images import ImageFiles
from hare_tortoise.streams.folder_times import times_of
from hare_tortoise.streams.loader import LoaderExamples
from hare_tortoise.streams.loader_source import LoaderSource
from hare_tortoise.streams.prepare import Normalise
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source

# the same on every machine, as what is in memory has another digest
IN_MEMORY_BYTES = 2 * 2**30
STATISTICS_IMAGES = 5000


def _height_and_width(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(side, int) and side >= 1 for side in both):
        raise ValueError(f"size is {size!r}: give the side in pixels, or (height, width)")
    return both[0], both[1]


def _sampled(count: int) -> Tensor:
    order = torch.randperm(count, generator=derived_generator(0, "statistics"))
    return order[:STATISTICS_IMAGES].sort().values


def _normalise(examples: Examples) -> Normalise:
    """The mean and standard deviation of uint8 images per channel, exact.

    Pixels are counted by their values, in whole numbers, so that the size of batches leaves no trace.
    """
    counts = torch.zeros((), dtype=torch.int64)
    for images, _ in examples.batches(64):
        counts = counts + torch.stack(
            [pixels.flatten().bincount(minlength=256) for pixels in images.unbind(1)]
        )
    means, stds = [], []
    for channel in counts.tolist():
        total = sum(channel)
        first = sum(value * times for value, times in enumerate(channel))
        second = sum(value * value * times for value, times in enumerate(channel))
        means.append(first / total)
        stds.append(math.sqrt(total * second - first * first) / total or 1.0)
    return Normalise(tuple(means), tuple(stds))


def source_of_images(
    folder: Path,
    train: Labelled,
    test: Labelled,
    size: int | Sequence[int] | None,
    *,
    grey: bool = False,
    in_memory: bool | None = None,
    workers: int = 2,
    times: str | None = None,
) -> Source:
    """A source from image files below `folder`; classes are numbered in the order of their names in train.

    Raises:
        ValueError: a class occurs in test alone, a file is broken, or a setting lies outside its range.
    """
    side = _height_and_width(size)
    _check_reading(workers, in_memory)
    classes: dict[str, int] = {}
    labels = array("q")
    of_train = 0

    def listed() -> Iterator[Path]:
        nonlocal of_train
        for path, label in train:
            labels.append(classes.setdefault(label, len(classes)))
            yield path
        of_train = len(labels)
        for path, label in test:
            if label not in classes:
                raise ValueError(
                    f"{path} is of the class {label!r}, which train does not have: add it, or remove this"
                )
            labels.append(classes[label])
            yield path

    paths = Paths(folder, listed())
    if len(classes) < 2:
        raise ValueError(
            f"{folder} has images of the class {next(iter(classes))!r} alone: there is nothing to predict; give each "
            "class a folder of its own"
        )
    files = ImageFiles(paths, torch.tensor(labels), size=side, grey=grey)
    train_times = None if times is None else times_of(paths, of_train, times)
    if in_memory or (in_memory is None and files.bytes <= IN_MEMORY_BYTES):
        return _in_memory(folder.name, files, of_train, len(classes), train_times)
    return LoaderSource(
        folder.name,
        files,
        files.labels[:of_train],
        files.labels[of_train:],
        outputs=len(classes),
        input_shape=files.shape,
        content=files.digest(),
        prepare=_normalise(LoaderExamples(files, rows=_sampled(of_train), workers=workers)),
        train_times=train_times,
        workers=workers,
    )


def _check_reading(workers: object, in_memory: object) -> None:
    """See to it that the settings of reading lie in their ranges.

    Raises:
        ValueError: one does not.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise ValueError(f"workers is {workers!r}: give the number of reading processes, 0 or more")
    if in_memory not in (True, False, None):
        raise ValueError(
            f"in_memory is {in_memory!r}: give True, False, or None to go by the size of the images"
        )


def _in_memory(name: str, files: ImageFiles, count: int, outputs: int, train_times: Tensor | None) -> Source:
    images, labels, rows = files.decoded(), files.labels, _sampled(count)
    return Source(
        name=name,
        train_inputs=images[:count],
        train_targets=labels[:count],
        test_inputs=images[count:],
        test_targets=labels[count:],
        outputs=outputs,
        input_shape=files.shape,
        prepare=_normalise(TensorExamples(images, labels[rows], rows=rows)),
        train_times=train_times,
    )


def image_folder(
    *,
    path: Path | str,
    size: int | Sequence[int] | None = None,
    grey: bool = False,
    in_memory: bool | None = None,
    workers: int = 2,
    times: str | None = None,
    root: Path | None = None,
) -> Source:
    """Your own images: train/<class>/ and val/<class>/ (or test/<class>/) with one folder per class.

    Args:
        path: the folder that holds `train` and `val` or `test`; relative to where you are, else to `root`.
        size: side in pixels to resize to, or (height, width); bilinear, without regard to the ratio of the sides.
            None: all images have one size already.
        grey: one channel instead of red, green and blue.
        in_memory: True: decode all images at once and keep them. False: keep their paths, and decode them in each
            pass; the batches are the same, bit for bit. None: in memory if they take 2 GiB or less when decoded.
        workers: processes that decode where images are not in memory, 0 or more.
        times: when each training image came, for scenarios that go by time: "name": in the order of the names of the
            files (folders left out); "modified": of their times of modification; or the path of a csv table with
            the columns name (the path from `path` on) and time (a whole number or an ISO date). None: not known.
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.

    Returns:
        The source; images (channels, height, width) in uint8, normalised per channel by the statistics of
        train (of 5,000 images of it, drawn once and for all, where there are more). With both `val` and `test`,
        `test` is what is judged on and `val` is not read.

    Raises:
        ValueError: a folder is missing, a file is broken (when it is read), sizes differ and `size` is None, or a
            setting lies outside its range.
    """
    places = possible_places(path, root)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ValueError(f"there is no folder {' or '.join(map(str, places))}: {LAYOUT} in it")
    folder = folder.resolve()
    test = next((folder / split for split in ("test", "val") if (folder / split).is_dir()), None)
    lacking = [] if (folder / "train").is_dir() else ["no train/"]
    lacking += ["neither val/ nor test/"] if test is None else []
    if test is None or lacking:
        raise ValueError(f"{folder} has {' and '.join(lacking)}: {LAYOUT}")
    return source_of_images(
        folder,
        labelled_images(folder / "train"),
        labelled_images(test),
        size,
        grey=grey,
        in_memory=in_memory,
        workers=workers,
        times=times,
    )


def _annotated(folder: Path) -> list[tuple[Path, str]]:
    """Tiny-ImageNet's val as it is distributed: one folder of images and a table of their classes."""
    table = folder / "val_annotations.txt"
    found = []
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
        The source; images (3, size, size) in uint8, normalised per channel by the statistics of 5,000 images of
        train. In memory, or read as it is needed, as `image_folder` decides.

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
    return source_of_images(folder, labelled_images(folder / "train"), test, size)

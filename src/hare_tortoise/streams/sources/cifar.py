"""CIFAR-10 and CIFAR-100, from the binary version: rows of labels and 3 x 32 x 32 pixels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from hare_tortoise.streams.files import corrupt, data_root, fetch, read_bytes, read_members
from hare_tortoise.streams.prepare import Normalise
from hare_tortoise.streams.source import Source

CIFAR_URL = "https://www.cs.toronto.edu/~kriz"
PIXELS = 3 * 32 * 32
TEN = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
HUNDRED = {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}


def read_rows(path: Path, content: bytes, labels: int) -> tuple[Tensor, Tensor]:
    """Rows of `labels` bytes and 3,072 pixels (the planes R, G, B), any number of them.

    Args:
        path: where `content` is from, for the error.
        content: the rows.
        labels: bytes of labels at the start of each row.

    Returns:
        images (N, 3, 32, 32) uint8 and labels (N, labels) int64.

    Raises:
        ValueError: there is no row, or the last one is cut off.
    """
    length = labels + PIXELS
    if not content or len(content) % length:
        raise corrupt(path, f"it has {len(content)} bytes, expected one or more rows of {length}")
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, length)
    return rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, :labels].long()


def _contents(
    what: str, root: Path, folder: str, archive: dict[str, str], names: list[str], mirror: str
) -> dict[str, tuple[Path, bytes]]:
    place = root / folder
    if place.is_dir():
        missing = [name for name in names if not (place / name).is_file()]
        if missing:
            raise ValueError(f"{place} lacks {', '.join(missing)}: put them there, or remove the folder")
        return {name: (place / name, read_bytes(place / name)) for name in names}
    file = root / next(iter(archive))
    if not file.is_file():
        fetch(what, root, archive, mirror)
    members = read_members(file, lambda name: name in names)
    missing = [name for name in names if name not in members]
    if missing:
        raise corrupt(file, f"{', '.join(missing)} is not in it")
    return {name: (file / name, members[name]) for name in names}


def _split(
    contents: dict[str, tuple[Path, bytes]], names: list[str], labels: int, column: int, outputs: int
) -> tuple[Tensor, Tensor]:
    images, targets = [], []
    for name in names:
        path, content = contents[name]
        pixels, classes = read_rows(path, content, labels)
        high = int(classes[:, column].max())
        if high >= outputs:
            row = int(classes[:, column].argmax())
            raise corrupt(path, f"row {row} has the label {high}, expected 0 to {outputs - 1}")
        images.append(pixels)
        targets.append(classes[:, column])
    return torch.cat(images), torch.cat(targets)


def _cifar_source(
    name: str,
    contents: dict[str, tuple[Path, bytes]],
    train_names: list[str],
    test_names: list[str],
    labels: int,
    column: int,
    outputs: int,
) -> Source:
    train, train_targets = _split(contents, train_names, labels, column, outputs)
    test, test_targets = _split(contents, test_names, labels, column, outputs)
    return Source(
        name=name,
        train_inputs=train,
        train_targets=train_targets,
        test_inputs=test,
        test_targets=test_targets,
        outputs=outputs,
        input_shape=(3, 32, 32),
        prepare=Normalise.of(train),
    )


def cifar10(*, root: Path | None = None, mirror: str = CIFAR_URL) -> Source:
    """50,000 photographs of 32 x 32 pixels in 10 classes, 10,000 to test on; the binary version.

    Read from `cifar-10-batches-bin/` or else `cifar-10-binary.tar.gz` under `root`, else downloaded. The
    files may hold any number of rows.

    Args:
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.
        mirror: the URL of the folder to download from.

    Returns:
        The source; images (3, 32, 32) in uint8, normalised per channel by the statistics of train.

    Raises:
        ValueError: a file is broken, or missing and cannot be downloaded.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    train, test = [f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"]
    contents = _contents("cifar10", data_root(root), "cifar-10-batches-bin", TEN, train + test, mirror)
    return _cifar_source("cifar10", contents, train, test, labels=1, column=0, outputs=10)


def cifar100(*, root: Path | None = None, coarse: bool = False, mirror: str = CIFAR_URL) -> Source:
    """50,000 photographs of 32 x 32 pixels in 100 classes, 10,000 to test on; the binary version.

    Read from `cifar-100-binary/` or else `cifar-100-binary.tar.gz` under `root`, else downloaded. The files
    may hold any number of rows.

    Args:
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.
        coarse: take the 20 groups of classes as labels.
        mirror: the URL of the folder to download from.

    Returns:
        The source; images (3, 32, 32) in uint8, normalised per channel by the statistics of train.

    Raises:
        ValueError: a file is broken, or missing and cannot be downloaded.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    train, test = ["train.bin"], ["test.bin"]
    contents = _contents("cifar100", data_root(root), "cifar-100-binary", HUNDRED, train + test, mirror)
    column, outputs = (0, 20) if coarse else (1, 100)
    return _cifar_source("cifar100", contents, train, test, labels=2, column=column, outputs=outputs)

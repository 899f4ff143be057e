"""MNIST and Fashion-MNIST, from their idx files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from hare_tortoise.streams.files import corrupt, data_root, fetch
from hare_tortoise.streams.idx import read_idx
from hare_tortoise.streams.prepare import Normalise
from hare_tortoise.streams.source import Source

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
MNIST_FILES = {
    f"{TRAIN_IMAGES}.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    f"{TRAIN_LABELS}.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    f"{TEST_IMAGES}.gz": "9fb629c4189551a2d022fa330f9573f3",
    f"{TEST_LABELS}.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
FASHION_FILES = {
    f"{TRAIN_IMAGES}.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    f"{TRAIN_LABELS}.gz": "25c81989df183df01b3e8a0aad5dffbe",
    f"{TEST_IMAGES}.gz": "bef4ecab320f06d8554ea6380940ec79",
    f"{TEST_LABELS}.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def _place(folder: Path, name: str) -> Path | None:
    for place in (folder / "raw", folder):
        for file in (place / name.removesuffix(".gz"), place / name):
            if file.is_file():
                return file
    return None


def _pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3:
        raise corrupt(images, f"it holds an array of {pixels.ndim} dimensions, expected images: 3")
    if classes.ndim != 1 or len(classes) != len(pixels):
        raise corrupt(
            labels, f"it holds {tuple(classes.shape)} labels for the {len(pixels)} images of {images.name}"
        )
    if int(classes.max()) > 9:
        raise corrupt(labels, f"it holds the label {int(classes.max())}, expected 0 to 9")
    return pixels.unsqueeze(1), classes.long()


def _idx_source(name: str, folder: Path, files: dict[str, str], mirror: str) -> Source:
    missing = {file: md5 for file, md5 in files.items() if _place(folder, file) is None}
    if missing:
        fetch(name, folder / "raw", missing, mirror)
    paths = [_place(folder, file) for file in files]
    train_images, train_labels, test_images, test_labels = (path for path in paths if path is not None)
    train, train_targets = _pair(train_images, train_labels)
    test, test_targets = _pair(test_images, test_labels)
    if train.shape[1:] != test.shape[1:]:
        raise corrupt(
            test_images,
            f"its images have {tuple(test.shape[2:])} pixels, those of train {tuple(train.shape[2:])}",
        )
    return Source(
        name=name,
        train_inputs=train,
        train_targets=train_targets,
        test_inputs=test,
        test_targets=test_targets,
        outputs=10,
        input_shape=tuple(train.shape[1:]),
        prepare=Normalise.of(train),
    )


def mnist(*, root: Path | None = None, mirror: str = MNIST_URL) -> Source:
    """60,000 handwritten digits of 28 x 28 pixels, 10,000 to test on; read from MNIST/raw, else downloaded.

    Args:
        root: the folder that holds `MNIST/raw`; None: HARE_TORTOISE_DATA, else the user's cache folder.
        mirror: the URL of the folder to download from.

    Returns:
        The source; images (1, 28, 28) in uint8, normalised by the mean and standard deviation of train.

    Raises:
        ValueError: a file is broken, or missing and cannot be downloaded.

    Reference:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    return _idx_source("mnist", data_root(root) / "MNIST", MNIST_FILES, mirror)


def fashion_mnist(*, root: Path | None = None, mirror: str = FASHION_URL) -> Source:
    """60,000 pieces of clothing of 28 x 28 pixels, 10 kinds; read from FashionMNIST/raw, else downloaded.

    Args:
        root: the folder that holds `FashionMNIST/raw`; None: HARE_TORTOISE_DATA, else the user's cache
            folder.
        mirror: the URL of the folder to download from.

    Returns:
        The source; images (1, 28, 28) in uint8, normalised by the mean and standard deviation of train.

    Raises:
        ValueError: a file is broken, or missing and cannot be downloaded.

    Reference:
        Xiao et al., "Fashion-MNIST", 2017, arXiv 1708.07747.
    """
    return _idx_source("fashion-mnist", data_root(root) / "FashionMNIST", FASHION_FILES, mirror)

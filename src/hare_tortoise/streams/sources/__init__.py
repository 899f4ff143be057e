"""Sources: where the data come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hare_tortoise.streams.files import data_root
from hare_tortoise.streams.names import call, find, kebab
from hare_tortoise.streams.source import Source

from .cifar import cifar10 as cifar10
from .cifar import cifar100 as cifar100
from .digits import digits as digits
from .image_folder import image_folder as image_folder
from .image_folder import tiny_imagenet as tiny_imagenet
from .mnist import fashion_mnist as fashion_mnist
from .mnist import mnist as mnist
from .npz import npz as npz

SOURCES: dict[str, Callable[..., Source]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "image-folder": image_folder,
    "mnist": mnist,
    "npz": npz,
    "tiny-imagenet": tiny_imagenet,
}


def load_source(
    name: str,
    *,
    root: Path | str | None = None,
    rows: int | None = None,
    test_rows: int | None = None,
    **settings: Any,
) -> Source:
    """A source by its name in `SOURCES`, or by the path of an .npz file or of a folder of images.

    Args:
        name: for instance "digits", "fashion-mnist", "data/mine.npz".
        root: the folder of the data. None: the environment variable HARE_TORTOISE_DATA, else the user's
            cache folder, where known sets are downloaded to.
        rows: how many examples to train on, drawn once and for all. None: all.
        test_rows: how many to judge on, likewise.
        settings: those of the source, for instance `path=` and `size=` of "image-folder".

    Returns:
        The source.

    Raises:
        ValueError: the name is unknown (the nearest ones are in the message), a setting is unknown or
            missing, data are missing and cannot be downloaded, or a file is broken.

    Example:
        >>> load_source("digits").outputs
        10
        >>> len(load_source("digits", rows=100).train_inputs)
        100
        >>> load_source("fashion-minst")
        Traceback (most recent call last):
            ...
        ValueError: unknown source 'fashion-minst'; did you mean 'fashion-mnist'? There are: cifar10, ...
    """
    return _whole(name, root, settings).take(rows, test_rows)


def _whole(name: str, root: Path | str | None, settings: dict[str, Any]) -> Source:
    place = None if root is None else Path(root).expanduser()
    if kebab(name) not in SOURCES:
        if name.lower().endswith(".npz"):
            return call("source", "npz", npz, path=name, root=place, **settings)
        if Path(name).expanduser().is_dir() or ("/" in name and (data_root(place) / name).is_dir()):
            return call("source", "image-folder", image_folder, path=name, root=place, **settings)
    source = find(name, SOURCES, "source", also="; or give the path of an .npz file or of a folder of images")
    return call("source", kebab(name), source, root=place, **settings)

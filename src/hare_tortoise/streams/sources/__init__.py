"""Sources: where the data come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hare_tortoise.streams.files import data_root
from hare_tortoise.streams.names import call, find, kebab
from hare_tortoise.streams.source import Source

from .bits import Bits as Bits
from .bits import bits as bits
from .cifar import cifar10 as cifar10
from .cifar import cifar100 as cifar100
from .digits import digits as digits
from .generated import generated as generated
from .image_folder import image_folder as image_folder
from .image_folder import tiny_imagenet as tiny_imagenet
from .mnist import fashion_mnist as fashion_mnist
from .mnist import mnist as mnist
from .npz import npz as npz
from .table import SUFFIXES as SUFFIXES
from .table import elec2 as elec2
from .table import insects as insects
from .table import table as table

# Tables and bits stand in for a source; they are for scenarios of their own.
SOURCES: dict[str, Callable[..., Any]] = {
    "bits": bits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "elec2": elec2,
    "fashion-mnist": fashion_mnist,
    "generated": generated,
    "image-folder": image_folder,
    "insects": insects,
    "mnist": mnist,
    "npz": npz,
    "table": table,
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
    """A source by its name in `SOURCES`, or by the path of an .npz file, a table or a folder of images.

    Args:
        name: for instance "digits", "fashion-mnist", "data/mine.npz".
        root: the folder of the data. None: the environment variable HARE_TORTOISE_DATA, else the user's
            cache folder, where known sets are downloaded to.
        rows: how many examples to train on, drawn once and for all; of a table the first. None: all.
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
        ValueError: unknown source 'fashion-minst'; did you mean 'fashion-mnist'? There are: bits, ...
    """
    own = inspect.signature(SOURCES[kebab(name)]).parameters if kebab(name) in SOURCES else {}
    if "rows" in own:
        # what is made to measure needs no part taken of it
        counts = {"rows": rows, "test_rows": test_rows}
        return _whole(
            name, root, settings | {each: count for each, count in counts.items() if count is not None}
        )
    return _whole(name, root, settings).take(rows, test_rows)


def _whole(name: str, root: Path | str | None, settings: dict[str, Any]) -> Source:
    place = None if root is None else Path(root).expanduser()
    if kebab(name) not in SOURCES:
        if name.lower().endswith(".npz"):
            return call("source", "npz", npz, path=name, root=place, **settings)
        if name.lower().endswith(SUFFIXES):
            return _whole("table", root, {"path": name, **settings})
        if Path(name).expanduser().is_dir() or ("/" in name and (data_root(place) / name).is_dir()):
            return call("source", "image-folder", image_folder, path=name, root=place, **settings)
    source: Callable[..., Source] = find(
        name,
        SOURCES,
        "source",
        also="; or give the path of an .npz file, a table (.csv, .parquet, .arff) or a folder of images",
    )
    return call("source", kebab(name), source, root=place, **settings)

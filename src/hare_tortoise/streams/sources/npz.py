"""The user's own arrays, from an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hare_tortoise.streams.examples import Prepare
from hare_tortoise.streams.files import corrupt, possible_places
from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.prepare import Normalise, Rescale
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

INPUTS = ("x", "X", "inputs", "images", "data")
TARGETS = ("y", "Y", "targets", "labels")
Channels = Literal["auto", "first", "last"]


def _spellings(names: tuple[str, ...], split: str) -> tuple[str, ...]:
    return (
        tuple(form for name in names for form in (f"{name}_{split}", f"{split}_{name}")) if split else names
    )


def _open(path: Path) -> dict[str, Array]:
    """The arrays of the file that we know by name."""
    import numpy as np

    wanted = {
        key
        for split in ("train", "test", "")
        for names in (INPUTS, TARGETS)
        for key in _spellings(names, split)
    }
    if not zipfile.is_zipfile(path):
        raise corrupt(path, "it is no .npz file (write one with numpy.savez)")
    arrays: dict[str, Array] = {}
    key = "the list of its arrays"
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            for key in sorted(wanted.intersection(names)):
                arrays[key] = file[key]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        if "pickle" in str(error):
            raise ValueError(
                f"{path}: {key!r} holds Python objects, which are not read: store plain numbers or strings, "
                "for instance by .astype(float) or .astype(str)"
            ) from error
        raise corrupt(path, f"{key!r}: {error}") from error
    if not arrays:
        raise ValueError(
            f"{path} has the keys {', '.join(names) or 'none'}: give x_train, y_train, x_test and y_test, or "
            "x and y"
        )
    return arrays


def _one(
    path: Path, arrays: dict[str, Array], names: tuple[str, ...], split: str
) -> tuple[str, Array] | None:
    present = [key for key in _spellings(names, split) if key in arrays]
    if len(present) > 1:
        raise ValueError(f"{path} has {' and '.join(present)}, which mean the same: keep one of them")
    return (present[0], arrays[present[0]]) if present else None


def _columns(path: Path, arrays: dict[str, Array]) -> list[tuple[str, Array]]:
    """x_train, y_train, x_test, y_test; or x and y."""
    four = [_one(path, arrays, names, split) for split in ("train", "test") for names in (INPUTS, TARGETS)]
    two = [_one(path, arrays, names, "") for names in (INPUTS, TARGETS)]
    for columns, expected in ((four, ("x_train", "y_train", "x_test", "y_test")), (two, ("x", "y"))):
        if any(column is not None for column in columns):
            missing = [name for name, column in zip(expected, columns, strict=True) if column is None]
            if missing:
                raise ValueError(
                    f"{path} has {', '.join(sorted(arrays))} but lacks {', '.join(missing)}: add them"
                )
    if all(four) and all(two):
        raise ValueError(f"{path} has both x_train … and x …: keep one kind")
    return [column for column in (four if all(four) else two) if column is not None]


def _inputs(path: Path, key: str, array: Array, channels: Channels) -> Tensor:
    import numpy as np

    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {key!r} is of type {array.dtype}, expected numbers")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{path}: {key!r} has the shape {array.shape}, expected (examples, …) and not empty")
    byte = array.dtype == "uint8"
    with np.errstate(over="ignore"):
        tensor = torch.from_numpy(array.astype("uint8" if byte else "float32", order="C"))
    if not byte and not bool(torch.isfinite(tensor).all()):
        rows = (~torch.isfinite(tensor)).view(len(tensor), -1).any(1).nonzero()
        raise ValueError(
            f"{path}: {key!r} has values that are no finite float32, first in row {int(rows[0])}"
        )
    if tensor.ndim == 1:
        return tensor.unsqueeze(1)
    if tensor.ndim == 3 and byte:
        return tensor.unsqueeze(1)
    guess = tensor.ndim == 4 and tensor.shape[3] in (1, 3, 4) and tensor.shape[1] not in (1, 3, 4)
    if channels == "last" or (channels == "auto" and guess):
        return tensor.movedim(-1, 1).contiguous()
    return tensor


def _kind(path: Path, columns: list[tuple[str, Array]], task: Task | None) -> Task:
    for key, array in columns:
        if array.dtype.kind not in "biufUS" or (array.dtype.kind in "US" and task == "regression"):
            raise ValueError(f"{path}: {key!r} is of type {array.dtype}, expected labels or numbers")
        if task is None and array.dtype.kind == "f":
            raise ValueError(
                f"{path}: {key!r} is of type {array.dtype}, which may be classes or numbers to predict: say "
                'task="classification" or task="regression"'
            )
    return task or "classification"


def _targets(path: Path, columns: list[tuple[str, Array]], task: Task) -> tuple[list[Tensor], int]:
    """The targets of each column, and the number of outputs."""
    import numpy as np

    flat = []
    for key, array in columns:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{path}: {key!r} has values that are not finite")
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or array.size == 0 or (task == "classification" and array.shape[1] != 1):
            raise ValueError(
                f"{path}: {key!r} has the shape {array.shape}, expected one value per example, not empty"
            )
        flat.append(array)
    if task == "regression":
        tensors = [torch.from_numpy(array.astype("float32")) for array in flat]
        return tensors, tensors[0].shape[1]
    if len({array.dtype.kind in "US" for array in flat}) > 1:
        raise ValueError(
            f"{path}: {' and '.join(key for key, _ in columns)} are words in one and numbers in the other"
        )
    classes, codes = np.unique(np.concatenate([array[:, 0] for array in flat]), return_inverse=True)
    _check_classes(path, [key for key, _ in columns], flat, classes)
    sizes = [len(array) for array in flat]
    return list(torch.from_numpy(codes.astype("int64")).split(sizes)), len(classes)  # type: ignore[no-untyped-call]


def _check_classes(path: Path, keys: list[str], targets: list[Array], classes: Array) -> None:
    import numpy as np

    if len(classes) < 2:
        raise ValueError(
            f"{path}: {keys[0]!r} is always {classes.tolist()[0]!r}: there is nothing to predict"
        )
    new = np.setdiff1d(targets[-1], targets[0]).tolist()
    if new:
        raise ValueError(
            f"{path}: {keys[-1]!r} has the class {new[0]!r}, which {keys[0]!r} never has: add examples of it, or "
            "remove these"
        )


def _prepare(train: Tensor, normalise: bool) -> Prepare | None:
    byte = train.dtype == torch.uint8
    if not normalise:
        return Rescale() if byte else None
    return Normalise.of(train, per_channel=not (byte and train.ndim == 2))


def npz(
    *,
    path: Path | str,
    task: Task | None = None,
    normalise: bool = True,
    channels: Channels = "auto",
    test_share: float = 0.2,
    split_seed: int = 0,
    root: Path | None = None,
) -> Source:
    """Your own arrays: an .npz file with x_train, y_train, x_test and y_test, or with x and y.

    For x also X, inputs, images, data; for y also Y, targets, labels; also train_x for x_train and so on.
    Other keys are not read. uint8 inputs are images (N, height, width[, channels]) or (N, channels, height,
    width), or pixels in a row (N, features); any other numbers become float32, dimension 1 being features
    or channels. Labels are whole numbers or words; they are numbered in sorted order, over train and test.

    Args:
        path: the file; relative to where you are, else to `root`.
        task: "classification" or "regression". None: classification, unless the targets are floats (an
            error).
        normalise: by mean and standard deviation of train, per channel or feature (one of each for uint8 of
            shape (N, features)). False: uint8 to [0, 1], floats as they are.
        channels: where they are in inputs of four dimensions; "auto": last if that has 1, 3 or 4 and
            dimension 1 has not.
        test_share: for a file with x and y: the share to test on, above 0 and below 1.
        split_seed: for a file with x and y: what the split is drawn from. It is the same for every seed of
            an experiment.
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.

    Returns:
        The source.

    Raises:
        ValueError: the file is missing or broken, or an array is not as it should be; with file and key.
    """
    _check_settings(task, channels, test_share)
    file = _place(path, root)
    columns = _columns(file, _open(file))
    task = _kind(file, columns[1::2], task)
    inputs = [_inputs(file, key, array, channels) for key, array in columns[::2]]
    targets, outputs = _targets(file, columns[1::2], task)
    _check_alike(file, columns, inputs)
    if len(inputs) == 1:
        inputs, targets = _divide(file, inputs[0], targets[0], test_share, split_seed)
    train, test = inputs
    return Source(
        name=file.stem,
        train_inputs=train,
        train_targets=targets[0],
        test_inputs=test,
        test_targets=targets[1],
        outputs=outputs,
        input_shape=tuple(train.shape[1:]),
        task=task,
        prepare=_prepare(train, normalise),
    )


def _check_settings(task: Task | None, channels: Channels, test_share: float) -> None:
    if channels not in ("auto", "first", "last"):
        raise ValueError(f'channels is {channels!r}: give "auto", "first" or "last"')
    if task not in (None, "classification", "regression"):
        raise ValueError(f'task is {task!r}: give "classification" or "regression"')
    if not is_number(test_share) or not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share!r}: give the share to test on, above 0 and below 1")


def _place(path: Path | str, root: Path | None) -> Path:
    places = possible_places(path, root)
    for file in places:
        if file.is_file():
            return file
    raise ValueError(f"there is no file {' or '.join(map(str, places))}: give the path of an .npz file")


def _check_alike(path: Path, columns: list[tuple[str, Array]], inputs: list[Tensor]) -> None:
    for (x, x_array), (y, y_array) in zip(columns[::2], columns[1::2], strict=True):
        if len(x_array) != len(y_array):
            raise ValueError(
                f"{path}: {x!r} has {len(x_array)} examples, {y!r} has {len(y_array)}: make them as many"
            )
    if inputs[0].dtype != inputs[-1].dtype or inputs[0].shape[1:] != inputs[-1].shape[1:]:
        (x, x_array), (z, z_array) = columns[0], columns[2]
        raise ValueError(
            f"{path}: {x!r} is {x_array.dtype} of shape {x_array.shape}, {z!r} is {z_array.dtype} of shape "
            f"{z_array.shape}: make them alike"
        )


def _divide(
    path: Path, inputs: Tensor, targets: Tensor, share: float, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    count = round(share * len(inputs))
    if not 0 < count < len(inputs):
        raise ValueError(
            f"{path} has {len(inputs)} examples, of which test_share={share} takes {count}: keep both sides"
        )
    order = torch.randperm(len(inputs), generator=derived_generator(seed, "test split"))
    # In the order of the file, so that what follows does not depend on how the test set was drawn.
    test, train = order[:count].sort().values, order[count:].sort().values
    return [inputs[train], inputs[test]], [targets[train], targets[test]]

"""Tables: the user's own files, and the data streams that are known by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hare_tortoise.streams.files import WHERE, corrupt, data_root, possible_places
from hare_tortoise.streams.names import unknown
from hare_tortoise.streams.stream import Task
from hare_tortoise.streams.table import Table, first_come

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet", ".arff")
ELEC2 = "the normalised Electricity data (elecNormNew of MOA, data set 151 of OpenML; Harries 1999)"
INSECTS = "INSECTS, gradual balanced, of the USP data stream repository (Souza et al. 2020)"


def table(
    *,
    path: Path | str,
    target: str | None = None,
    time: str | None = None,
    drop: Sequence[str] | str = (),
    categorical: Sequence[str] | str | None = None,
    slots: int = 16,
    missing: bool | None = None,
    task: Task | None = None,
    root: Path | None = None,
) -> Table:
    """Your own table, a .csv, .parquet or .arff file: one row after the other, in the order of time.

    Columns of numbers (truth values are 0 and 1) are standardised by what came before, those of words become one input
    for each category that came before. Classes are numbered in sorted order (as numbers, where all are), over
    the whole file: they are part of the schema, like the columns and their kinds.

    Args:
        path: the file; relative to where you are, else to `root`.
        target: the column to predict.
        time: the column that says when: numbers, or dates as 2024-01-31T12:00. Rows are sorted by it, those of one time
            as they stand in the file; it is no input. None: the order of the file.
        drop: columns to leave out.
        categorical: columns of numbers that are categories. None: only those of words are.
        slots: how many categories of a column have an input of their own, first come, first served; what comes later
            shares the input of what was never seen. A column of an .arff file has as many as it declares.
        missing: whether each column of numbers gets an input beside it that tells where a value is missing. None: an
            error if one is, as the inputs there are must not depend on what is yet to come.
        task: "classification" or "regression". None: classification, unless the target has fractions (an error).
        root: the folder of the data; None: HARE_TORTOISE_DATA, else the user's cache folder.

    Returns:
        The table, for the scenario `in-time-order`.

    Raises:
        ValueError: the file is missing or broken, pandas is missing, or a column is not as it should be.
    """
    file = _place(path, root)
    frame, declared = _read(file)
    dropped, categories = _names(drop), _names(categorical or ())
    target = _check_names(file, list(frame.columns), target, (time, *dropped, *categories))
    if time is not None:
        frame = frame.iloc[_order(file, frame[time])]
    numbers, words = _kinds(frame.drop(columns=[target, *([time] if time else []), *dropped]), categories)
    if missing is None:
        _check_complete(file, frame[numbers])
    targets, labels = _targets(file, frame[target], task)
    return Table(
        name=file.stem,
        columns=(*numbers, *words),
        numeric=_numbers(file, frame, numbers),
        categorical=_categories(file, frame, words),
        slots=tuple(declared.get(name, slots) for name in words),
        train_targets=targets,
        outputs=len(labels) or 1,
        labels=labels,
        task="classification" if labels else "regression",
        missing=bool(missing),
    )


def elec2(*, root: Path | None = None) -> Table:
    """Electricity prices of New South Wales: 45,312 half hours, will the price go up or down? Read, not downloaded.

    Labels depend on their own past: compare with "same as last time".

    Args:
        root: the folder that holds `streams/elec2.csv`; None: HARE_TORTOISE_DATA, else the user's cache folder.

    Returns:
        The table: 8 numbers, 2 classes, in the order of the file.

    Raises:
        ValueError: the file is missing or broken.

    Reference:
        Harries, "Splice-2 comparative evaluation: electricity pricing", 1999.
    """
    return _known("elec2", ELEC2, root)


def insects(*, root: Path | None = None) -> Table:
    """Mosquitoes and flies told apart by their flight: 24,150 rows, drifting gradually. Read, not downloaded.

    Args:
        root: the folder that holds `streams/insects_gradual_balanced.csv`; None: HARE_TORTOISE_DATA, else the user's
            cache folder.

    Returns:
        The table: 33 numbers, 6 classes (the codes 2, 3, 4, 5, 11 and 12), in the order of the file.

    Raises:
        ValueError: the file is missing or broken.

    Reference:
        Souza et al., "Challenges in benchmarking stream learning algorithms with real-world data", 2020.
    """
    return _known("insects_gradual_balanced", INSECTS, root)


def _known(name: str, what: str, root: Path | None) -> Table:
    file = data_root(root) / "streams" / f"{name}.csv"
    if not file.is_file():
        raise ValueError(
            f"there is no {file}: save {what} there, with a first line of names and the classes in the column "
            f"'target' (nothing is downloaded), or {WHERE}"
        )
    return table(path=file, target="target")


def _place(path: Path | str, root: Path | None) -> Path:
    places = possible_places(path, root)
    for file in places:
        if file.is_file():
            if file.suffix.lower() not in SUFFIXES:
                raise ValueError(
                    f"{file} is no table: give a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
                )
            return file
    raise ValueError(f"there is no file {' or '.join(map(str, places))}: give the path of a table")


def _check_names(file: Path, columns: list[str], target: str | None, others: tuple[str | None, ...]) -> str:
    """The target, once it and the other columns that were named are known to be there."""
    if target is None:
        raise ValueError(
            f"{file}: say which column to predict: --source \"table(path='{file}', target='…')\"; "
            f"there are: {', '.join(columns)}"
        )
    for column in (target, *others):
        if column is not None and column not in columns:
            raise unknown(f"column of {file.name}", column, columns)
    return target


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _read(file: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The file as it stands, and how many categories it declares for a column."""
    try:
        import pandas as pd
        import pyarrow  # noqa: F401  # pandas asks for it when it reads
    except ModuleNotFoundError as error:
        raise ValueError(
            f'{file.name} is read by {error.name}, which is missing: pip install "hare-tortoise[tables]"'
        ) from None
    declared: dict[str, int] = {}
    try:
        if file.suffix.lower() == ".csv":
            frame = pd.read_csv(file, float_precision="round_trip", low_memory=False)
        elif file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file, engine="pyarrow").reset_index(drop=True)
        else:
            frame, declared = _read_arff(file)
    except (OSError, ValueError, NotImplementedError, StopIteration) as error:
        raise corrupt(file, error) from error
    frame.columns = [str(name) for name in frame.columns]
    if len(frame) == 0 or frame.columns.has_duplicates:
        raise ValueError(
            f"{file} has {len(frame)} rows of the columns {', '.join(frame.columns)}: "
            "give one row at least, and each column a name of its own"
        )
    return frame, declared


def _read_arff(file: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    import pandas as pd
    from scipy.io import arff

    rows, meta = arff.loadarff(str(file))
    frame, declared = pd.DataFrame(rows), {}
    for name in meta.names():
        kind, values = meta[name]
        if kind == "nominal":
            declared[name] = max(1, len(values or ()))
            words = frame[name].str.decode("utf-8")
            frame[name] = words.where(words != "?", None)
    return frame, declared


def _numeric(column: pd.Series[Any]) -> bool:
    from pandas.api import types

    return bool(types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype))


def _kinds(inputs: pd.DataFrame, categories: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Names of the columns of numbers, and of those of categories."""
    names = [str(name) for name in inputs.columns]
    words = [name for name in names if name in categories or not _numeric(inputs[name])]
    return [name for name in names if name not in words], words


def _order(file: Path, times: pd.Series[Any]) -> Any:
    """Where the rows stand in the order of time."""
    import numpy as np
    import pandas as pd

    if times.isna().any():
        raise ValueError(
            f"{file}: {times.name!r} has no time in {_first(file, times.isna())}: every row needs one"
        )
    if not _numeric(times) and not pd.api.types.is_datetime64_any_dtype(times):
        try:
            times = pd.to_datetime(times, format="ISO8601", utc=True)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{file}: {times.name!r} holds no times: {error}. Give numbers, or dates as 2024-01-31T12:00"
            ) from error
    return np.argsort(times.to_numpy(), kind="stable")


def _first(file: Path, where: Any) -> str:
    """The first row of the file that is marked, counted from 1; with its line, where each row is one."""
    row = int(where.index[where.to_numpy()].min()) + 1
    if file.suffix.lower() != ".csv" or len(file.read_bytes().splitlines()) != len(where) + 1:
        return f"row {row}"
    return f"row {row} (line {row + 1})"


def _numbers(file: Path, frame: pd.DataFrame, names: list[str]) -> Tensor:
    import numpy as np

    array = np.empty((len(frame), len(names)))
    for place, name in enumerate(names):
        array[:, place] = frame[name].to_numpy("float64", na_value=np.nan)
        infinite = frame[name].isin([np.inf, -np.inf])
        if infinite.any():
            raise ValueError(
                f"{file}: {name!r} has a value that is not finite, in {_first(file, infinite)}: leave it empty where "
                "it is missing"
            )
    return torch.from_numpy(array)


def _check_complete(file: Path, numbers: pd.DataFrame) -> None:
    for name, gone in numbers.isna().items():
        if gone.any():
            raise ValueError(
                f"{file}: {name!r} has a missing value, in {_first(file, gone)}: say missing=True for an input beside "
                "each number that tells where it is missing, or missing=False; either way the mean of what came before "
                "stands in for it"
            )


def _words(file: Path, column: pd.Series[Any]) -> list[str | None]:
    from pandas.api import types

    kind = types.infer_dtype(column, skipna=True)
    if kind not in ("string", "boolean", "integer", "floating", "categorical", "mixed-integer", "empty"):
        raise ValueError(
            f"{file}: {column.name!r} holds values of the kind {kind}, expected numbers or words: leave it out by "
            f"drop='{column.name}'; what says when a row came is given by time="
        )
    return [None if gone else str(value) for value, gone in zip(column, column.isna(), strict=True)]


def _categories(file: Path, frame: pd.DataFrame, names: list[str]) -> Tensor:
    if not names:
        return torch.zeros(len(frame), 0, dtype=torch.int64)
    return torch.stack([first_come(_words(file, frame[name])) for name in names], 1)


def _targets(file: Path, column: pd.Series[Any], task: Task | None) -> tuple[Tensor, tuple[str, ...]]:
    """Classes (N,) with their names, or numbers (N, 1) and none."""
    from pandas.api import types

    if task not in (None, "classification", "regression"):
        raise ValueError(f'task is {task!r}: give "classification" or "regression"')
    if column.isna().any():
        raise ValueError(
            f"{file}: the target {column.name!r} is missing in {_first(file, column.isna())}: every row needs one"
        )
    if task is None and types.is_float_dtype(column.dtype):
        raise ValueError(
            f"{file}: the target {column.name!r} may be classes or numbers to predict: say task='classification' or "
            "task='regression'"
        )
    if task == "regression":
        if not _numeric(column):
            raise ValueError(
                f"{file}: the target {column.name!r} holds words: give numbers, or leave out task="
            )
        numbers = _numbers(file, column.to_frame(), [str(column.name)])
        return numbers, ()
    words = [str(word) for word in _words(file, column)]
    labels = tuple(sorted(set(words), key=_by_number(set(words))))
    if len(labels) < 2:
        raise ValueError(
            f"{file}: the target {column.name!r} is always {labels[0]!r}: there is nothing to predict"
        )
    numbered = {label: number for number, label in enumerate(labels)}
    return torch.tensor([numbered[word] for word in words]), labels


def _by_number(words: set[str]) -> Any:
    """Sort by value where all are numbers, else as words."""
    try:
        values = {word: (float(word), word) for word in words}
    except ValueError:
        return str
    return values.__getitem__

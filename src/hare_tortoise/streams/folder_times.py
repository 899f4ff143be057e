"""When the images of a folder were made: by their names, by the file system, or by a table."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from hare_tortoise.streams.files import corrupt
from hare_tortoise.streams.folder import Paths


def times_of(paths: Paths, count: int, times: str) -> Tensor:
    """When each of the first `count` files was made.

    Args:
        paths: the files.
        count: how many of them are asked for.
        times: "name": the rank of the file's name among all (folders left out of it); "modified": nanoseconds of
            the time of modification; else the path of a csv table, from where you are or from the folder of the files.

    Returns:
        (count,) int64, to be compared with each other alone.

    Raises:
        ValueError: there is no such table, it is not as expected, or a file is not in it.
    """
    if times == "name":
        order = sorted(range(count), key=lambda row: (paths[row].name, paths.name(row)))
        ranks = torch.empty(count, dtype=torch.int64)
        ranks[torch.tensor(order)] = torch.arange(count)
        return ranks
    if times == "modified":
        return torch.tensor([paths[row].stat().st_mtime_ns for row in range(count)])
    places = [Path(times).expanduser(), paths.folder / times]
    table = next((place for place in places if place.is_file()), None)
    if not times.endswith(".csv") or table is None:
        raise ValueError(
            f"times is {times!r}: give 'name', 'modified', or the path of a .csv table with the columns name and time"
        )
    found = _read(table)
    missing = [paths.name(row) for row in range(count) if paths.name(row) not in found]
    if missing:
        raise ValueError(
            f"{table} has no time for {missing[0]}, and {len(missing) - 1} more: add them, by their paths from "
            f"{paths.folder}"
        )
    return torch.tensor([found[paths.name(row)] for row in range(count)])


def _read(table: Path) -> dict[str, int]:
    """Times by name: whole numbers as they stand, dates in nanoseconds since 1970 (UTC where they say nothing else)."""
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"name", "time"} <= set(reader.fieldnames or ()):
            raise corrupt(table, f"its columns are {reader.fieldnames}, expected name and time")
        try:
            return {row["name"]: _time(row["time"]) for row in reader}
        except (ValueError, TypeError, AttributeError) as error:
            raise corrupt(
                table, f"line {reader.line_num} has no whole number and no ISO date ({error})"
            ) from error


def _time(text: str) -> int:
    if text.strip().lstrip("-").isdigit():
        return int(text)
    date = datetime.fromisoformat(text.strip())
    since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000

"""What the benchmarks share: alternating timings, rows with targets, the command line of one script."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure.

    Args:
        what: what was measured, in words that stand alone.
        value: the figure.
        unit: its unit; "x" for a ratio.
        spread: lower and upper quartile over the runs, if there were several.
        at_least: the figure should not be below this.
        at_most: the figure should not be above this.
    """

    what: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """The target in words, or an empty text."""
        limits = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{words} {limit:g}" for words, limit in limits if limit is not None)

    @property
    def verdict(self) -> str:
        """`pass` or `miss`, or an empty text without a target."""
        if not self.target:
            return ""
        enough = self.at_least is None or self.value >= self.at_least
        little_enough = self.at_most is None or self.value <= self.at_most
        return "pass" if enough and little_enough else "miss"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one script measured.

    Args:
        title: of its section.
        setting: how it was done.
        rows: the figures.
        pivoted: `what` of each row is "column: line", and the table has a line for all figures of the same thing.
    """

    title: str
    setting: str
    rows: list[Row]
    pivoted: bool = False


def figure(value: float) -> str:
    """Write a number with three or four significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def take_turns(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let each candidate measure itself once per round; the order rotates from round to round.

    Returns:
        What each candidate measured, one entry per round.
    """
    names = list(candidates)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            measured[name].append(candidates[name]())
    return measured


def alternate(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, calls: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Time the candidates in turns, `calls` calls at a time.

    Where there are several calls, an untimed one goes first in each round, so that a candidate finds its own
    tensors, and not its predecessor's, in the caches.

    Returns:
        Seconds per call, one entry per round, for each candidate.
    """

    def timed(call: Callable[[], object]) -> float:
        if calls > 1:
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    for call in candidates.values():
        for _ in range(warm_up):
            call()
    return take_turns({name: partial(timed, call) for name, call in candidates.items()}, rounds)


def median_row(what: str, values: Sequence[float], unit: str) -> Row:
    """Build the row of the median of `values`, with the quartiles."""
    return Row(what=what, value=statistics.median(values), unit=unit, spread=quartiles(values))


def ratio_row(
    what: str,
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """Build the row of the median over the rounds of numerator / denominator.

    The two of a round were measured next to each other, so what slows the machine for longer than a round
    leaves their ratio alone.
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return Row(
        what=what,
        value=statistics.median(ratios),
        unit="x",
        spread=quartiles(ratios),
        at_least=at_least,
        at_most=at_most,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Lower and upper quartile; none for fewer than two values."""
    if len(values) < 2:
        return None
    cut = statistics.quantiles(values, n=4, method="inclusive")
    return cut[0], cut[2]


def machine() -> dict[str, str]:
    """Describe the machine and the versions, as the report prints them."""
    name = platform.processor() or platform.machine()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "processor": f"{name}, {os.cpu_count()} logical cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }


def table(outcome: Outcome) -> str:
    """Write the outcome as Markdown: title, setting, a table of the rows."""
    lines = [f"## {outcome.title}", "", outcome.setting, ""]
    if outcome.pivoted:
        return "\n".join([*lines, *_pivoted(outcome.rows)]) + "\n"
    lines += ["| figure | measured | quartiles | target | |", "|---|---:|---:|---:|---|"]
    for row in outcome.rows:
        spread = "" if row.spread is None else " – ".join(figure(value) for value in row.spread)
        measured = f"{figure(row.value)}{'×' if row.unit == 'x' else ' ' + row.unit}"
        lines.append(f"| {row.what} | {measured} | {spread} | {row.target} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def _pivoted(rows: Sequence[Row]) -> list[str]:
    cells: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        column, _, line = row.what.partition(": ")
        notes = [] if row.spread is None else [" – ".join(figure(value) for value in row.spread)]
        notes += [f"{row.target}: {row.verdict}"] if row.target else []
        note = f" ({'; '.join(notes)})" if notes else ""
        cells.setdefault(line, {})[column] = f"{figure(row.value)} {row.unit}{note}"
        columns[column] = None
    table = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    return table + [
        f"| {line} | " + " | ".join(found.get(column, "") for column in columns) + " |"
        for line, found in cells.items()
    ]


def script(measure: Callable[[bool], Outcome], description: str | None) -> None:
    """Run one benchmark from the command line: measure, print the table, perhaps write JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="sizes for a smoke test; the figures mean nothing"
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    arguments = parser.parse_args()
    outcome = measure(arguments.quick)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    print(table(outcome))


def read_outcome(path: Path) -> Outcome:
    """Read what `script` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "spread": row["spread"] and tuple(row["spread"])}) for row in found["rows"]]
    return Outcome(title=found["title"], setting=found["setting"], rows=rows, pivoted=found["pivoted"])

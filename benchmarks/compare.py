"""`hare-tortoise compare` end to end: two workers against one, and what is spent outside the training loops.

Run it with `python -m benchmarks.compare`, on a machine of two cores that does nothing else; MNIST is read from
HARE_TORTOISE_DATA, else the scikit-learn digits are taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import Outcome, Row, median_row, ratio_row, script, take_turns
from hare_tortoise.lab import files

METHODS = (
    "warm-start",
    "ema(decay=0.99)",
    "head-reset",
    "shrink-perturb",
    "hare-tortoise(decay=0.99, reset_every=100)",
)
ROUNDS = 3


def has_mnist() -> bool:
    """Whether MNIST is at hand."""
    root = os.environ.get("HARE_TORTOISE_DATA")
    return root is not None and (Path(root) / "MNIST").is_dir()


def command(out: Path, workers: int, *, quick: bool) -> list[str]:
    """The command that is timed, into an empty store."""
    large = has_mnist() and not quick
    source, epochs = ("mnist(rows=10000)", 10) if large else ("digits(rows=200)", 1)
    return [
        *(sys.executable, "-m", "hare_tortoise", "compare", "--quiet"),
        *("--source", source, "--scenario", "growing(chunks=10)", "--network", "mlp(hidden=(512, 256))"),
        *("--methods", ",".join(METHODS), "--seeds", "2", "--workers", str(workers), "--out", str(out)),
        *("--set", f"epochs={epochs}", "batch_size=128"),
    ]


def wall(workers: int, loops: list[float], *, quick: bool) -> float:
    """Time one comparison from its start to its end; append the share of it that was spent in training loops."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        start = time.perf_counter()
        subprocess.run(command(out, workers, quick=quick), check=True, capture_output=True, env=environment)
        seconds = time.perf_counter() - start
        rows = [files.read_json(path)["rows"] for path in out.glob("runs/*/metrics.json")]
    loops.append(sum(float(each[-1]["seconds"]) for each in rows) / workers / seconds)
    return seconds


def measure(quick: bool) -> Outcome:
    """Time both in turns."""
    loops: dict[int, list[float]] = {1: [], 2: []}
    candidates = {str(n): partial(wall, n, loops[n], quick=quick) for n in loops}
    seconds = take_turns(candidates, 1 if quick else ROUNDS)
    outside = {n: [100 * (1 - share) for share in shares] for n, shares in loops.items()}
    share = median_row("outside the training loops, one worker", outside[1], "%")
    rows = [
        ratio_row("wall time of two workers against one", seconds["2"], seconds["1"], at_most=0.6),
        Row(what=share.what, value=share.value, unit="%", spread=share.spread, at_most=15),
        median_row("outside the training loops, two workers", outside[2], "%"),
        median_row("wall time, one worker", seconds["1"], "s"),
        median_row("wall time, two workers", seconds["2"], "s"),
    ]
    data = "MNIST, 10,000 images, 10 epochs a chunk" if has_mnist() and not quick else "digits"
    setting = (
        f"{data}, growing in ten chunks; five methods of like cost, two seeds; workers of one thread each. The whole "
        "command is timed, imports, checks, store, evaluation and report included; the training loops are the "
        "seconds that the trials record."
    )
    return Outcome(title="`compare` from end to end", setting=setting, rows=rows)


if __name__ == "__main__":
    script(measure, __doc__)

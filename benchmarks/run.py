"""Run every benchmark, one after the other, and write the figures to a Markdown page.

Run it with `make bench` or `python -m benchmarks`, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import Outcome, figure, machine, read_outcome, table

ROOT = Path(__file__).parent.parent
SCRIPTS = (
    "averaging",
    "small_tensors",
    "throughput",
    "compare",
    "image_folder",
    "memory",
    "method_cost",
    "effective_rank",
    "channels_last",
    "agents",
)
PAGE = ROOT / "docs" / "benchmarks.md"


def run_script(name: str, *, quick: bool) -> Outcome:
    """Measure in a process of its own, so that no benchmark inherits another's memory or threads.

    Raises:
        RuntimeError: if the script fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(rows)]
        done = subprocess.run([*command, "--quick"] if quick else command, cwd=ROOT, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"benchmarks.{name} ended with exit code {done.returncode}")
        return read_outcome(rows)


def page(outcomes: list[Outcome]) -> str:
    """Write the page: the targets first, then machine and versions, then every figure."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Figures are medians over rounds; in the tables of the sections the quartiles",
        "stand beside them. What is compared was measured side by side in one run, the candidates taking turns.",
        "",
        "| target | measured | wanted | |",
        "|---|---:|---:|---|",
    ]
    for outcome in outcomes:
        for row in outcome.rows:
            if row.target:
                measured = f"{figure(row.value)}{'×' if row.unit == 'x' else ' ' + row.unit}"
                cells = (f"{outcome.title}: {row.what}", measured, row.target, row.verdict)
                lines.append("| " + " | ".join(cells) + " |")
    packages = {
        f"package {name}": version(name) for name in ("hare-tortoise", "ema-pytorch", "stable-baselines3")
    }
    lines += ["", "| machine | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in {**machine(), **packages}.items()]
    return "\n".join(lines) + "\n\n" + "\n".join(table(outcome) for outcome in outcomes)


def main() -> int:
    """Run the benchmarks that are named, or all; write the page if all ran."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which to run: {', '.join(SCRIPTS)}; all if left out")
    parser.add_argument(
        "--quick", action="store_true", help="sizes for a smoke test; the figures mean nothing"
    )
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write, if all are run")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(SCRIPTS))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    if arguments.quick and arguments.out == PAGE and not arguments.names:
        parser.error("--quick measures nothing that docs/benchmarks.md should say; give --out")
    outcomes = [run_script(name, quick=arguments.quick) for name in arguments.names or SCRIPTS]
    if not arguments.names:
        arguments.out.write_text(page(outcomes), encoding="utf-8")
        print(f"written: {arguments.out}")
    missed = [row.what for outcome in outcomes for row in outcome.rows if row.verdict == "miss"]
    for what in missed:
        print(f"missed: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

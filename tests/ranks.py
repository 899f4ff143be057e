"""Two processes of one gloo group on this machine: `found_by_two` starts them, `main` is what they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch.distributed as dist

ROOT = Path(__file__).parents[1]
Found = dict[str, str]
"""By check: nothing, or the traceback of what it raised."""


def found_by_two(module: str, folder: Path, *, warnings: str = "error", timeout: float = 240) -> list[Found]:
    """Run a module's `main` as rank 0 and as rank 1, and return what each of them found."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", warnings, "-m", module, str(rank), str(folder)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def main(checks: Mapping[str, Callable[[int, Path], None]]) -> None:
    """Run all checks as the rank that the command line says, and write down what they raised."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    found = {}
    for name, check in checks.items():
        try:
            check(rank, folder)
            found[name] = ""
        except BaseException:  # torch's CheckpointException is no Exception
            found[name] = traceback.format_exc()
        dist.barrier()
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    # Threads of the backend may still be running, and would abort the interpreter on its way out.
    os._exit(0)

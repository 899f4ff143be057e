"""Killed at any moment, a command ends as if it never had been."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hare_tortoise.lab import files
from hare_tortoise.lab.run import run_recipes
from hare_tortoise.lab.trial import Trial, trials
from hare_tortoise.lab.worker import run_task
from tests.lab.small import METHODS, run_of, small, task_of, timeless, to_kill

ROOT = Path(__file__).parents[2]

# A whole command in a process of its own, a checkpoint at every opportunity.
SCRIPT = """
if __name__ == "__main__":
    import signal
    import sys
    from pathlib import Path
    from hare_tortoise.lab.progress import Silent
    from hare_tortoise.lab.run import run_recipes
    from tests.lab.small import to_kill

    # of what is shown of a trial under way, a mark for who waits for it
    Silent.moment = lambda *_: Path(sys.argv[1]).with_name("under-way").touch()

    # what a shell starts in the background ignores Ctrl-C, and so would this
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_recipes(
        [to_kill().replace(epochs=int(sys.argv[3]))],
        out=Path(sys.argv[1]),
        workers=int(sys.argv[4]),
        quiet=True,
        checkpoint_every=float(sys.argv[2]),
    )
"""


def command(
    out: Path, checkpoint_every: float = 0.05, epochs: int = 20, workers: int = 2
) -> subprocess.Popen[bytes]:
    script = out.parent / "command.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        "PYTHONWARNINGS": "error",
    }
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(checkpoint_every), str(epochs), str(workers)],
        env=environment,
        start_new_session=True,
    )


def rows_of(out: Path) -> dict[str, Any]:
    """Every result of a finished command, wall clock apart."""
    found = {}
    for trial in trials(to_kill()):
        done = run_of(task_of(trial, out)).finished()
        assert done is not None, trial.label
        rows, failure = done
        assert failure is None
        found[trial.label] = timeless(rows)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "out"
    run_recipes([to_kill()], out=out, workers=0, quiet=True)
    return rows_of(out)


def survive(out: Path, kills: int, seed: int, expected: dict[str, Any], workers: int = 2) -> int:
    """Kill the command so many times at random moments of its start and of its work, then let it finish.

    Whenever it gets to its end before the kill, what it measured is checked, and it begins again.
    """
    draw, killed = random.Random(seed), 0
    while killed < kills:
        before = _newest(out)
        process = command(out, workers=workers)
        if draw.random() < 0.7:
            while process.poll() is None and _newest(out) == before:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.5))
        else:
            time.sleep(draw.uniform(0.0, 3.0))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            assert rows_of(out) == expected
            shutil.rmtree(out)
    assert command(out).wait(120) == 0
    assert rows_of(out) == expected
    return killed


def _newest(out: Path) -> int:
    """When a checkpoint or a result was last written, in nanoseconds; 0 if never."""
    times = [0]
    for path in [*out.rglob("checkpoint.safetensors"), *out.rglob("metrics.json")]:
        with contextlib.suppress(FileNotFoundError):  # renamed over at this moment
            times.append(path.stat().st_mtime_ns)
    return max(times)


def test_two_kills(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    assert survive(tmp_path / "out", 2, 0, uninterrupted) == 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """In one process; workers are killed in the test before, and each costs the start of another process."""
    assert survive(tmp_path / "out", 20, 1, uninterrupted, workers=0) == 20


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    process = command(tmp_path / "out")
    deadline = time.monotonic() + 60
    while not (children := _children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if _alive(child)]


def _children(parent: int) -> list[int]:
    """Processes of a parent, apart from multiprocessing's own tracker."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            arguments = (stat.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and "spawn_main" in arguments:
            found.append(int(stat.parent.name))
    return found


def _alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- one kill at every write, fsync and rename -------------------------------------------------------------


def _points(count: Callable[[], None]) -> Iterator[tuple[Any, str, Any]]:
    """Replace the calls by which files reach the disk; each counts before and after it acts."""
    real_open = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        file = real_open(self, mode, *arguments, **settings)
        if mode != "wb":
            return file
        write = file.write

        class Halved:
            """A file that is written in two halves: the power may go between them."""

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, content: bytes) -> None:
                count()
                write(content[: len(content) // 2])
                file.flush()
                count()
                write(content[len(content) // 2 :])
                file.flush()
                count()

        return Halved()

    yield Path, "open", opened
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def around(*arguments: Any, real: Any = real) -> Any:
            count()
            result = real(*arguments)
            count()
            return result

        yield os, name, around


def _child(out: Path, trial: Trial, die_at: int | None) -> int:
    """Run a trial in a forked child that dies at its n-th point; gives the number of points, or -1 if it died."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        _, status = os.waitpid(child, 0)
        text = os.read(read, 100).decode()
        os.close(read)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return int(text) if text else -1
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        for owner, name, replacement in _points(count):
            setattr(owner, name, replacement)
        run_task(task_of(trial, out, checkpoint_every=0.0))
        os.write(write, str(seen).encode())
        code = 0
    finally:
        os._exit(code)


@pytest.mark.slow
def test_a_kill_at_every_write_fsync_and_rename(tmp_path: Path) -> None:
    """A one-chunk trial with a checkpoint after every step, killed at each point at which a file changes."""
    torch.set_num_threads(1)
    trial = Trial(
        small(scenario="growing(chunks=1, label_noise=0.5)", batch_size=700, network="mlp(hidden=(8,))"),
        METHODS[7],
        1.0,
        0,
    )
    whole = run_task(task_of(trial, tmp_path / "whole"))
    points = _child(tmp_path / "count", trial, None)
    assert points > 40
    assert list((tmp_path / "count").rglob("metrics.json"))
    for point in range(1, points + 1):
        out = tmp_path / str(point)
        assert _child(out, trial, point) == -1
        result = run_task(task_of(trial, out))
        assert timeless(result.rows) == timeless(whole.rows), point
        assert not list(out.rglob(".*.part")), point


# --- what is damaged is found, named and done again ----------------------------------------------------------


@pytest.mark.parametrize("name", ["trial.json", "metrics.json", "checkpoint.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flip"])
def test_damaged_runs_are_named_and_done_again(tmp_path: Path, name: str, damage: str) -> None:
    torch.set_num_threads(1)
    task = task_of(Trial(small(), "warm-start", 1.0, 0), tmp_path)
    whole = run_task(task)
    path = run_of(task).folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:middle], "empty": b"", "flip": flipped}[damage])
    notes: list[str] = []
    again = run_task(task, note=notes.append)
    assert len(notes) == 1
    assert name in notes[0]
    assert timeless(again.rows) == timeless(whole.rows)
    for left in ("trial.json", "metrics.json"):
        files.read_json(run_of(task).folder / left)

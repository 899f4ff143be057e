"""Two processes: replicas end bit for bit the same, shards are shares of what an unsharded model has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.rows import ROWS

ROOT = Path(__file__).parents[2]
Found = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What the two processes report; one pair of them for all methods."""
    folder = tmp_path_factory.mktemp("ranks")
    results = [folder / f"{rank}.json" for rank in range(2)]
    command = [sys.executable, "-m", "tests.contract.two_processes"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder / "meeting"), str(results[rank])],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return [json.loads(path.read_text(encoding="utf-8")) for path in results]


@pytest.mark.parametrize("check", ["replicated", "sharded"])
@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_two_ranks(name: str, check: str, found: list[Found]) -> None:
    for rank in range(2):
        assert found[rank][name][check] == "", f"on rank {rank}"


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("DrawsGlobally", "replicated", "differs between the ranks"),
        ("DrawsGlobally", "sharded", "differs"),
        ("DrawsForItsShare", "sharded", "differs"),
    ],
)
def test_faults_are_seen(fault: str, check: str, message: str, found: list[Found]) -> None:
    for rank in range(2):
        assert message in found[rank][fault][check], f"on rank {rank}"

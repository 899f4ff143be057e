"""Two processes: replicas end bit for bit the same, shards are shares of what an unsharded model has."""

from __future__ import annotations

import pytest

from tests.contract.rows import ROWS
from tests.ranks import Found, found_by_two


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What the two processes report; one pair of them for all methods."""
    return found_by_two("tests.contract.two_processes", tmp_path_factory.mktemp("ranks"), warnings="default")


@pytest.mark.parametrize("check", ["replicated", "sharded"])
@pytest.mark.parametrize("name", [row.name for row in ROWS])
def test_two_ranks(name: str, check: str, found: list[Found]) -> None:
    for rank in range(2):
        assert found[rank][f"{name} {check}"] == "", f"on rank {rank}"


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
        assert message in found[rank][f"{fault} {check}"], f"on rank {rank}"

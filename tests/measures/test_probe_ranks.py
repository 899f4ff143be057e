"""Under DDP and FSDP2 a Probe finds what it finds on one process, and training does not notice."""

from __future__ import annotations

import pytest

from tests.measures.two_processes import CHECKS
from tests.ranks import Found, found_by_two


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    return found_by_two("tests.measures.two_processes", tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CHECKS)
def test_two_ranks(name: str, found: list[Found]) -> None:
    for rank in range(2):
        assert found[rank][name] == "", f"on rank {rank}"

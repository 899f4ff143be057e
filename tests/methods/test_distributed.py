"""DDP and FSDP2: two gloo processes on the CPU run all checks of `two_processes.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import SGD

from hare_tortoise.methods import HareTortoise
from tests.methods import sharded_pairs, two_processes
from tests.ranks import Found, found_by_two

# torch's own: without a process group it says that it takes this process for the only one.
ALONE = "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What the two processes report; one pair of them for all checks."""
    folder = tmp_path_factory.mktemp("pair")
    save_by_one(folder / "by-one")
    return found_by_two("tests.methods.two_processes", folder)


def save_by_one(folder: Path) -> None:
    model = sharded_pairs.network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, **sharded_pairs.SETTINGS)
    sharded_pairs.train(model, optimizer, sharded_pairs.batches(4))
    state = pair.state_dict()
    tensors = state.pop("tortoise") | {"generator": state.pop("generator")}
    save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder)), no_dist=True)
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


pytestmark = pytest.mark.filterwarnings(ALONE)


@pytest.mark.parametrize("check", two_processes.CHECKS)
def test_two_processes(check: str, found: list[Found]) -> None:
    for rank in range(2):
        assert found[rank][check] == "", f"on rank {rank}"

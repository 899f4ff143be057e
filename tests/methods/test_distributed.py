"""DDP and FSDP2: two gloo processes on the CPU run all checks of `two_processes.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import SGD

from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.names import named_weights
from tests.methods import sharded_pairs, two_processes

ROOT = Path(__file__).parents[2]
# torch's own: without a process group it says that it takes this process for the only one.
ALONE = "ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the two processes write; one pair of them for all checks."""
    folder = tmp_path_factory.mktemp("pair")
    save_by_one(folder / "by-one")
    command = [sys.executable, "-W", "error", "-m", "tests.methods.two_processes"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder


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
def test_two_processes(check: str, folder: Path) -> None:
    for rank in range(2):
        found = json.loads((folder / f"{rank}.json").read_text(encoding="utf-8"))
        assert found[check] == "", f"on rank {rank}"


def test_one_process_goes_on_from_what_two_have_saved(folder: Path) -> None:
    model = sharded_pairs.network()
    hare = torch.load(folder / "hare-0.pt", weights_only=True)
    with torch.no_grad():
        for name, tensor in named_weights(model).items():
            tensor.copy_(hare[name])
    pair = HareTortoise(model, **sharded_pairs.SETTINGS)
    sharded_pairs.load(pair, folder / "by-two")
    plain = sharded_pairs.network()
    optimizer = SGD(plain.parameters(), lr=0.1, momentum=0.9)
    expected = HareTortoise(plain, optimizer, **sharded_pairs.SETTINGS)
    sharded_pairs.train(plain, optimizer, sharded_pairs.batches(4))
    assert pair.steps == expected.steps == 4
    sharded_pairs.assert_same(named_weights(pair.tortoise), named_weights(expected.tortoise))
    assert list((folder / "by-two").glob("*.safetensors"))

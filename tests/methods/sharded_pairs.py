"""A small sharded pair, its unsharded oracle, and how they are trained, compared and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load as read
from torch.distributed.fsdp import fully_shard
from torch.optim import SGD, Optimizer

from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.names import is_sharded

SETTINGS: dict[str, Any] = {"decay": 0.75, "reset_every": 3}


def network(*, batch_norm: bool = False) -> nn.Sequential:
    """Sizes that two processes cannot share evenly: 5 rows, and 1, of which the second process has none."""
    torch.manual_seed(0)
    between = nn.BatchNorm1d(5) if batch_norm else nn.Tanh()
    return nn.Sequential(nn.Linear(3, 5), between, nn.Linear(5, 1))


def shard(model: nn.Sequential) -> nn.Sequential:
    fully_shard(model[0])
    fully_shard(model)
    return model


def batches(count: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, generator=generator) for _ in range(count)]


def train(model: nn.Module, optimizer: Optimizer, data: Sequence[Tensor], *, peek: bool = False) -> None:
    for inputs in data:
        if peek:
            with torch.no_grad():
                model(inputs)
        optimizer.zero_grad()
        (model(inputs) - 1).square().mean().backward()
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    gathered: Any = tensor
    found: Tensor = gathered.full_tensor() if is_sharded(tensor) else tensor
    return found.detach().clone()


def wholes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor) for name, tensor in tensors.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], *, exact: bool = False) -> None:
    assert found.keys() == expected.keys()
    rtol, atol = (0.0, 0.0) if exact else (1e-5, 1e-6)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=rtol, atol=atol, msg=f"{name} differs")


def pairs(
    make: Callable[[list[Any]], Optimizer] = lambda p: SGD(p, lr=0.1, momentum=0.9), **settings: Any
) -> tuple[nn.Module, Optimizer, HareTortoise, nn.Module, Optimizer, HareTortoise]:
    """A sharded pair, and the unsharded one that is its oracle."""
    sharded, plain = shard(network()), network()
    both: list[Any] = []
    for model in (sharded, plain):
        optimizer = make(list(model.parameters()))
        both += [model, optimizer, HareTortoise(model, optimizer, **SETTINGS | settings)]
    return tuple(both)


def load(pair: HareTortoise, folder: Path) -> None:
    """Take up a state whose tensors torch.distributed.checkpoint reads, each process its own shards."""
    own = pair.state_dict()
    tensors = {name: torch.zeros_like(tensor) for name, tensor in own["tortoise"].items()}
    tensors["generator"] = torch.zeros_like(own["generator"])
    read(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    rest = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    generator = tensors.pop("generator")
    pair.load_state_dict(rest | {"tortoise": tensors, "generator": generator})

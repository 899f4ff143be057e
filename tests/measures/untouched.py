"""Whether a network in training and the global random states are, bit for bit, as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from hare_tortoise.testing import Network, batch


def in_training(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network with BatchNorm in the middle of its training: with statistics, gradients and a frozen bias."""
    torch.manual_seed(7)
    model = Network().to(dtype)
    inputs, targets = batch(0, dtype)
    nn.functional.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    model.get_parameter("head.bias").requires_grad_(False)
    return model.eval()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fail if the block leaves a trace in the model or in a global random state, or calls a hook of the model."""
    calls: list[str] = []
    handles = [
        handle
        for name, module in model.named_modules()
        for handle in (
            module.register_forward_hook(
                lambda module, *_: calls.append("hook") if module.training else None
            ),
        )
    ]
    before, objects = _record(model), _objects(model)
    yield
    after = _record(model)
    for handle in handles:
        handle.remove()
    assert not calls, "a forward of the model in train mode"
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert objects == _objects(model)


def _record(model: nn.Module) -> dict[str, Tensor]:
    record = {f"value {name}": tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        record[f"requires {name}"] = torch.tensor(parameter.requires_grad)
        if parameter.grad is not None:
            record[f"grad {name}"] = parameter.grad.clone()
    record |= {f"mode {name}": torch.tensor(module.training) for name, module in model.named_modules()}
    record["torch"] = torch.get_rng_state()
    record["python"] = torch.tensor(random.getstate()[1])
    record["numpy"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))  # type: ignore[index]
    return record


def _objects(model: nn.Module) -> dict[str, tuple[int, int | None]]:
    found: dict[str, tuple[int, int | None]] = {}
    for name, parameter in model.named_parameters():
        found[name] = (id(parameter), None if parameter.grad is None else id(parameter.grad))
    return found

"""Run by two processes: training under DDP and FSDP2 over gloo, with and without a Probe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from hare_tortoise.measures import Probe
from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.values import whole
from tests.measures.learner import INPUTS, TARGETS, learner
from tests.ranks import main

Wrap = Callable[[nn.Module], nn.Module]
NAMES = ["dormant-ratio", "effective-rank", "weight-norm", "distance-from-initialization", "churn"]


def shard(model: nn.Module) -> nn.Module:
    fully_shard(model.get_submodule("body"))
    fully_shard(model)
    return model


def trained(wrap: Wrap, names: list[str]) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The weights after some steps, and what a Probe of these measures recorded (none: there is no Probe)."""
    model = wrap(learner()[0])
    optimizer = AdamW(model.parameters(), lr=0.05)
    probe = Probe(model, (INPUTS, TARGETS), measures=names, every=2, optimizer=optimizer) if names else None
    torch.manual_seed(1)
    for _ in range(4):
        optimizer.zero_grad()
        loss = cross_entropy(model(INPUTS), TARGETS)
        if probe:
            probe.take()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weights = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    return weights, probe.records if probe else []


def check(wrap: Wrap, names: list[str]) -> None:
    expected, _ = trained(wrap, [])
    found, records = trained(wrap, names)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    _, alone = trained(lambda model: model, names)
    assert [record["step"] for record in records] == [0, 1, 2, 2, 3, 4]
    for record, other in zip(records, alone, strict=True):
        assert record.keys() == other.keys()
        assert max(abs(record[key] - other[key]) for key in record) < 1e-4, (record, other)


def refusals() -> None:
    model = shard(learner()[0])
    for error, message, settings in (
        (ValueError, "the model is sharded", {"measures": ["gradient-norm"]}),
        (
            RuntimeError,
            "the tortoise of a sharded model is no module",
            {"measures": ["weight-norm"], "method": HareTortoise(model), "of": "deployed"},
        ),
    ):
        probe: Any = partial(Probe, model, (INPUTS, TARGETS))(**settings)
        with pytest.raises(error, match=message):
            probe.take()


CHECKS: dict[str, Callable[[], None]] = {
    "replicated": lambda: check(
        partial(DistributedDataParallel, gradient_as_bucket_view=True), [*NAMES, "gradient-norm"]
    ),
    "sharded": lambda: check(shard, NAMES),
    "refusals": refusals,
}


def alone(run: Callable[[], None], _rank: int, _folder: Path) -> None:
    run()


if __name__ == "__main__":
    main({name: partial(alone, run) for name, run in CHECKS.items()})

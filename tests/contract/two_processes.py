"""Run by two processes: every method under DDP and FSDP2."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from hare_tortoise.methods import HareTortoise, Method
from hare_tortoise.methods.support.names import local, named_weights
from hare_tortoise.methods.support.randomness import seeded
from hare_tortoise.methods.support.sharding import reshard
from hare_tortoise.methods.support.values import whole
from hare_tortoise.testing import Network, Run, batch
from tests.contract.row import Row
from tests.contract.rows import ROWS
from tests.ranks import main

STEPS = 6


class DrawsGlobally(Method):
    """Adds noise from the global generator, which each rank has seeded in its own way."""

    @torch.no_grad()
    def new_data(self, *_: object, **__: object) -> None:
        for parameter in self.model.parameters():
            local(parameter).add_(torch.randn(local(parameter).shape))


class DrawsForItsShare(Method):
    """Draws as much as the rank holds, from generators that are in the same state on all ranks."""

    @torch.no_grad()
    def new_data(self, *_: object, **__: object) -> None:
        for parameter in self.model.parameters():
            local(parameter).add_(torch.randn(local(parameter).shape, generator=self.generator))


FAULTS = [
    Row(kind.__name__, lambda model, optimizer, kind=kind: kind(model, optimizer), kind)
    for kind in (DrawsGlobally, DrawsForItsShare)
]


def train(run: Run, offset: int, again: Row | None = None) -> Run:
    """Train with new data every two steps, and a forward without gradient before it.

    `again` builds the method anew in the middle, which then goes on from a saved state.
    """
    for number in range(STEPS):
        inputs, targets = batch(number + offset)
        if number in (2, 4):
            with torch.no_grad():
                run.model(inputs)
            run.new_data()
        if number == 3 and again is not None:
            run.method.detach()
            state = through_file(run.method.state_dict())
            run.method = again.build(run.model, run.optimizer)
            run.method.load_state_dict(state)
        run.optimizer.zero_grad()
        outputs = run.model(inputs)
        loss = cross_entropy(outputs, targets)
        if run.method.adds_penalty:
            loss = loss + run.method.penalty(inputs, outputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
    return run


def weights(run: Run) -> dict[str, Tensor]:
    """Return whole copies of the model's weights and of each average's."""
    found = {}
    members = getattr(run.method, "members", (run.method,))
    lent = [member.deployed_weights() for member in members if isinstance(member, HareTortoise)]
    contexts: list[AbstractContextManager[object]] = [nullcontext(), *lent]
    for number, context in enumerate(contexts):
        with context:
            reshard(run.model)
            for name, value in named_weights(run.model).items():
                found[f"{number} {name}"] = whole(value).clone()
    return found


def replicated(row: Row, rank: int) -> None:
    """Other global seeds, other data, other first weights: the ranks must end bit for bit the same."""
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(rank + 1)
    model = DistributedDataParallel(Network())
    run = train(start(row, model), offset=100 * rank)
    found = weights(run)
    found["generator"] = run.method.generator.get_state()
    # The statistics of a BatchNorm are those of each rank's own last batch, with a method or without.
    own = {f"0 {name}" for name, _ in model.module.named_buffers()}
    for name, value in found.items():
        if name in own:
            continue
        others = [torch.empty_like(value) for _ in range(2)]
        dist.all_gather(others, value)
        if not torch.equal(others[0], others[1]):
            raise AssertionError(f"{name} differs between the ranks")


def sharded(row: Row, rank: int) -> None:
    """Of a sharded model each rank keeps its share of what an unsharded model has; a saved state goes on."""
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(rank + 1)
    runs = []
    for shard in (False, True):
        with seeded(0):
            model = Network()
        if shard:
            fully_shard(model.body)
            fully_shard(model.head)
            fully_shard(model)
        with torch.no_grad():
            model.eval()(batch(0)[0])
        model.train()
        runs.append(weights(train(start(row, model), offset=0, again=row if shard else None)))
    for name, value in runs[0].items():
        # The gradient of a bias before BatchNorm is rounding error, which AdamW makes whole steps of.
        atol = 0.1 if name.endswith(("body.0.bias", "body.1.running_mean")) else 1e-6
        torch.testing.assert_close(runs[1][name], value, rtol=1e-5, atol=atol, msg=f"{name} differs")


def through_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def start(row: Row, model: nn.Module) -> Run:
    reshard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
    return Run(model, optimizer, row.build(model, optimizer))


def checks() -> dict[str, Callable[[int, Path], None]]:
    """Each row replicated and sharded, by names such as "EMA replicated"."""
    return {
        f"{row.name} {kind.__name__}": partial(_check, kind, row)
        for row in (*ROWS, *FAULTS)
        for kind in (replicated, sharded)
    }


def _check(kind: Callable[[Row, int], None], row: Row, rank: int, _folder: Path) -> None:
    kind(row, rank)


if __name__ == "__main__":
    main(checks())

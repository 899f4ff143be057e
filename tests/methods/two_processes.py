"""Run by two processes: a pair under DDP and FSDP2 over gloo."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adagrad, AdamW

from hare_tortoise.methods import HareTortoise, method
from hare_tortoise.methods.support import average, deployed
from hare_tortoise.methods.support.names import is_sharded, local, named_weights
from hare_tortoise.methods.support.sharding import reshard
from tests.methods.sharded_pairs import (
    SETTINGS,
    assert_same,
    batches,
    load,
    network,
    pairs,
    shard,
    train,
    whole,
    wholes,
)
from tests.ranks import main


def fsdp_pair_is_that_of_an_unsharded_model(rank: int, folder: Path) -> None:
    model, optimizer, pair, plain, plain_optimizer, expected = pairs()
    for number, inputs in enumerate(batches(7)):
        train(model, optimizer, [inputs])
        train(plain, plain_optimizer, [inputs])
        slow, oracle = wholes(pair.state_dict()["tortoise"]), wholes(expected.state_dict()["tortoise"])
        assert_same(slow, oracle)
        assert_same(wholes(named_weights(model)), wholes(named_weights(plain)))
        assert abs(pair.distance() - expected.distance()) < 1e-5, number
    rows = [tuple(local(tensor).shape) for tensor in pair.state_dict()["tortoise"].values()]
    assert rows == ([(3, 3), (3,), (1, 5), (1,)] if rank == 0 else [(2, 3), (2,), (0, 5), (0,)])


def fsdp_forward_without_gradients_before_building(rank: int, folder: Path) -> None:
    model, plain, data = shard(network()), network(), batches(4)
    with torch.no_grad():
        model(data[0])
    pair = HareTortoise(model, decay=0.5, reset_every=None)
    expected = HareTortoise(plain, decay=0.5, reset_every=None)
    assert all(is_sharded(tensor) for tensor in pair.state_dict()["tortoise"].values())
    optimizer, plain_optimizer = SGD(model.parameters(), lr=0.1), SGD(plain.parameters(), lr=0.1)
    pair.attach(optimizer)
    expected.attach(plain_optimizer)
    train(model, optimizer, data)
    train(plain, plain_optimizer, data)
    assert_same(wholes(pair.state_dict()["tortoise"]), wholes(expected.state_dict()["tortoise"]))


def fsdp_forward_without_gradients_before_a_reset(rank: int, folder: Path) -> None:
    model, optimizer, pair, plain, plain_optimizer, expected = pairs(reset_every=None)
    data = batches(3)
    for one, its in ((model, optimizer), (plain, plain_optimizer)):
        train(one, its, data, peek=True)
    with torch.no_grad():
        before = model(data[0])
        pair.reset()
        expected.reset()
        after = model(data[0])
        torch.testing.assert_close(after, plain(data[0]), rtol=1e-5, atol=1e-6)
    assert (after - before).abs().max() > 1e-3


def fsdp_forward_without_gradients_before_swapping(rank: int, folder: Path) -> None:
    model, optimizer, pair, plain, plain_optimizer, expected = pairs(reset_every=None)
    data = batches(3)
    for one, its in ((model, optimizer), (plain, plain_optimizer)):
        train(one, its, data)
    with torch.no_grad():
        outside = model(data[0])
        with pair.deployed_weights():
            torch.testing.assert_close(model(data[0]), expected.tortoise(data[0]), rtol=1e-5, atol=1e-6)
            saved = wholes(model.state_dict())
        torch.testing.assert_close(model(data[0]), outside, rtol=0, atol=0)
    assert_same(saved, wholes(named_weights(plain)))
    assert (outside - expected.tortoise(data[0])).abs().max() > 1e-3
    with suppress(KeyError), pair.deployed_weights():
        model(data[0])
        raise KeyError
    for one, its in ((model, optimizer), (plain, plain_optimizer)):
        train(one, its, data)
    assert_same(wholes(named_weights(model)), wholes(named_weights(plain)))
    assert all(parameter.requires_grad for parameter in model.parameters())


def fsdp_first_forward_inside_deployed_weights(rank: int, folder: Path) -> None:
    model, optimizer, pair, plain, plain_optimizer, _ = pairs()
    with pair.deployed_weights(), torch.no_grad():
        model(batches(1)[0])
    for one, its in ((model, optimizer), (plain, plain_optimizer)):
        train(one, its, batches(4))
    assert_same(wholes(named_weights(model)), wholes(named_weights(plain)))


def fsdp_tortoise_is_no_module(rank: int, folder: Path) -> None:
    pair = HareTortoise(shard(network()))
    for name in ("tortoise", "deployed"):
        with pytest.raises(RuntimeError, match=r"deployed_weights\(\).*tortoise="):
            getattr(pair, name)


def fsdp_tortoise_that_is_given(rank: int, folder: Path) -> None:
    model, slow, plain = shard(network()), shard(network()), network()
    optimizer, plain_optimizer = SGD(model.parameters(), lr=0.1), SGD(plain.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, tortoise=slow, **SETTINGS)
    expected = HareTortoise(plain, plain_optimizer, **SETTINGS)
    assert pair.tortoise is slow
    for inputs in batches(5):
        with torch.no_grad():
            torch.testing.assert_close(slow(inputs), expected.tortoise(inputs), rtol=1e-5, atol=1e-6)
        train(model, optimizer, [inputs])
        train(plain, plain_optimizer, [inputs])
    with pytest.raises(ValueError, match="sharded otherwise"):
        HareTortoise(model, tortoise=network())


def fsdp_half_precision(rank: int, folder: Path) -> None:
    model = shard(network().bfloat16())
    pair = HareTortoise(model, decay=0.999)
    start = wholes(pair.state_dict()["tortoise"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.125)
    gone = {
        name: whole(tensor).double() - start[name].double() for name, tensor in named_weights(model).items()
    }
    for _ in range(50):
        pair.after_step()
    for name, tensor in wholes(pair.state_dict()["tortoise"]).items():
        assert tensor.dtype == torch.float32
        moved = tensor.double() - start[name].double()
        torch.testing.assert_close(moved, gone[name] * (1 - 0.999**50), rtol=2e-3, atol=1e-5)
    with pair.deployed_weights():
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def fsdp_a_cast_is_followed_at_the_next_step(rank: int, folder: Path) -> None:
    model = shard(network())
    pair = HareTortoise(model, decay=0.5, reset_every=None)
    start = wholes(pair.state_dict()["tortoise"])
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            local(parameter).add_(1.0)
    pair.after_step()
    # Looked at without `state_dict()`, which would follow it too.
    for name, tensor in pair._average.tensors.items():
        assert tensor.dtype == torch.float64
        torch.testing.assert_close(whole(tensor), start[name].double() + 0.5, rtol=1e-6, atol=1e-7)


def fsdp_optimizer_state(rank: int, folder: Path) -> None:
    for make in (lambda p: AdamW(p, lr=0.01), lambda p: Adagrad(p, initial_accumulator_value=0.1)):
        model, optimizer, _, plain, plain_optimizer, _ = pairs(make, optimizer_state="reset")
        for one, its in ((model, optimizer), (plain, plain_optimizer)):
            train(one, its, batches(5))
        assert_same(wholes(named_weights(model)), wholes(named_weights(plain)))


def fsdp_non_finite(rank: int, folder: Path) -> None:
    model = shard(network())
    pair = HareTortoise(model, decay=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            local(parameter).fill_(float("nan"))
    pair.after_step()
    with torch.no_grad():
        for parameter in model.parameters():
            local(parameter).fill_(3.0)
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        pair.reset()
    assert all(bool((local(parameter) == 3.0).all()) for parameter in model.parameters())


def _all_stop_where_one_is_not_finite(
    make: Callable[[], nn.Module], rank: int, act: Callable[[HareTortoise], None], **settings: Any
) -> None:
    for poisoned in range(2):
        model = make()
        pair = HareTortoise(model, decay=0.5, reset_every=None, **settings)
        before = [local(parameter).detach().clone() for parameter in model.parameters()]
        if rank == poisoned:
            with torch.no_grad():
                local(pair._average.tensors["0.weight"]).fill_(float("nan"))
        with pytest.raises(RuntimeError, match=r"0\.weight" if rank == poisoned else "on another process"):
            act(pair)
        after = [local(parameter) for parameter in model.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def fsdp_all_stop_where_one_is_not_finite(rank: int, folder: Path) -> None:
    _all_stop_where_one_is_not_finite(lambda: shard(network()), rank, HareTortoise.reset)
    _all_stop_where_one_is_not_finite(lambda: shard(network()), rank, HareTortoise.after_step, check_every=1)


def ddp_all_stop_where_one_is_not_finite(rank: int, folder: Path) -> None:
    def make() -> nn.Module:
        return DistributedDataParallel(network(batch_norm=True))

    _all_stop_where_one_is_not_finite(make, rank, HareTortoise.reset)
    _all_stop_where_one_is_not_finite(make, rank, HareTortoise.after_step, check_every=1)


def fsdp_saved_as_safetensors(rank: int, folder: Path) -> None:
    """Saved by two processes after 4 steps, each its shards; taken up here by two, and by one in the test's process."""
    # The files of the ranks are not consolidated into one: torch 2.13 does that for floating tensors only.
    model, optimizer, pair, *_ = pairs()
    train(model, optimizer, batches(4))
    state = pair.state_dict()
    tensors = state.pop("tortoise") | {"generator": state.pop("generator")}
    writer = HuggingFaceStorageWriter(str(folder / "by-two"), save_distributed=True)
    save(tensors, storage_writer=writer)
    torch.save(wholes(named_weights(model)), folder / f"hare-{rank}.pt")
    if rank == 0:
        (folder / "by-two" / "state.json").write_text(json.dumps(state), encoding="utf-8")
    dist.barrier()
    resumed_model = shard(network())
    with torch.no_grad():
        for name, tensor in named_weights(resumed_model).items():
            local(tensor).copy_(local(named_weights(model)[name]))
    resumed = HareTortoise(resumed_model, **SETTINGS)
    load(resumed, folder / "by-two")
    assert_same(wholes(resumed.state_dict()["tortoise"]), wholes(pair.state_dict()["tortoise"]), exact=True)
    assert resumed.steps == 4


def fsdp_taken_up_from_one_process(rank: int, folder: Path) -> None:
    pair = HareTortoise(shard(network()), **SETTINGS)
    load(pair, folder / "by-one")
    plain = HareTortoise(network(), **SETTINGS)
    optimizer = SGD(plain.model.parameters(), lr=0.1)
    plain.attach(optimizer)
    train(plain.model, optimizer, batches(4))
    assert_same(wholes(pair.state_dict()["tortoise"]), wholes(plain.state_dict()["tortoise"]), exact=True)
    assert pair.steps == 4


def ddp_pair_is_that_of_one_process(rank: int, folder: Path) -> None:
    model, plain = DistributedDataParallel(network()), network()
    optimizer, plain_optimizer = SGD(model.parameters(), lr=0.1), SGD(plain.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, **SETTINGS)
    expected = HareTortoise(plain, plain_optimizer, **SETTINGS)
    for inputs in batches(7):
        train(model, optimizer, [inputs[2 * rank : 2 * rank + 2]])
        train(plain, plain_optimizer, [inputs])
        assert_same(named_weights(pair.tortoise), named_weights(expected.tortoise))
        assert_same(named_weights(model), named_weights(plain))
    assert list(pair.state_dict()["tortoise"]) == list(network().state_dict())


def ddp_one_process_alone_evaluates(rank: int, folder: Path) -> None:
    model = DistributedDataParallel(network(batch_norm=True))
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, **SETTINGS)
    train(model, optimizer, batches(2))
    if rank == 0:
        assert not isinstance(pair.tortoise, DistributedDataParallel)
        pair.tortoise(batches(1)[0])
        assert pair.deployed is pair.tortoise
    train(model, optimizer, batches(2))


def buffers(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for name, tensor in tensors.items() if "running" in name]


def firsts(mine: list[Tensor]) -> list[Tensor]:
    theirs = [tensor.clone() for tensor in mine]
    for tensor in theirs:
        dist.broadcast(tensor, src=0)
    return theirs


def _buffers_are_the_first_processes(model: nn.Module, rank: int) -> None:
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = HareTortoise(model, optimizer, decay=0.5, reset_every=None)
    train(model, optimizer, [inputs * (1 + 5 * rank) for inputs in batches(3)])
    hare = buffers(named_weights(model))
    live = buffers(pair._average.tensors)
    own, slow = firsts(hare), firsts(live)
    for mine, first in ((hare, own), (live, slow)):
        assert all(torch.equal(a, b) for a, b in zip(mine, first, strict=True)) is (rank == 0), (
            "they differ at first"
        )
    saved = buffers(pair.state_dict()["tortoise"])
    assert all(torch.equal(a, b) for a, b in zip(saved, slow, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers(pair._average.tensors), live, strict=True)), (
        "a save changes"
    )
    with pair.deployed_weights():
        assert all(torch.equal(a, b) for a, b in zip(buffers(named_weights(model)), slow, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers(named_weights(model)), hare, strict=True))
    pair.reset()
    for after in (named_weights(model), pair._average.tensors):
        assert all(torch.equal(a, b) for a, b in zip(buffers(after), slow, strict=True))


def ddp_buffers_are_the_first_processes(rank: int, folder: Path) -> None:
    _buffers_are_the_first_processes(DistributedDataParallel(network(batch_norm=True)), rank)


def fsdp_buffers_are_the_first_processes(rank: int, folder: Path) -> None:
    _buffers_are_the_first_processes(shard(network(batch_norm=True)), rank)


@contextmanager
def without_resharding() -> Iterator[None]:
    """The fault: weights are written to shards while the module still holds gathered ones."""
    places: list[Any] = [average, deployed, method]
    try:
        for place in places:
            place.reshard = lambda model: None
        yield
    finally:
        for place in places:
            place.reshard = reshard


def _must_fail(check: Callable[[int, Path], None], rank: int, folder: Path) -> None:
    try:
        with without_resharding():
            check(rank, folder)
    except (AssertionError, RuntimeError, ValueError):
        return
    raise AssertionError(f"{check.__name__} does not notice that nothing is resharded")


def fault_a_reset_without_resharding_is_found(rank: int, folder: Path) -> None:
    _must_fail(fsdp_forward_without_gradients_before_a_reset, rank, folder)


def fault_a_swap_without_resharding_is_found(rank: int, folder: Path) -> None:
    _must_fail(fsdp_forward_without_gradients_before_swapping, rank, folder)


def fault_building_without_resharding_is_found(rank: int, folder: Path) -> None:
    _must_fail(fsdp_forward_without_gradients_before_building, rank, folder)


CHECKS: dict[str, Callable[[int, Path], None]] = {
    name: value for name, value in globals().items() if name.startswith(("fsdp_", "ddp_", "fault_"))
}


if __name__ == "__main__":
    main(CHECKS)

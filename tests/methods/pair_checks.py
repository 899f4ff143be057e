"""What must be true of a pair, as functions of how the pair is built: one oracle for the real and for the faulty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from hare_tortoise.methods import HareTortoise
from hare_tortoise.methods.support.names import named_weights

Build = Callable[..., HareTortoise]


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def steps(model: nn.Module, optimizer: Optimizer, count: int, *, seed: int = 1) -> Iterator[int]:
    """Train on random data, giving the number of each step after it."""
    generator = torch.Generator().manual_seed(seed)
    for number in range(1, count + 1):
        inputs = torch.randn(8, 3, generator=generator)
        targets = torch.randn(8, 2, generator=generator)
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
        yield number


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named_weights(model).items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = values(a), values(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class HareSeen:
    """What the hare was after each optimizer step, before any reset: a hook registered before the pair's."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.seen: list[dict[str, Tensor]] = [values(model)]
        optimizer.register_step_post_hook(lambda *_: self.seen.append(values(model)))


def closed_form(seen: list[dict[str, Tensor]], name: str, decay: float) -> Tensor:
    """`decayⁿ·h₀ + Σ (1 − decay)·decay^(n − t)·h_t` in float64."""
    last = len(seen) - 1
    total = decay**last * seen[0][name].double()
    for number in range(1, last + 1):
        total = total + (1 - decay) * decay ** (last - number) * seen[number][name].double()
    return total


def is_average_from_the_first_step(build: Build) -> None:
    """The tortoise is the explicit weighted sum over all steps and the start; buffers too."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    seen = HareSeen(model, optimizer)
    pair = build(model, optimizer, decay=0.9)
    assert same(pair.tortoise, model), "the tortoise starts as a copy"
    for number in steps(model, optimizer, 12):
        if number in (1, 2, 12):
            average = values(pair.tortoise)
            for name, tensor in average.items():
                if tensor.is_floating_point():
                    expected = closed_form(seen.seen, name, 0.9)
                    torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)


def resets_at(build: Build) -> None:
    """The hare is put back at steps 5, 10, 15 and no other; the average is taken first, and goes on from there."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = build(model, optimizer, decay=0.9, reset_every=5)
    equal = [number for number in steps(model, optimizer, 16) if same(model, pair.tortoise)]
    assert equal == [5, 10, 15]


def averages_before_it_resets(build: Build) -> None:
    """At a reset step the average is taken first: `hare = decay·tortoise + (1 − decay)·hare`."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    seen = HareSeen(model, optimizer)
    pair = build(model, optimizer, decay=0.5, reset_every=3)
    for _ in steps(model, optimizer, 3):
        pass
    for name, tensor in values(model).items():
        if tensor.is_floating_point():
            expected = closed_form(seen.seen, name, 0.5)
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
    assert same(model, pair.tortoise)


def shares_no_storage(build: Build) -> None:
    """After each step, and a reset, no tensor of one lies in the storage of the other."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = build(model, optimizer, decay=0.9, reset_every=2)
    for _ in steps(model, optimizer, 5):
        hare = {tensor.untyped_storage().data_ptr() for tensor in named_weights(model).values()}
        slow = {tensor.untyped_storage().data_ptr() for tensor in named_weights(pair.tortoise).values()}
        assert not hare & slow
    before = values(pair.tortoise)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in values(pair.tortoise).items())


def counters_are_counts(build: Build) -> None:
    """BatchNorm's counter stays an integer on both sides, and counts every batch."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = build(model, optimizer, decay=0.9, reset_every=4)
    for number in steps(model, optimizer, 6):
        for side in (model, pair.tortoise):
            counter = named_weights(side)["1.num_batches_tracked"]
            assert counter.dtype == torch.int64
            assert int(counter) == number


def counters_are_counts_without_resets(build: Build) -> None:
    """The same for an average that never resets."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = build(model, optimizer, decay=0.9)
    for number in steps(model, optimizer, 4):
        assert int(named_weights(pair.tortoise)["1.num_batches_tracked"]) == number


def tortoise_evaluates(build: Build) -> None:
    """A forward of the tortoise changes neither of the two, before training and after a reset."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    pair = build(model, optimizer, decay=0.9, reset_every=2)
    for _ in range(2):
        before, slow = values(model), values(pair.tortoise)
        assert not any(module.training for module in pair.tortoise.modules())
        pair.tortoise(torch.randn(16, 3) * 5 + 3)
        assert all(torch.equal(tensor, slow[name]) for name, tensor in values(pair.tortoise).items())
        assert all(torch.equal(tensor, before[name]) for name, tensor in values(model).items())
        for _ in steps(model, optimizer, 2):
            pass


def hooks_stay_with_the_hare(build: Build) -> None:
    """A forward of the tortoise calls no forward hook of the hare."""
    model = network()
    called: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: called.append(module))
        module.register_forward_pre_hook(lambda module, *_: called.append(module))
    pair = build(model, None, decay=0.9)
    pair.tortoise(torch.randn(4, 3))
    assert not called
    model(torch.randn(4, 3))
    assert called


def skipped_steps_do_not_count(build: Build, fused: bool) -> None:
    """A step that the scaler skipped moves no average and no count; the reset waits for the missing step."""
    model = network()
    optimizer = Adam(model.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    pair = build(model, optimizer, decay=0.9, reset_every=3)
    generator = torch.Generator().manual_seed(1)
    log = []
    for number in range(1, 6):
        inputs = torch.randn(8, 3, generator=generator)
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        if number == 2:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        average = values(pair.tortoise)
        scaler.step(optimizer)
        scaler.update()
        if number == 2:
            after = values(pair.tortoise)
            parameters = [name for name, _ in model.named_parameters()]
            assert all(torch.equal(after[name], average[name]) for name in parameters)
        log.append(
            all(
                torch.equal(p, q) for p, q in zip(model.parameters(), pair.tortoise.parameters(), strict=True)
            )
        )
    assert pair.steps == 4
    assert log == [False, False, False, True, False]


def half_precision_does_not_stall(build: Build) -> None:
    """A bfloat16 hare 0.1 away for 100 steps draws the tortoise `1 − 0.999¹⁰⁰` of the way."""
    model = nn.Linear(64, 64).bfloat16()
    pair = build(model, None, decay=0.999)
    start = values(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.125)
    gone = {name: tensor.double() - start[name].double() for name, tensor in values(model).items()}
    for _ in range(100):
        pair.after_step()
    for name, tensor in values(pair.tortoise).items():
        moved = tensor.double() - start[name].double()
        torch.testing.assert_close(moved, gone[name] * (1 - 0.999**100), rtol=2e-3, atol=1e-5)


def optimizer_starts_anew(build: Build, make: Callable[[list[Any]], Optimizer]) -> None:
    """After a reset the next steps are bit for bit those of an optimizer newly built of the same groups."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False, dtype=torch.float32)
    optimizer = make(list(model.parameters()))
    pair = build(model, optimizer, decay=0.5, reset_every=3, optimizer_state="reset")
    generator = torch.Generator().manual_seed(1)

    def gradients() -> list[Tensor]:
        return [torch.randn(3, 4, generator=generator) for _ in range(3)]

    def step(model: nn.Module, optimizer: Optimizer, gradient: Tensor) -> None:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (next(model.parameters()) * gradient).sum() + next(model.parameters()).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        optimizer.step(closure)  # type: ignore[arg-type]

    for gradient in gradients():
        step(model, optimizer, gradient)
    twin = nn.Linear(4, 3, bias=False)
    twin.load_state_dict(model.state_dict())
    newly_built = make(list(twin.parameters()))
    pair.reset_every = None
    for gradient in gradients():
        step(model, optimizer, gradient)
        step(twin, newly_built, gradient)
        assert torch.equal(model.weight, twin.weight)

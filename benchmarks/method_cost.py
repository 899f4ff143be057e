"""What every method costs per training step, as a share of a plain step, and what it holds in memory.

A method's own calls are timed: its penalty with the gradient through it, `after_step`, what it observes in the
forward pass, and `new_data` and other periodic work divided by their period. What changes the gradient step or the
network is timed by whole steps. Run it with `python -m benchmarks.method_cost`.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness import Outcome, Row, alternate, script
from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import optimizer_of, part_of, settings_of, take_apart, transformed
from hare_tortoise.lab.spec import Call, parse
from hare_tortoise.methods import Method

THREADS = 2
# As many as one round of the method that reads what it has seen every 16 steps.
CALLS = 16
# Penalties do the same at each step.
PENALTIES = 3


@dataclass(frozen=True)
class Case:
    """A method to be timed.

    Args:
        text: as it is written on the command line.
        interval: name of the setting that says how often its periodic work is due, and how often that is.
        new_data: whether it works when data arrives.
        at_most: what it may cost on the ResNet-18, as a share of a step.
    """

    text: str
    interval: tuple[str, int] | None = None
    new_data: bool = False
    at_most: float | None = None

    def every(self, steps: int | None = None) -> str:
        """Write the method with its periodic work due so often, by default as often as the case says."""
        if self.interval is None:
            return self.text
        call, (name, period) = parse(self.text), self.interval
        return str(Call(call.name, (*call.settings, (name, period if steps is None else steps))))


OWN_CALLS = (
    Case("hare-tortoise", ("reset_every", 1000), at_most=0.05),
    Case("ema", at_most=0.05),
    Case("switch-ema", ("reset_every", 200)),
    Case("l2"),
    Case("l2-init", at_most=0.05),
    Case("wasserstein-init"),
    Case("spectral-regularization"),
    Case("parseval"),
    Case("spectral-decoupling"),
    Case("self-distillation"),
    Case("c-chain"),
    Case("spectral-normalization"),
    Case("weight-clipping", at_most=0.05),
    Case("normalize-and-project"),
    Case("soft-weight-rescaling"),
    Case("soft-shrink-perturb", at_most=0.05),
    Case("shrink-perturb", new_data=True, at_most=0.05),
    Case("from-scratch", new_data=True),
    Case("head-reset", new_data=True),
    Case("last-layers-reset(layers=2)", new_data=True),
    Case("full-reset", ("every", 40_000)),
    Case("optimizer-reset", new_data=True),
    Case("dash", new_data=True),
    Case("fire", new_data=True),
    Case("plasticity-injection", new_data=True),
    Case("redo", ("every", 1000), at_most=0.10),
    Case("regrama", ("every", 1000)),
    Case("continual-backprop(maturity=1)", at_most=0.10),
    Case("self-normalized-reset", ("renew_every", 1000), at_most=0.10),
)
WHOLE_STEPS = ("crelu", "fourier", "layer-norm", "aid", "upgd", "ada-upgd", "sam", "trac")
# Also by whole steps, to check the sum of their calls against.
CHECKED = ("c-chain", "continual-backprop(maturity=1)", "self-normalized-reset")


@dataclass(frozen=True)
class Place:
    """Where the cost is measured.

    Args:
        name: in the table.
        network: as it is written on the command line.
        shape: of a batch of inputs.
        arrival: steps from one arrival of data to the next, by which `new_data` is divided.
        chunk: batches that `new_data` is given; a few of them are timed for all.
        limited: whether the targets hold here.
    """

    name: str
    network: str
    shape: tuple[int, ...]
    arrival: int
    chunk: int
    limited: bool = False


PLACES = (
    Place("ResNet-18, batch 256", "resnet18", (256, 3, 32, 32), arrival=2000, chunk=20, limited=True),
    Place("MLP, batch 64", "mlp(hidden=(256, 256))", (64, 64), arrival=600, chunk=12),
)
QUICK = Place("MLP, batch 8", "mlp(hidden=(16, 16))", (8, 12), arrival=100, chunk=2, limited=True)


@dataclass(frozen=True)
class Step:
    """A whole training step, and what it trains with."""

    run: Callable[[], None]
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and of the optimizer's state."""
        held = tensors_of([self.model.state_dict(), self.optimizer.state_dict()["state"]])
        return sum(tensor.nbytes for tensor in held.values())


class Bench:
    """A network in training, and a plain step of it to compare with."""

    def __init__(self, place: Place, quick: bool) -> None:
        self.place, self.quick = place, quick
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(place.shape, generator=generator)
        self.targets = torch.randint(10, (place.shape[0],), generator=generator)
        torch.manual_seed(0)
        self.model = self.network()
        self.weight_bytes = sum(tensor.nbytes for tensor in self.model.state_dict().values())
        self.plain_seconds: list[float] = []
        self.step = self.whole_step("adamw")

    def network(self, transforms: tuple[Call, ...] = ()) -> nn.Module:
        """Build the network of the place."""
        return transformed(
            registry.build_network(parse(self.place.network), self.place.shape[1:], 10), transforms
        )

    def whole_step(self, text: str) -> Step:
        """Give a whole training step with the transform, the optimizer or the method that a text names."""
        parts = take_apart(text)
        model = self.network(parts.transforms)
        call = parts.optimizer or Call("adamw")
        optimizer = optimizer_of(call, list(model.parameters()), lr=1e-3, weight_decay=1e-3)

        method = self.method(parts.methods[0], model)
        method.attach(optimizer)

        def gradient() -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            outputs = model(self.inputs)
            loss = cross_entropy(outputs, self.targets)
            if method.adds_penalty:
                loss = loss + method.penalty(self.inputs, outputs, self.targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        def run() -> None:
            if part_of(call)[1].closure:
                optimizer.step(gradient)  # type: ignore[arg-type]
            else:
                gradient()
                optimizer.step()

        return Step(run, model, optimizer)

    def plain(self) -> None:
        """Time a plain step; the median of all of them is what costs are divided by."""
        self.plain_seconds.append(seconds_of(self.step.run))

    def method(self, call: Call, model: nn.Module) -> Method:
        """Build a method on a network."""
        parts = [(call, settings_of(call))]
        return registry.build_method(
            parts, model, fresh=self.network, head=lambda: registry.head_of(model), seeds=[0]
        )

    def start(self, text: str) -> tuple[nn.Module, torch.optim.Optimizer, Method]:
        """Build a method on a copy of the network, and take first small steps."""
        model = copy.deepcopy(self.model)
        (call,) = take_apart(text).methods
        method = self.method(call, model)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
        method.attach(optimizer)
        for _ in range(3):
            self.small_pass(model)
            optimizer.step()
            optimizer.zero_grad()
        return model, optimizer, method

    def small_pass(self, model: nn.Module) -> None:
        """Go forward and backward on a few rows, so that a method has seen something; it is not timed."""
        cross_entropy(model(self.inputs[:8]), self.targets[:8]).backward()  # type: ignore[no-untyped-call]


def seconds_of(call: Callable[[], object]) -> float:
    """Time a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def own_cost(bench: Bench, case: Case) -> tuple[float, float]:
    """Time the calls of a method: seconds per step, and what it holds as a share of the weights' bytes."""
    model, optimizer, method = bench.start(case.every())
    held = sum(tensor.nbytes for tensor in tensors_of(method.state_dict()).values())
    cost = calls(bench, model, method) if case.interval is None else periodic(bench, case)
    cost += observing(bench, model, method, case)
    if case.new_data:
        cost += arriving(bench, method) / bench.place.arrival
    del optimizer
    return cost, held / bench.weight_bytes


def calls(bench: Bench, model: nn.Module, method: Method) -> float:
    """Time the penalty, with the gradient through it, and `after_step`: the mean over several steps."""
    outputs = model(bench.inputs).detach().requires_grad_() if method.adds_penalty else None

    def own() -> None:
        if outputs is not None:
            value = method.penalty(bench.inputs, outputs, bench.targets)
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
        method.after_step()

    seconds = []
    for _ in range(2 + (CALLS if outputs is None else PENALTIES)):
        bench.small_pass(model)
        seconds.append(seconds_of(own))
    return statistics.mean(seconds[2:])


def periodic(bench: Bench, case: Case) -> float:
    """Time a method with periodic work: its calls in between, and what comes on top once in its period."""
    assert case.interval is not None
    seconds = {}
    for every in (1, 10**9):
        model, optimizer, method = bench.start(case.every(every))
        seconds[every] = calls(bench, model, method)
        del optimizer
    idle, busy = seconds[10**9], seconds[1]
    return idle + max(0.0, busy - idle) / case.interval[1]


def observing(bench: Bench, model: nn.Module, method: Method, case: Case) -> float:
    """Time what a method's hooks in the forward and backward pass cost, averaged over its period."""
    if not hasattr(method, "observing"):
        return 0.0
    # ReDo and ReGraMa look at the pass before a check only, the others at each
    every = case.interval[1] if case.interval is not None and case.interval[0] == "every" else 1
    if every > 1:
        model, _, method = bench.start(case.every(1))
    bare = copy.deepcopy(bench.model)

    def passes(network: nn.Module) -> None:
        cross_entropy(network(bench.inputs), bench.targets).backward()  # type: ignore[no-untyped-call]

    times = alternate(
        {"watched": partial(passes, model), "bare": partial(passes, bare)}, rounds=4, calls=1, warm_up=1
    )
    pairs = zip(times["watched"], times["bare"], strict=True)
    return max(0.0, statistics.median(watched - alone for watched, alone in pairs)) / every


def arriving(bench: Bench, method: Method) -> float:
    """Time `new_data`; of the batches it reads one is timed for all."""
    reads = "batches" in method.needs
    batches = [(bench.inputs, bench.targets)]
    seconds = seconds_of(
        lambda: method.new_data(iter(batches), loss=cross_entropy, steps=bench.place.arrival)
    )
    return seconds * (bench.place.chunk if reads else 1)


def tensors_of(state: object) -> dict[int, Tensor]:
    """Collect the tensors of a nested state, each storage once."""
    if isinstance(state, Tensor):
        return {state.data_ptr(): state}
    items = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return {key: tensor for item in items for key, tensor in tensors_of(item).items()}


def measure(quick: bool) -> Outcome:
    """Time every method at every place."""
    torch.set_num_threads(THREADS)
    rows = [row for place in ((QUICK,) if quick else PLACES) for row in at(Bench(place, quick))]
    return Outcome(
        title="The cost of each method",
        setting=(
            f"{THREADS} threads. A method's own calls, per step, as a share of a plain step (fused AdamW, no "
            "augmentation): its penalty with the gradient through it, `after_step`, what it observes in the passes, "
            "and periodic work divided by its period: a reset of Hare & Tortoise and a check of ReDo and ReGraMa "
            "every 1,000 steps, a full reset every 40,000, an arrival of data every "
            f"{PLACES[0].arrival:,} steps (the ResNet: 5,000 images for 100 epochs) or {PLACES[1].arrival:,} (the "
            "MLP). Transforms, optimizers, and three methods again: whole steps against plain ones, in turns. "
            "Memory: the method's saved state, or the parameters and optimizer state that come on top, as a share of "
            "the weights. Rounds of whole steps differ by up to 8 % here. What a reset of units keeps beside its "
            "state, a draw of each layer concerned, stands on its page."
        ),
        rows=rows,
        pivoted=True,
    )


def at(bench: Bench) -> list[Row]:
    """Time every method at one place."""
    name, found = bench.place.name, []
    for case in OWN_CALLS:
        bench.plain()
        found.append((case, *own_cost(bench, case)))
    plain = statistics.median(bench.plain_seconds)
    rows = [Row(what=f"{name}: a plain step", value=1e3 * plain, unit="ms")]
    for case, seconds, held in found:
        limit = None if case.at_most is None or not bench.place.limited else 100 * case.at_most
        rows += [
            Row(what=f"{name}: {case.text}", value=100 * seconds / plain, unit="%", at_most=limit),
            Row(what=f"memory, {name}: {case.text}", value=held, unit="×"),
        ]
    for text in (*WHOLE_STEPS, *CHECKED):
        step = bench.whole_step(text)
        rounds = 6 if text in CHECKED else 2
        times = alternate({"it": step.run, "plain": bench.step.run}, rounds=rounds, calls=1, warm_up=1)
        ratio = statistics.median(a / b for a, b in zip(times["it"], times["plain"], strict=True))
        line = f"{text}, by whole steps" if text in CHECKED else text
        rows.append(Row(what=f"{name}: {line}", value=100 * (ratio - 1), unit="%"))
        if text in WHOLE_STEPS:
            held = (step.nbytes - bench.step.nbytes) / bench.weight_bytes
            rows.append(Row(what=f"memory, {name}: {line}", value=held, unit="×"))
    return rows


if __name__ == "__main__":
    script(measure, __doc__)

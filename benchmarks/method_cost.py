"""What every method costs per training step, as a share of a plain step, and what it holds in memory.

A method's own calls are timed: its penalty with the gradient through it, `after_step`, its hooks in the forward pass,
and `new_data` and other periodic work divided by their period. What changes the gradient step or the network is timed
by whole steps. Run it with `python -m benchmarks.method_cost`.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.harness import Outcome, Row, alternate, median_row, script
from benchmarks.held import held_bytes
from benchmarks.method_cases import CHECKED, OWN_CALLS, PLACES, QUICK, WHOLE_STEPS, Case, Place
from hare_tortoise.lab import registry
from hare_tortoise.lab.composition import optimizer_of, part_of, settings_of, take_apart, transformed
from hare_tortoise.lab.spec import Call, parse
from hare_tortoise.methods import Method

THREADS = 2
# An interval at which nothing is due in a benchmark.
NEVER = 10**9


@dataclass(frozen=True)
class Step:
    """A whole training step, on so many rows of the batch, and what it trains with."""

    run: Callable[[int | None], None]
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @property
    def nbytes(self) -> int:
        """Bytes of the weights and of the optimizer's state, without the gradients."""
        return held_bytes([self.model.state_dict(), list(self.optimizer.state.values())])


class Bench:
    """A network in training, and a plain step of it to compare with."""

    def __init__(self, place: Place) -> None:
        self.place = place
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

        def gradient(rows: int | None) -> Tensor:
            inputs, targets = (self.inputs, self.targets) if rows is None else self.rows(rows)
            optimizer.zero_grad(set_to_none=True)
            outputs = model(inputs)
            loss = cross_entropy(outputs, targets)
            if method.adds_penalty:
                loss = loss + method.penalty(inputs, outputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        def run(rows: int | None = None) -> None:
            if part_of(call)[1].closure:
                optimizer.step(partial(gradient, rows))  # type: ignore[arg-type]
            else:
                gradient(rows)
                optimizer.step()

        return Step(run, model, optimizer)

    def rows(self, count: int) -> tuple[Tensor, Tensor]:
        """Give the first rows of the batch."""
        return self.inputs[:count], self.targets[:count]

    def plain(self) -> float:
        """Give the seconds of a plain step: timed now where it is short, else the median of those by whole steps."""
        if self.place.calls > 1:
            self.plain_seconds.append(mean_seconds(partial(self.step.run, None), self.place.calls // 8))
            return self.plain_seconds[-1]
        return statistics.median(self.plain_seconds)

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
        inputs, targets = self.rows(8)
        cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]


def seconds_of(call: Callable[[], object]) -> float:
    """Time a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def mean_seconds(call: Callable[[], object], calls: int) -> float:
    """Time calls in a row, after one that is not timed."""
    call()
    return seconds_of(lambda: [call() for _ in range(calls)]) / calls


def own_cost(bench: Bench, case: Case) -> tuple[list[float], float]:
    """Time the calls of a method: shares of a step, one for each round, and the bytes it holds after them."""
    model, optimizer, method = bench.start(case.every(1 if case.interval else None))
    shares = calls(bench, case, model, method)
    if case.interval is not None:
        idle_model, kept, idle = bench.start(case.every(NEVER))
        between = calls(bench, case, idle_model, idle)
        shares = [
            idle + max(0.0, busy - idle) / case.interval[1]
            for busy, idle in zip(shares, between, strict=True)
        ]
        del kept
    # ReDo looks at the pass before a check only, the others at each
    period = case.interval[1] if case.interval is not None and case.interval[0] == "every" else 1
    watched = watching(bench, model)
    shares = [share + watch / period for share, watch in zip(shares, watched, strict=True)]
    if case.new_data:
        model, optimizer, method, arrivals = arriving(bench, case)
        shares = [share + arrival for share, arrival in zip(shares, arrivals, strict=True)]
    grown = sum(tensor.nbytes for tensor in model.state_dict().values()) - bench.weight_bytes
    return shares, held_bytes(method, without=[model, optimizer]) + grown


def calls(bench: Bench, case: Case, model: nn.Module, method: Method) -> list[float]:
    """Time the penalty, with the gradient through it, and `after_step`: shares of a step, one for each round."""
    outputs = model(bench.inputs).detach().requires_grad_() if method.adds_penalty else None

    def own() -> None:
        if outputs is not None:
            value = method.penalty(bench.inputs, outputs, bench.targets)
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
        method.after_step()

    def seconds() -> float:
        bench.small_pass(model)
        return seconds_of(own)

    # C-CHAIN compares with the answers of the step before the last
    for _ in range(2):
        seconds()
    count = max(bench.place.calls, case.cycle)
    return [
        statistics.mean(seconds() for _ in range(count)) / bench.plain() for _ in range(bench.place.rounds)
    ]


def watching(bench: Bench, model: nn.Module) -> list[float]:
    """Time the hooks that a method has put on the network, in forwards of the whole batch: shares of a step."""
    spent = [0.0]

    def timed(hook: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                spent[0] += time.perf_counter() - start

        return run

    hooked = False
    for module in model.modules():
        # the copy of the network that methods are built on has no hooks of its own
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key, hook in hooks.items():
                hooks[key], hooked = timed(hook), True
    if not hooked:
        return [0.0] * bench.place.rounds
    shares = []
    for warm_up in (True, *[False] * bench.place.rounds):
        spent[0] = 0.0
        for _ in range(bench.place.calls):
            model(bench.inputs)
        if not warm_up:
            shares.append(spent[0] / bench.place.calls / bench.plain())
    return shares


def arriving(bench: Bench, case: Case) -> tuple[nn.Module, torch.optim.Optimizer, Method, list[float]]:
    """Time `new_data`, each time of a new start: shares of a step, and what the last one has left."""
    shares = []
    for _ in range(bench.place.rounds):
        model, optimizer, method = bench.start(case.every())
        batches = [(bench.inputs, bench.targets)]
        seconds = seconds_of(
            partial(method.new_data, iter(batches), loss=cross_entropy, steps=bench.place.arrival)
        )
        # of the batches that a method reads one is timed for all
        seconds *= bench.place.chunk if "batches" in method.needs else 1
        shares.append(seconds / bench.place.arrival / bench.plain())
    return model, optimizer, method, shares


def by_whole_steps(bench: Bench) -> list[Row]:
    """Time whole steps, all of them and the plain one in turns."""
    place, texts = bench.place, (*WHOLE_STEPS, *CHECKED)
    steps = {"plain": bench.step} | {text: bench.whole_step(text) for text in texts}
    for text, step in steps.items():
        # few rows are enough to have everything allocated, but C-CHAIN compares with the batch before
        for few in (8, None) if text == "c-chain" else (8, 8):
            step.run(few)
    times = alternate(
        {text: partial(step.run, None) for text, step in steps.items()},
        rounds=place.rounds,
        calls=place.calls,
        warm_up=0,
    )
    bench.plain_seconds += times["plain"]
    rows = []
    for text in texts:
        line = f"{text}, by whole steps" if text in CHECKED else text
        shares = [a / b - 1 for a, b in zip(times[text], times["plain"], strict=True)]
        rows.append(share_row(f"{place.name}: {line}", shares))
        if text in WHOLE_STEPS:
            held = (steps[text].nbytes - bench.step.nbytes) / bench.weight_bytes
            rows.append(Row(what=f"memory, {place.name}: {line}", value=held, unit="×"))
    return rows


def share_row(what: str, shares: Sequence[float], at_most: float | None = None) -> Row:
    """Build the row of the median of shares of a step, in per cent, with the quartiles."""
    row = median_row(what, [100 * share for share in shares], "%")
    return row if at_most is None else replace(row, at_most=100 * at_most)


def at(bench: Bench) -> list[Row]:
    """Time every method at one place."""
    name = bench.place.name
    whole = by_whole_steps(bench)
    found = [(case, *own_cost(bench, case)) for case in OWN_CALLS]
    plain = median_row(f"{name}: a plain step", [1e3 * seconds for seconds in bench.plain_seconds], "ms")
    own = [
        (
            share_row(f"{name}: {case.text}", shares, case.at_most if bench.place.limited else None),
            Row(what=f"memory, {name}: {case.text}", value=held / bench.weight_bytes, unit="×"),
        )
        for case, shares, held in found
    ]
    return [plain, *chain.from_iterable(own), *whole]


def measure(quick: bool) -> Outcome:
    """Time every method at every place."""
    torch.set_num_threads(THREADS)
    rows = [row for place in ((QUICK,) if quick else PLACES) for row in at(Bench(place))]
    return Outcome(title="The cost of each method", setting=SETTING, rows=rows, pivoted=True)


SETTING = (
    f"{THREADS} threads; medians of {PLACES[0].rounds} rounds of one call (the ResNet) or {PLACES[1].rounds} rounds of "
    f"{PLACES[1].calls} calls (the MLP), with the quartiles in parentheses.\n\n"
    "*By own calls*, per step, as a share of a plain step (fused AdamW, no augmentation): the penalty with the "
    "gradient through it, `after_step`, the hooks in the forward pass, and periodic work divided by its period: a "
    "reset of Hare & Tortoise and a check of ReDo and ReGraMa every 1,000 steps, a full reset every 40,000, an "
    f"arrival of data every {PLACES[0].arrival:,} steps (the ResNet: 5,000 images for 100 epochs) or "
    f"{PLACES[1].arrival:,} (the MLP). "
    "*By whole steps*: transforms, optimizers, and once more three methods, each round's steps against its "
    "plain ones.\n\n"
    "Whole steps hold what own calls leave out: that PyTorch calls modules with hooks more slowly, that a penalty is "
    "added to the loss, and that the rest of the step has pushed the method's tensors out of the caches. On the MLP, "
    "whose step takes half a millisecond or so, that is some tenths of a step: there, count on the larger figure. On "
    "the ResNet rounds of whole steps differ by up to 8 %, so that small costs show in the own calls only.\n\n"
    "*Memory*, as a share of the weights. Of methods: the tensors that are reached from the method after these calls, "
    "saved or not, without those of the network and its optimizer, and what the network has grown by. That of C-CHAIN "
    "are two batches, their answers, and a window of 50,000 pairs. What only a call needs while it runs, and the state "
    "of a random generator (5 kB), are not counted. Of transforms and optimizers: weights and optimizer state, less "
    "those of the plain network with AdamW; so it is below zero where a method needs less: deep Fourier features have "
    "fewer weights, and UPGD keeps one value for each weight where AdamW keeps two."
)


if __name__ == "__main__":
    script(measure, __doc__)

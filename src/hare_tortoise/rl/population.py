"""Several gradient steps of a population as one CUDA graph: sampled, augmented and taken without the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.replay import Replay
from hare_tortoise.rl.schedules import constant, read_schedule, whole
from hare_tortoise.rl.stacked import Stacked
from hare_tortoise.rl.stacked_keeping import StackedKeeping
from hare_tortoise.rl.update import Draws

Work = Callable[[], Tensor]
Capture = Callable[[Work, torch.Generator, Optimizer], Work]
"""From work, the generator that it draws from and the optimizer that it steps, to what does the work again."""

_BEFORE = 3  # steps that are taken plainly before a capture, so that every library has made what it keeps


def check_graph(recipe: AgentRecipe) -> None:
    """Refuse what a graph cannot follow.

    Raises:
        ValueError: n-step, discount or priorities change with the steps.
    """
    n_step, discount = read_schedule(recipe.n_step), read_schedule(recipe.discount)
    if not (isinstance(n_step, constant) and isinstance(discount, constant)):
        raise ValueError(
            f"n_step is {n_step} and discount {discount}, expected numbers, as a graph repeats what it has recorded: "
            "set them, or take the engine Stacked"
        )
    if recipe.replay != "uniform":
        raise ValueError(
            f"replay is {recipe.replay}, expected uniform, as priorities are the host's: set replay=uniform, or take "
            "the engine Stacked"
        )


class Graphed(Stacked):
    """The engine of `Stacked` that samples by itself and takes the steps of one step of the agents as one CUDA graph.

    A graph repeats kernels on the same addresses: the replay, the stacked weights and moments, and the bounds of what
    can be sampled, which alone are copied to the device before. It does not repeat what Python does. So a graph is used
    where the next steps are alike; a step with a reset of the hare, a copy of the weights now and then, or a rare act
    is taken plainly by the same code, and so are all steps where the decay follows a schedule. The counts of the
    average are brought up to date where they are needed.

    All agents draw rows and augmentation from one generator on the device: a run of a population is not that of its
    agents alone. On the CPU nothing is captured, and the same calls are made plainly.

    Tested on the CPU: all but `captured`, with a capture that leaves Python's part out as a graph does. Not tested, as
    no GPU was at hand: `captured` itself, that nothing in a step waits for the device, and speed.

    Args:
        agents: G of one recipe and method, on one device.
        seed: of the generator.
        capture: makes work repeatable; None: `captured` on a GPU, elsewhere the work itself.

    Raises:
        ValueError: as `Stacked`; n-step, discount or priorities change with the steps, which a graph cannot follow.
    """

    def __init__(self, agents: Sequence[Agent], seed: int, *, capture: Capture | None = None) -> None:
        check_graph(agents[0].recipe)
        super().__init__(agents)
        self.n_step = whole(read_schedule(self.recipe.n_step)(0))
        self.discount = read_schedule(self.recipe.discount)(0)
        self.count = max(1, int(self.recipe.replay_ratio))  # steps of a graph
        self.generator = torch.Generator(self.device).manual_seed(derive_seed(seed, "population"))
        self._capture = capture or (captured if self.device.type == "cuda" else plainly)
        self._bounds = torch.zeros(2, len(self.agents), dtype=torch.int64, device=self.device)
        self._replay: Replay | None = None
        self._plain = 0
        self._recorded_mask: Tensor | None = None
        self._repeat: Work | None = None

    def several(self, replay: Replay, count: int) -> Tensor:
        """Take some of the gradient steps that are due, 1 to `count`, with rows of a replay.

        The caller counts them, by `keeping.after_update()` of each agent as many times, before the next call.

        Args:
            replay: to which nothing is appended meanwhile.
            count: steps that are due, at least 1.

        Returns:
            The mean losses, (steps taken, G), on the device: read or copied before the next call.

        Raises:
            ValueError: an agent has no step that can be sampled.
        """
        self.catch_up()
        bounds = torch.from_numpy(replay.filled_bounds(self.n_step))
        # From memory that is not pinned a copy would wait for all that the device has to do.
        source = bounds.pin_memory() if self.device.type == "cuda" else bounds
        self._bounds.copy_(source, non_blocking=True)
        if replay is not self._replay or self.mask() is not self._recorded_mask:
            self._replay, self._recorded_mask, self._repeat = replay, self.mask(), None
            self._plain = 0
        if count < self.count or not self._alike():
            return self._step(replay)[None]
        if self._plain < _BEFORE:
            self._plain += 1
            return self._step(replay)[None]
        counted = self.targets.counted
        if self._repeat is None:
            self._repeat = self._capture(self._work(replay), self.generator, self.optimizer)
            self.targets.counted = counted  # recording has taken no step
        means = self._repeat()
        self.targets.counted = counted + self.count
        return means

    def state_dict(self) -> dict[str, Any]:
        """Give what is not in the states of the agents: where the generator is."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.generator.set_state(state["generator"].cpu())

    def _alike(self) -> bool:
        """Whether the next steps are alike, and no method acts before the last of them is counted."""
        keeping = self.agents[0].keeping
        assert isinstance(keeping, StackedKeeping)
        acts = any(keeping.acts_after(self.updates + made) for made in range(1, self.count))
        return not acts and self.targets.quiet(self.updates, self.count)

    def _work(self, replay: Replay) -> Work:
        return lambda: torch.stack([self._step(replay) for _ in range(self.count)])

    def _step(self, replay: Replay) -> Tensor:
        shape = len(self.agents), self.recipe.batch
        drawn = torch.rand(shape, dtype=torch.float64, generator=self.generator, device=self.device)
        batch = replay.gather(replay.slots(drawn, self._bounds), n_step=self.n_step, discount=self.discount)
        return self.update(batch, Draws([self.generator], [])).mean


def plainly(work: Work, _generator: torch.Generator, _optimizer: Optimizer) -> Work:
    """Repeat work by doing it."""
    return work


def captured(work: Work, generator: torch.Generator, optimizer: Optimizer) -> Work:
    """Record work as a CUDA graph, without doing it; to repeat it is one call. Not tested: no GPU was at hand."""
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    before = [group["capturable"] for group in optimizer.param_groups]
    # The fused step reads its count on the device anyway; torch asks for the word while it records, and only then.
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        with torch.cuda.graph(graph):
            output = work()
    finally:
        for group, capturable in zip(optimizer.param_groups, before, strict=True):
            group["capturable"] = capturable

    def repeat() -> Tensor:
        graph.replay()
        return output

    return repeat

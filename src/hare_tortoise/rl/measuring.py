"""What is taken of agents for a row of the metrics beside their returns: whole games, and measures of plasticity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hare_tortoise.lab.trial import Row, derive_seed
from hare_tortoise.measures import (
    decision_churn,
    dormant_ratio,
    effective_rank,
    features,
    hare_tortoise_distance,
    unit_activity,
)
from hare_tortoise.rl.agent import Agent
from hare_tortoise.rl.heads import values
from hare_tortoise.rl.network import QNetwork, prepare
from hare_tortoise.rl.noisy import NoisyLinear

if TYPE_CHECKING:
    from hare_tortoise.rl.training import Training

Evaluate = Callable[[Agent, int, int, bool], dict[str, list[float]]]


class Measured:
    """Takes what is due, and changes no bit of the training: it draws from generators of its own.

    | measure | what |
    |---|---|
    | ``dormant_ratio`` | share of the hidden units that are silent on observations of the replay (0.025) |
    | ``effective_rank`` | of what the last layer of the advantages reads of them |
    | ``hare_tortoise_distance`` | between the online and the target network, over all weights |
    | ``decision_churn`` | share of the observations whose greedy action the last update changed; where one was made |

    Args:
        evaluate: plays whole games with an agent: is told its place, the step and whether the phase is at its end.
        evaluate_every: steps; None: at the end of a phase only.
        every: steps between measures, a multiple of those between rows; None: never.
        samples: observations that they are taken on.
    """

    def __init__(
        self,
        *,
        evaluate: Evaluate | None = None,
        evaluate_every: int | None = None,
        every: int | None = None,
        samples: int = 256,
    ) -> None:
        self.evaluate, self.evaluate_every = evaluate, evaluate_every
        self.every, self.samples = every, samples
        self._before: list[tuple[Tensor, Tensor]] = []
        self._churn: dict[int, list[float]] = {}

    def due(self, step: int) -> bool:
        """Whether measures are taken after this step of a phase."""
        return self.every is not None and step % self.every == 0

    def watch(self, training: Training) -> None:
        """Note what the agents would do, before the last update that a row has in it."""
        self._before = [
            (seen := self._observations(training, place), self._values(agent, seen))
            for place, agent in enumerate(training.agents)
        ]

    def compare(self, training: Training) -> None:
        """Note what that update has changed."""
        pairs = zip(training.agents, self._before, strict=True)
        churn = [float(decision_churn(self._values(agent, seen), old)) for agent, (seen, old) in pairs]
        self._churn = {training.steps + 1: churn}  # the step is not counted yet
        self._before = []

    def row(self, training: Training, place: int, last: bool) -> Row:
        """Take what is due of one agent."""
        found: Row = {}
        agent, step = training.agents[place], training.step
        if self.due(step):
            found["measures"] = self._measures(training, place)
        played = self.evaluate_every is not None and step % self.evaluate_every == 0
        if self.evaluate is not None and (played or last):
            found["evaluations"] = self.evaluate(agent, place, training.steps, last)
        return found

    def _measures(self, training: Training, place: int) -> dict[str, float]:
        agent = training.agents[place]
        network = agent.online.eval()
        seen = self._observations(training, place)
        found = {
            "dormant_ratio": float(dormant_ratio(unit_activity(network, seen))),
            "effective_rank": float(effective_rank(features(network, seen, _last_layer(network)))),
            "hare_tortoise_distance": hare_tortoise_distance(network, agent.target),
        }
        if training.steps in self._churn:
            found["decision_churn"] = self._churn[training.steps][place]
        return found

    def _observations(self, training: Training, place: int) -> Tensor:
        draws = [
            torch.Generator().manual_seed(derive_seed(seed, "measure", training.steps))
            for seed in training.seeds
        ]
        batch = training.replay.sample(self.samples, draws, n_step=1, discount=1.0)
        agent = training.agents[place]
        return prepare(batch.observations[place], agent.shape)

    @torch.no_grad()
    def _values(self, agent: Agent, observations: Tensor) -> Tensor:
        network = agent.online.eval()
        found = values(network(observations, agent.mask), agent.support, agent.mask)
        # actions that are not legal would be no finite numbers
        return found if agent.mask is None else found[:, agent.legal]


def _last_layer(network: QNetwork) -> str:
    """Name the last layer of the advantages; where plasticity was injected, of those that learn."""
    layers = [
        (name, set(name.split(".")))
        for name, module in network.head.named_modules()
        if isinstance(module, nn.Linear | NoisyLinear)
    ]
    return f"head.{[name for name, parts in layers if 'advantage' in parts and not parts & {'old', 'start'}][-1]}"

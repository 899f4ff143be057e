"""What an agent is made of: every value of a value-based agent and of the protocol that it is trained under."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hare_tortoise.streams.names import unknown

OURS = "ours"

_POSITIVE = ("hidden", "batch", "capacity", "steps", "act_every", "copy_every", "stack", "jumps")
_NOT_NEGATIVE = ("warm_up", "shift", "intensity", "weight_decay", "prediction", "replay_ratio", "evaluation_epsilon")


@dataclass(frozen=True, kw_only=True)
class AgentRecipe:
    """A value-based agent, composed of parts, and how it is trained.

    Args:
        name: what it is called on the command line.
        description: one line.
        sources: where each value comes from, by the name of the value; what is not named there is ours.
        encoder: ``nature(padding=valid)``, ``nature(padding=same)``, ``impala(width=1)``, ``minatar``, ``mlp``, or the
            user's own ``package.module:function`` from an input shape to a module with an attribute ``features``.
        hidden: width of the hidden layer of the head; of each of its two streams where it is dueling.
        dueling: values are a value plus the advantages, less their mean over the legal actions (Wang et al., 2016).
        atoms: of the distribution of returns between -10 and 10 (C51, Bellemare et al., 2017); None: a scalar value.
        noisy: linear layers of the head explore by noise (Fortunato et al., 2018).
        shared_hidden: the two streams of a dueling head share one hidden layer.
        layer_norm: a LayerNorm before each activation, of the encoder and of the head.
        double: the online network chooses the action that the target network values (van Hasselt et al., 2016).
        n_step: steps of reward before a value stands in; a number, or a schedule of the updates since a reset.
        discount: of one step, between 0 and 1; likewise.
        clip_rewards: rewards are trained on in [-1, 1].
        lives_end: a lost life ends the return, in training only; the game goes on.
        stack: observations that the network sees at once.
        batch: rows of a gradient step.
        replay_ratio: gradient steps for each step of the agent.
        lr: of Adam.
        adam_epsilon: of Adam.
        weight_decay: decoupled, of matrices and kernels only.
        clip: largest norm of the gradient; None: any.
        replay: rows are drawn alike, or by their priority (Schaul et al., 2016).
        priority_exponent: of the priorities.
        importance: exponent of the weights that correct for it; a number, or a schedule of the updates.
        capacity: steps that are remembered, of each agent.
        warm_up: steps of random play before the first gradient step.
        epsilon: share of random actions in training: a number, or a schedule of the steps.
        evaluation_epsilon: the same in evaluation.
        shift: pixels that an observation is moved by at most, both ways; 0: it is not.
        intensity: scale of the noise that an observation is multiplied by; 0: none.
        target: the target network is an average of the online one, or a copy of it now and then.
        decay: of the average.
        copy_every: updates between copies.
        acts: which network plays, in training and in evaluation.
        prediction: weight of the prediction of the own future representations (SPR, Schwarzer et al., 2021); 0: none.
        jumps: steps that are predicted ahead.
        act_every: updates between the acts of methods that act at new data.
        after_act: what the target network gets where a method gives the online one new weights: the same, its own, or
            nothing.
        steps: of the agent, all in all.
        precision: of the forward and backward pass.

    Raises:
        ValueError: A value is out of its range, or does not fit another.
    """

    name: str
    description: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    encoder: str = "nature(padding=valid)"
    hidden: int = 512
    dueling: bool = True
    atoms: int | None = 51
    noisy: bool = False
    shared_hidden: bool = False
    layer_norm: bool = False
    double: bool = True
    n_step: int | str = 10
    discount: float | str = 0.99
    clip_rewards: bool = True
    lives_end: bool = True
    stack: int = 4
    batch: int = 32
    replay_ratio: float = 2.0
    lr: float = 1e-4
    adam_epsilon: float = 1.5e-4
    weight_decay: float = 0.0
    clip: float | None = 10.0
    replay: Literal["uniform", "prioritised"] = "uniform"
    priority_exponent: float = 0.5
    importance: float | str = 0.5
    capacity: int = 100_000
    warm_up: int = 1_600
    epsilon: float | str = "linear(first=1.0, last=0.01, steps=5000)"
    evaluation_epsilon: float = 0.001
    shift: int = 4
    intensity: float = 0.05
    target: Literal["average", "copy"] = "average"
    decay: float = 0.99
    copy_every: int = 1
    acts: Literal["target", "online"] = "target"
    prediction: float = 0.0
    jumps: int = 5
    act_every: int = 40_000
    after_act: Literal["same", "own", "keep"] = "same"
    steps: int = 100_000
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            _require(self, name, getattr(self, name) >= 1, "a whole number of 1 or more")
        for name in _NOT_NEGATIVE:
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        _require(self, "decay", 0 <= self.decay < 1, "a number in [0, 1)")
        _require(self, "atoms", self.atoms is None or self.atoms >= 2, "2 or more, or None for a scalar value")
        _require(self, "lr", self.lr > 0, "a number above 0")
        if unsourced := sorted(self.sources.keys() - {each.name for each in dataclasses.fields(self)}):
            raise ValueError(f"sources: got {unsourced}, which are no values of a recipe")
        if self.prediction and self.encoder == "mlp":
            raise ValueError("prediction: got an encoder of vectors, expected one of images; set prediction=0")

    def replace(self, **changes: Any) -> AgentRecipe:
        """Give the recipe with some values changed; those are then ours.

        Raises:
            ValueError: There is no such value, or it is out of its range.
        """
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise unknown(f"value of recipe {self.name}", name, names)
        sources = {name: source for name, source in self.sources.items() if name not in changes}
        return dataclasses.replace(self, **{"sources": sources, **changes})

    def source(self, name: str) -> str:
        """Say where a value comes from."""
        return self.sources.get(name, OURS)

    def to_json(self) -> dict[str, Any]:
        """Give all that an agent depends on, as a JSON value."""
        content = dataclasses.asdict(self)
        for name in ("name", "description", "sources"):
            del content[name]
        return content


def _require(recipe: AgentRecipe, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name} of recipe {recipe.name}: got {getattr(recipe, name)!r}, expected {expected}")

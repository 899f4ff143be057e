"""Online accuracy: each batch of a chunk is predicted before the step on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hare_tortoise.lab.evaluation import in_eval_mode
from hare_tortoise.lab.scores import Tally, read
from hare_tortoise.streams import Chunk

if TYPE_CHECKING:
    from hare_tortoise.lab.building import Setup
    from hare_tortoise.lab.trial import Row


class Online:
    """Adds up how right the predictions of the batches of a chunk are, of the deployed and of the trained network.

    Predictions are those in eval mode, on the batch as it is trained on, augmented or not. Where the network answers
    alike in training its outputs of the step are taken; else it is asked once more, without a gradient.

    Args:
        setup: the trial.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.deployed: Tally = setup.tally(None)
        self.hare: Tally = setup.tally(None)
        self.asked: list[tuple[nn.Module, Tally]] = []
        self.reused: Tally | None = None

    def begin(self, chunk: Chunk) -> None:
        """Begin with nothing, once the method has done at new data what it does."""
        blocked = self.setup.blocked(chunk)
        self.deployed, self.hare = self.setup.tally(blocked), self.setup.tally(blocked)
        hare, deployed = self.setup.model, self.setup.method.deployed
        self.asked = [] if deployed is hare else [(deployed, self.deployed)]
        self.reused = None if answers_by_mode(hare) else self.hare
        if self.reused is None:
            self.asked.append((hare, self.hare))

    @torch.no_grad()
    def ask(self, inputs: Tensor, targets: Tensor) -> None:
        """Let those predict a batch whose outputs the coming step does not give."""
        if not self.asked:
            return
        with in_eval_mode(*(network for network, _ in self.asked)), self.setup.autocast():
            for network, tally in self.asked:
                tally.add(network(inputs), targets)

    @torch.no_grad()
    def take(self, outputs: Tensor, targets: Tensor) -> None:
        """Take the outputs of the step, from before the weights moved."""
        if self.reused is not None:
            self.reused.add(outputs.detach(), targets)

    def row(self) -> Row:
        """Give the accuracies over the chunk; the device is waited for."""
        own = self.deployed.count > 0
        found = read([self.deployed, self.hare] if own else [self.hare])
        return {"online_accuracy": found[0].accuracy, "hare_online_accuracy": found[-1].accuracy}

    def state_dict(self) -> dict[str, Any]:
        """What was added up."""
        return {"deployed": self.deployed.state_dict(), "hare": self.hare.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was added up, in the chunk that was begun."""
        self.deployed.load_state_dict(state["deployed"])
        self.hare.load_state_dict(state["hare"])


def answers_by_mode(network: nn.Module) -> bool:
    """Whether a network may answer otherwise in training than in evaluation: one of its modules asks for its mode.

    Dropout and BatchNorm do; a module of one's own does if a method of its class reads ``self.training``.

    Example:
        >>> answers_by_mode(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.ReLU()))
        False
        >>> answers_by_mode(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        True
    """
    return any(_reads_mode(kind) for kind in {type(module) for module in network.modules()})


def _reads_mode(kind: type) -> bool:
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    methods = [value for each in own for value in vars(each).values()]
    codes = [getattr(method, "__code__", None) for method in methods]
    return any(code is not None and "training" in code.co_names for code in codes)

"""An agent: an encoder with a head, the target network (the tortoise), a method that keeps it plastic, an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.environments import Space, full_name, has_full_set, legal_actions
from hare_tortoise.rl.heads import atom_values, greedy, values
from hare_tortoise.rl.keeping import Keeping, keep
from hare_tortoise.rl.network import QNetwork, build_network, input_shape, prepare
from hare_tortoise.rl.player import Player
from hare_tortoise.rl.precision import precision_of
from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.rl.room import check_device
from hare_tortoise.rl.stage import padded, stage_of
from hare_tortoise.rl.stored import read_agent


@dataclass
class Agent:
    """One agent, on the device of its weights.

    Args:
        recipe: what it is made of.
        space: of its observations and actions.
        online: the network that is trained: the hare.
        target: the network that gives the targets: the tortoise.
        keeping: what makes the target follow, and the method.
        optimizer: of the online network.
        legal: (outputs,) bool, the actions that there are.
        games: that it was trained on, where it comes from a run.
    """

    recipe: AgentRecipe
    space: Space
    online: QNetwork
    target: QNetwork
    keeping: Keeping
    optimizer: torch.optim.Optimizer
    legal: Tensor
    games: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.shape = input_shape(self.recipe, self.space)
        atoms = self.recipe.atoms
        self.device = self.legal.device
        self.reduced = precision_of(self.recipe.precision, self.device) == "bfloat16"
        self.support = None if atoms is None else atom_values(atoms, device=self.device)
        self.mask = None if bool(self.legal.all()) else self.legal

    @property
    def deployed(self) -> QNetwork:
        """The network that plays."""
        return self.target if self.recipe.acts == "target" else self.online

    @property
    def padded(self) -> bool:
        """Whether it sees its game padded to the full set of its platform, as one of several."""
        return self.space.legal is not None

    @classmethod
    def load(cls, run: str | Path, *, device: torch.device | str = "cpu") -> Agent:
        """Read a finished agent with the weights that it ended with; its optimizer and its method begin anew.

        Args:
            run: folder of the run, or an output folder with one run in it.
            device: where it is to live.

        Raises:
            FileNotFoundError: There is no run, or it is not finished.
            ValueError: The run is no agent's, it failed, or the folder holds several.
        """
        check_device(str(device))
        stored = read_agent(run)
        trial = stored.trial

        def build(alike: bool) -> Agent:
            stage = stage_of(trial.games, alike=alike)
            space = stage.spaces[trial.games[0]]
            recipe, method, seed = trial.recipe, trial.method, trial.seed
            return build_agent(recipe, space, method, seed, actions=stage.actions, device=device)

        agent = build(padded(trial.games))
        if _shapes(agent.online.state_dict()) != _shapes(stored.online) and all(
            map(has_full_set, trial.games)
        ):
            agent = build(True)  # it was trained beside agents on other games
        if _shapes(agent.online.state_dict()) != _shapes(stored.online):
            raise ValueError(
                f"{run} holds weights of other shapes than encoder {trial.recipe.encoder} has now: the code "
                "has changed since; take the code that it was trained with, or train again"
            )
        agent.online.load_state_dict(stored.online)
        agent.target.load_state_dict(stored.deployed)  # where the online network plays, a copy of it
        agent.games = trial.games
        return agent

    def player(self, env: str | None = None) -> Player:
        """Give what plays with this agent in an environment of the user's own: `player.act(observation)`.

        Args:
            env: name of the environment; None: the one that it knows, of a sequence the first.

        Raises:
            ValueError: There is no such environment, or it looks different from those that the agent was trained on.
        """
        if env is None:
            return Player(self, self.games[0] if self.games else None)
        name = full_name(env)
        self.plays(stage_of([name], alike=self.padded).spaces[name])
        return Player(self, name)

    def state_dict(self) -> dict[str, Any]:
        """Give the two networks, the optimizer and what keeps them."""
        return {
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "keeping": self.keeping.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self.keeping.load_state_dict(state["keeping"])
        self.optimizer.load_state_dict(state["optimizer"])

    def autocast(self) -> AbstractContextManager[Any]:
        """Give the precision of the forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.reduced)

    def plays(self, space: Space) -> None:
        """Take up another game, whose actions are among the outputs of the network.

        Raises:
            ValueError: Its observations are others, or the network has too few outputs.
        """
        if (space.shape, space.dtype) != (self.space.shape, self.space.dtype):
            raise ValueError(
                f"the game shows {space.shape} of {space.dtype}, but the agent sees {self.space.shape} of "
                f"{self.space.dtype}: games that one network plays one after the other must look alike"
            )
        self.legal = legal_actions([space], len(self.legal))[0].to(self.device)
        self.mask = None if bool(self.legal.all()) else self.legal
        self.space = space

    def act(self, observation: object) -> int:
        """Choose an action for what an environment shows now, as `player()` does; nothing is explored.

        Args:
            observation: as an array or a tensor on the CPU.

        Raises:
            ValueError: The agent sees several observations at once, so that a player must remember them; or this one
                has another shape or dtype than those that it was trained on.

        Example:
            >>> from hare_tortoise.rl import train
            >>> agent = train(env="CartPole-v1", steps=300, warm_up=100)
            >>> agent.act(torch.zeros(4)) in (0, 1)
            True
        """
        if self.recipe.stack > 1:
            raise ValueError(
                f"the agent sees {self.recipe.stack} observations at once; take player = agent.player(), and call "
                "player.reset() where an episode begins and player.act(observation)"
            )
        return self.player().act(observation)

    @torch.no_grad()
    def choose(
        self,
        observations: Tensor,
        epsilon: float,
        generator: torch.Generator,
        *,
        noise: torch.Generator | None = None,
    ) -> Tensor:
        """Choose an action for each of N stacks of observations.

        Args:
            observations: (N, S, …), as the environments gave them.
            epsilon: share of actions that are drawn from the legal ones.
            generator: draws on the CPU; two numbers for each row, whatever comes of them.
            noise: draws the noise of noisy layers; None: they play without.

        Returns:
            (N,) int64, on the CPU.
        """
        count = len(observations)
        coins = torch.rand(count, generator=generator)
        which = torch.rand(count, generator=generator)
        legal = torch.tensor(self.space.numbers)
        drawn = legal[(which * len(legal)).long()]
        if epsilon >= 1:
            return drawn
        network = self.deployed
        self.set_noise(network, noise)
        with self.autocast():
            outputs = network(prepare(observations.to(self.device), self.shape), self.mask)
        chosen = greedy(values(outputs, self.support), self.mask).cpu()
        return torch.where(coins < epsilon, drawn, chosen)

    def set_noise(self, network: QNetwork, generator: torch.Generator | None, *, train: bool = False) -> None:
        """Put a network into the mode that it is asked in; draw the noise of its noisy layers anew.

        Args:
            network: the online or the target network.
            generator: draws the noise; None: noisy layers are without.
            train: whether layers that differ in training (dropout) are to be in it.
        """
        noise = generator if self.recipe.noisy else None
        if network.training != (
            train or noise is not None
        ):  # going through all modules takes as long as a small layer
            network.train(train or noise is not None)
        if noise is not None:
            network.resample(noise)


def build_agent(
    recipe: AgentRecipe,
    space: Space,
    method: str,
    seed: int,
    *,
    actions: int | None = None,
    device: torch.device | str = "cpu",
) -> Agent:
    """Build an agent with everything that is drawn for it.

    Args:
        recipe: what it is made of.
        space: of its observations and actions.
        method: as written, such as ``hare-tortoise(decay=0.999, reset_every=1000)``.
        seed: of its weights and of the method's draws.
        actions: outputs of the network; None: as many as hold every legal action.
        device: where it lives.

    Raises:
        ValueError: Something that the recipe or the method names is not there, or does not fit the rest.
    """
    legal = legal_actions([space], actions)[0].to(device)
    outputs = len(legal)

    if recipe.shift and len(space.shape) == 1:
        raise ValueError(
            f"shift of recipe {recipe.name}: got {recipe.shift}, but the observations are vectors; set shift=0"
        )

    def network() -> QNetwork:
        return build_network(recipe, space, outputs).to(device)

    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "network"))
        online = network()
    target = _twin(online, network)
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    if precision_of(recipe.precision, device) == "bfloat16":
        for each in (online, target):
            each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it for modules
    optimizer = build_optimizer(recipe, online)
    keeping = keep(recipe, method, online, target, optimizer, fresh=network, seed=derive_seed(seed, "method"))
    return Agent(recipe, space, online, target, keeping, optimizer, legal)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def build_optimizer(recipe: AgentRecipe, network: nn.Module) -> torch.optim.Optimizer:
    """Adam, with decoupled weight decay on matrices and kernels only where there is one."""
    if not recipe.weight_decay:
        return torch.optim.Adam(network.parameters(), lr=recipe.lr, eps=recipe.adam_epsilon, fused=True)
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, eps=recipe.adam_epsilon, fused=True)


def _twin(online: QNetwork, build: Callable[[], QNetwork]) -> QNetwork:
    with torch.random.fork_rng():
        target = build()
    target.load_state_dict(online.state_dict())
    return target.eval()

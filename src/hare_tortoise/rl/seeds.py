"""Seeds of episodes: those of training are even, those of evaluation odd, so that none is in both."""

from __future__ import annotations

from hare_tortoise.lab.trial import derive_seed
from hare_tortoise.rl.environments import SEEDS


def training_seed(seed: int, *place: str | int) -> int:
    """The seed of an episode that an agent is trained on.

    Args:
        seed: of the agent.
        place: which episode.

    Example:
        >>> training_seed(0, "phase", 0, "episode", 3) % 2
        0
    """
    return derive_seed(seed, "training", *place) % (SEEDS // 2) * 2


def evaluation_seed(seed: int, *place: str | int) -> int:
    """The seed of an episode that an agent is judged on.

    Args:
        seed: of the agent.
        place: which episode.

    Example:
        >>> evaluation_seed(0, "episode", 3) % 2
        1
    """
    return derive_seed(seed, "evaluation", *place) % (SEEDS // 2) * 2 + 1

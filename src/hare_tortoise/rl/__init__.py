"""Reinforcement learning: one value-based agent, its target network the tortoise.

Where to look:

- an agent: `recipe` and `recipes` (every value), `agent`, `network`, `heads`, `noisy`, `prediction`, and `keeping`,
  which has its target network and its method;
- its step: `losses`, `augmentation`, `update`, of many at once `stacked` and, on a GPU, `population`;
- games: `interface`, `environments`, `atari`, `minatar`, `gymnasium_games`, `episodes`, `lockstep`, `stage`, `stacks`;
- memory: `replay` on a `ring`, `replay_file`, `priorities`; `schedules`;
- training: `training`, `measuring`, `evaluation`, `rows`; from trials: `building`;
- running: `asked`, `experiment`, `trial`, `task`, `session`, `checkpoint`, `obtain`, `room`, `run`;
- by hand: `door`, `player`, `stored`, `played`, `video`, `describe`;
- what came of it: `scores`, and the folder `report`.
"""

from .agent import Agent as Agent
from .door import evaluate as evaluate
from .door import load as load
from .door import train as train
from .player import Player as Player
from .recipe import AgentRecipe as AgentRecipe
from .recipes import AGENTS as AGENTS
from .recipes import find_agent as find_agent

"""Reinforcement learning: one value-based agent, its target network the tortoise."""

from .agent import Agent as Agent
from .door import evaluate as evaluate
from .door import load as load
from .door import train as train
from .player import Player as Player
from .recipe import AgentRecipe as AgentRecipe
from .recipes import AGENTS as AGENTS
from .recipes import find_agent as find_agent

"""Reinforcement learning: one value-based agent, its target network the tortoise."""

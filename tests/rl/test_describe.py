"""The protocol in words: every value with its source, and sentences that are true of the code."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest

from hare_tortoise.networks.impala import impala_encoder
from hare_tortoise.networks.nature import nature_encoder
from hare_tortoise.rl import AGENTS
from hare_tortoise.rl.atari import Atari
from hare_tortoise.rl.describe import describe
from hare_tortoise.rl.minatar import MinAtar


def flat(text: str) -> str:
    return " ".join(text.split())


def topic(text: str, name: str) -> str:
    """The sentences of a topic, on one line."""
    found = re.search(rf"^{name} +(.*?)(?=^\S|^$)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return flat(found[1])


@pytest.mark.parametrize("name", AGENTS)
def test_every_value_stands_with_its_source(name: str) -> None:
    recipe = AGENTS[name]
    _, _, table = describe(recipe).partition("every value, and where it comes from\n")
    lines = {line.split()[0]: flat(line) for line in table.splitlines()}
    told = {"name", "description", "sources"}
    assert lines.keys() == {field.name for field in dataclasses.fields(recipe)} - told
    for field, line in lines.items():
        assert line == flat(f"{field} {getattr(recipe, field)} {recipe.sources.get(field, 'ours')}")


TOLD = {
    ("drq", "encoder"): "VALID padding, that is none",
    ("drq-eps", "encoder"): "SAME padding, as in Dopamine and BBF",
    ("bbf", "encoder"): "SAME padding, 4 times as wide",
    ("minatar", "encoder"): "16 of 3 × 3 with VALID padding",
    ("vector", "encoder"): "no padding, as nothing is convolved",
    (
        "drq",
        "game",
    ): "no sticky actions; an action is held for 4 frames and the maximum of the last 2 is shown",
    ("minatar", "game"): "the last one is repeated with probability 0.1; the difficulty rises",
    ("vector", "game"): "As gymnasium makes it",
    ("drq", "episodes"): "Cut after 27,000 steps (108,000 frames)",
    ("minatar", "episodes"): "Cut after 5,000 steps;",
    ("vector", "episodes"): "Cut by the environment, after 27,000 steps at the latest",
    (
        "drq",
        "lives",
    ): "ends the return in training only: it is terminal for the values and empties the stack, the game "
    "goes on and is not restarted",
    ("minatar", "lives"): "No lives are told",
    ("drq", "who acts"): "The target network (the tortoise) plays in training, is the one that is evaluated",
    ("drq-eps", "who acts"): "The online network plays in training, is the one that is evaluated",
    ("drq", "evaluation"): "epsilon 0.001; returns as the game gives them",
    ("der", "evaluation"): "noisy layers without noise",
    ("drq", "exploration"): "linear(first=1.0, last=0.01, steps=5000).",
    ("der", "exploration"): "and noise in the layers",
    ("drq", "warm-up"): "1,600 steps of random play",
    ("drq", "replay"): "The last 100,000 steps; batches of 32 drawn alike",
    ("bbf", "replay"): "The last 200,000 steps; batches of 32 drawn by priority (exponent 0.5, importance",
    (
        "drq",
        "target",
    ): "is the tortoise: an average of the online network with decay 0.99, a horizon of 100 updates",
    ("drq-eps", "target"): "a copy of the online one after each update, so it does not lag",
    (
        "dqn",
        "target",
    ): "a copy of the online one every 2,000 updates; it values its own best action (not double)",
    ("drq", "rewards"): "Clipped to [-1, 1] in training; returns of 10 steps, discount 0.99",
    ("vector", "rewards"): "As the game gives them, not clipped",
    ("drq", "observations"): "shifted by up to 4 pixels and made brighter or darker (scale 0.05)",
    ("minatar", "observations"): "One at a time; no augmentation",
    (
        "drq",
        "head",
    ): "two streams each with a hidden layer of 512; a distribution of 51 atoms from -10 to 10 (C51)",
    ("drq-eps", "head"): "which share a hidden layer of 512; a value (Huber)",
    ("dqn", "head"): "One hidden layer of 512; a value (Huber)",
    ("spr", "prediction"): "5 steps ahead, with a weight of 5",
    (
        "drq",
        "updates",
    ): "step of the agent: 2; Adam with lr 0.0001, epsilon 0.00015; gradients clipped to a norm of 10",
    (
        "bbf",
        "updates",
    ): "AdamW, decay on matrices and kernels only, with lr 0.0001, epsilon 0.00015; gradients are not",
    ("bbf", "methods"): "gets new weights of its own draw",
    ("drq", "methods"): "gets the same new weights",
    ("drq", "length"): "100,000 steps of the agent (400,000 frames)",
    ("vector", "length"): "20,000 steps of the agent, on each",
}


@pytest.mark.parametrize(("recipe", "name"), TOLD)
def test_what_the_protocol_says(recipe: str, name: str) -> None:
    assert TOLD[recipe, name] in topic(describe(AGENTS[recipe]), name)


def test_the_game_decides_where_it_is_named() -> None:
    text = describe(AGENTS["vector"], "CartPole-v1")
    assert text.startswith("vector on CartPole-v1\n")
    assert topic(text, "episodes").startswith("Cut after 500 steps; values are bootstrapped")
    assert "Atari-100k by ale-py" in topic(describe(AGENTS["minatar"], "atari:pong"), "game")
    assert describe(AGENTS["drq"], "atari:pong").startswith("drq on atari:Pong\n")
    own = describe(AGENTS["vector"], "tests.rl.own_games:walk")
    assert "Cut by the environment, after 27,000 steps at the latest" in topic(own, "episodes")
    with pytest.raises(ValueError, match="did you mean 'breakout'"):
        describe(AGENTS["minatar"], "minatar:brekout")


def test_changed_values_are_described() -> None:
    changed = AGENTS["drq"].replace(lives_end=False, encoder="my.module:Encoder", layer_norm=True, stack=1)
    text = describe(changed)
    assert topic(text, "lives") == "A lost life ends nothing, in training as in evaluation."
    assert topic(text, "encoder") == "The user's own my.module:Encoder, a LayerNorm before each activation."
    assert "prediction" not in text.partition("every value")[0]
    assert re.search(r"^  lives_end +False +ours$", text, re.MULTILINE)
    assert max(map(len, describe(AGENTS["drq"], width=60).partition("every value")[0].splitlines())) <= 60


def test_the_sentences_are_true_of_the_code() -> None:
    for padding, name in (("valid", "drq"), ("same", "drq-eps")):
        features = nature_encoder((4, 84, 84), padding=padding).features  # type: ignore[arg-type]
        assert f"{features:,} features" in topic(describe(AGENTS[name]), "encoder")
    assert impala_encoder((4, 84, 84)).maps[1:] == (11, 11)  # SAME: 84, 42, 21, 11
    assert inspect.signature(Atari).parameters["noops"].default == 30
    assert inspect.signature(Atari).parameters["max_steps"].default == 27_000
    assert inspect.signature(MinAtar).parameters["max_steps"].default == 5_000


@pytest.mark.parametrize("name", AGENTS)
def test_the_acts_are_counted_as_they_are_made(name: str) -> None:
    for recipe in (AGENTS[name], AGENTS[name].replace(act_every=3_000)):
        updates = int((recipe.steps - recipe.warm_up) * recipe.replay_ratio)
        every = recipe.act_every
        acts = sum(here % every == 0 and updates - here >= every for here in range(1, updates + 1))
        assert f"of {updates:,} updates {acts} have one" in topic(describe(recipe), "methods")

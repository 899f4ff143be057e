"""The agents by name, every value with the file that it was read in, or "ours".

Sources: PLASTIC is dojeon-ai/PLASTIC at 3736071, ``atari/``; Dopamine is google/dopamine at 5873f54,
``labs/atari_100k``; BBF is google-research/google-research, ``bigger_better_faster/bbf``. SR-SPR's released file does
not run (it names an encoder that is not there). BBF counts resets in steps of the agent: 20,000 at 2 updates a step.
"""

from __future__ import annotations

from collections.abc import Mapping

from hare_tortoise.rl.recipe import AgentRecipe
from hare_tortoise.streams.names import unknown

_PROTOCOL = "the protocol of Atari-100k, as in Dopamine, BBF, SPR and PLASTIC"
_SHARED = dict.fromkeys(("clip_rewards", "lives_end", "stack", "steps", "evaluation_epsilon"), _PROTOCOL)


_NETWORK = "encoder hidden shared_hidden dueling atoms"
_VALUES = (
    "double n_step discount batch replay_ratio lr adam_epsilon clip shift intensity replay warm_up epsilon"
)
_SPR_VALUES = f"{_NETWORK} {_VALUES} noisy priority_exponent target acts prediction jumps"
_RESETS = "decay capacity act_every after_act"


def _from(file: str, names: str, **others: str) -> Mapping[str, str]:
    """Say that values come from a file, beside those of the protocol, and others from elsewhere."""
    return {**_SHARED, **dict.fromkeys(names.split(), file), **others}


def _drq() -> AgentRecipe:
    return AgentRecipe(
        name="drq",
        description="DrQ with an averaged target network that acts: the default",
        sources=_from(
            "PLASTIC configurations",
            f"{_NETWORK} double n_step discount batch replay_ratio adam_epsilon clip shift intensity target decay acts "
            "capacity",
            act_every="PLASTIC scripts",
            **dict.fromkeys(("lr", "replay", "warm_up", "epsilon"), "Dopamine DrQ_eps.gin"),
        ),
    )


def _drq_eps() -> AgentRecipe:
    return AgentRecipe(
        name="drq-eps",
        description="DrQ(eps) as published (Agarwal et al., 2021): the target is a copy at each step, so no target",
        sources=_from("Dopamine DrQ_eps.gin", f"{_NETWORK} {_VALUES} target copy_every acts"),
        encoder="nature(padding=same)",
        shared_hidden=True,
        atoms=None,
        replay_ratio=1.0,
        clip=None,
        target="copy",
        copy_every=1,
        acts="online",
    )


def _dqn() -> AgentRecipe:
    return AgentRecipe(
        name="dqn",
        description="plain DQN with a copied target network, at the rate of data of Atari-100k",
        sources=_from("Mnih et al. (2015)", "encoder hidden dueling atoms double n_step discount batch"),
        dueling=False,
        atoms=None,
        double=False,
        n_step=1,
        replay_ratio=1.0,
        shift=0,
        intensity=0.0,
        target="copy",
        copy_every=2_000,
        acts="online",
    )


def _der() -> AgentRecipe:
    return AgentRecipe(
        name="der",
        description="data-efficient Rainbow (van Hasselt et al., 2019)",
        sources=_from(
            "Dopamine DER.gin", f"{_NETWORK} {_VALUES} noisy priority_exponent target copy_every acts"
        ),
        encoder="nature(padding=same)",
        shared_hidden=True,
        noisy=True,
        replay_ratio=1.0,
        clip=None,
        shift=0,
        intensity=0.0,
        replay="prioritised",
        epsilon="linear(first=1.0, last=0.01, steps=2000)",
        target="copy",
        copy_every=2_000,
        acts="online",
    )


def _spr() -> AgentRecipe:
    return AgentRecipe(
        name="spr",
        description="SPR (Schwarzer et al., 2021)",
        sources=_from("Dopamine SPR.gin", f"{_SPR_VALUES} copy_every", clip="mila-iqia/spr at 0b9dd4e"),
        encoder="nature(padding=same)",
        shared_hidden=True,
        noisy=True,
        replay="prioritised",
        warm_up=2_000,
        epsilon="linear(first=1.0, last=0.0, steps=2001)",
        target="copy",
        copy_every=1,
        acts="online",
        prediction=5.0,
    )


def _sr_spr() -> AgentRecipe:
    return AgentRecipe(
        name="sr-spr",
        description="SR-SPR (D'Oro et al., 2023): SPR at a high replay ratio, to be reset; not trained on CPUs here",
        sources=_from("BBF SR_SPR.gin", f"{_SPR_VALUES} {_RESETS}"),
        encoder="nature(padding=same)",
        shared_hidden=True,
        replay_ratio=8.0,
        clip=None,
        replay="prioritised",
        capacity=200_000,
        warm_up=2_000,
        epsilon="linear(first=1.0, last=0.0, steps=2001)",
        decay=0.995,
        prediction=5.0,
        after_act="own",
    )


def _bbf() -> AgentRecipe:
    return AgentRecipe(
        name="bbf",
        description="BBF (Schwarzer et al., 2023); not trained on CPUs here",
        sources=_from("BBF BBF.gin", f"{_SPR_VALUES} {_RESETS} weight_decay"),
        encoder="impala(width=4)",
        shared_hidden=True,
        hidden=2_048,
        n_step="exponential(first=10, last=3, steps=10000)",
        discount="horizon(first=0.97, last=0.997, steps=10000)",
        weight_decay=0.1,
        clip=None,
        replay="prioritised",
        capacity=200_000,
        warm_up=2_000,
        epsilon="linear(first=1.0, last=0.0, steps=2001)",
        decay=0.995,
        prediction=5.0,
        after_act="own",
    )


def _bbf_no_spr() -> AgentRecipe:
    kept = {name: source for name, source in _bbf().sources.items() if name not in ("encoder", "prediction")}
    return _bbf().replace(
        name="bbf-no-spr",
        description="BBF without the self-prediction, on a network of a quarter of the width",
        encoder="impala(width=1)",
        prediction=0.0,
        sources=kept,
    )


def _minatar() -> AgentRecipe:
    protocol = "MinAtar (Young and Tian, 2019)"
    return AgentRecipe(
        name="minatar",
        description="a small agent for MinAtar; its values are ours",
        sources={"encoder": protocol, "stack": protocol, "lives_end": protocol},
        encoder="minatar",
        hidden=128,
        shared_hidden=True,
        atoms=None,
        lives_end=False,
        stack=1,
        n_step=3,
        lr=2.5e-4,
        replay_ratio=1.0,
        shift=0,
        intensity=0.0,
        warm_up=1_000,
        precision="float32",
    )


def _vector() -> AgentRecipe:
    return AgentRecipe(
        name="vector",
        description="a small agent for observations that are vectors; its values are ours",
        encoder="mlp",
        hidden=256,
        dueling=False,
        atoms=None,
        act_every=5_000,
        clip_rewards=False,
        lives_end=False,
        stack=1,
        n_step=3,
        lr=5e-4,
        batch=64,
        replay_ratio=1.0,
        shift=0,
        intensity=0.0,
        warm_up=500,
        epsilon="linear(first=1.0, last=0.02, steps=4000)",
        steps=20_000,
        precision="float32",
    )


_ALL = (_drq, _drq_eps, _dqn, _der, _spr, _sr_spr, _bbf, _bbf_no_spr, _minatar, _vector)

AGENTS: Mapping[str, AgentRecipe] = {recipe.name: recipe for recipe in (make() for make in _ALL)}


def find_agent(name: str) -> AgentRecipe:
    """Find an agent by name.

    Raises:
        ValueError: There is none of this name; the message has the nearest ones.

    Example:
        >>> find_agent("drq").decay
        0.99
    """
    if name not in AGENTS:
        raise unknown("recipe", name, AGENTS)
    return AGENTS[name]

"""The agents by name: every value and its source as they were read in the files, and what a recipe refuses."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from hare_tortoise.rl.agent import build_agent
from hare_tortoise.rl.environments import Space
from hare_tortoise.rl.network import build_network
from hare_tortoise.rl.recipe import OURS, AgentRecipe
from hare_tortoise.rl.recipes import AGENTS, find_agent

PROTOCOL = "the protocol of Atari-100k, as in Dopamine, BBF, SPR and PLASTIC"
PLASTIC, DRQ_EPS, DER, SPR = (
    "PLASTIC configurations",
    "Dopamine DrQ_eps.gin",
    "Dopamine DER.gin",
    "Dopamine SPR.gin",
)
SR_SPR, BBF, MNIH, MINATAR = (
    "BBF SR_SPR.gin",
    "BBF BBF.gin",
    "Mnih et al. (2015)",
    "MinAtar (Young and Tian, 2019)",
)
ATARI = "clip_rewards=True lives_end=True stack=4 steps=100000 evaluation_epsilon=0.001"
ADAM = "lr=1e-4 adam_epsilon=1.5e-4"
AUGMENTED = "shift=4 intensity=0.05"
PLAIN = "shift=0 intensity=0.0"
SAME = "encoder=nature(padding=same) hidden=512 shared_hidden=True dueling=True double=True"
BASIC = "n_step=10 discount=0.99 batch=32"
EPSILON = "epsilon=linear(first=1.0,last=0.01,steps=5000)"
NO_RESETS = "act_every=40000 after_act=same"
UNPRIORITISED = "priority_exponent=0.5 importance=0.5"

# Each value of each recipe under its source, written without spaces inside.
EXPECTED: dict[str, dict[str, str]] = {
    "drq": {
        PROTOCOL: ATARI,
        PLASTIC: f"encoder=nature(padding=valid) hidden=512 shared_hidden=False dueling=True atoms=51 double=True "
        f"{BASIC} replay_ratio=2.0 adam_epsilon=1.5e-4 clip=10.0 {AUGMENTED} target=average decay=0.99 acts=target "
        "capacity=100000",
        "PLASTIC scripts": "act_every=40000",
        DRQ_EPS: f"lr=1e-4 replay=uniform warm_up=1600 {EPSILON}",
        OURS: f"noisy=False layer_norm=False weight_decay=0.0 {UNPRIORITISED} copy_every=1 prediction=0.0 jumps=5 "
        "after_act=same precision=auto",
    },
    "drq-eps": {
        PROTOCOL: ATARI,
        DRQ_EPS: f"{SAME} atoms=None {BASIC} replay_ratio=1.0 {ADAM} clip=None {AUGMENTED} replay=uniform "
        f"warm_up=1600 {EPSILON} target=copy copy_every=1 acts=online",
        OURS: f"noisy=False layer_norm=False weight_decay=0.0 {UNPRIORITISED} capacity=100000 decay=0.99 "
        f"prediction=0.0 jumps=5 {NO_RESETS} precision=auto",
    },
    "dqn": {
        PROTOCOL: ATARI,
        MNIH: "encoder=nature(padding=valid) hidden=512 dueling=False atoms=None double=False n_step=1 discount=0.99 "
        "batch=32",
        OURS: f"noisy=False shared_hidden=False layer_norm=False replay_ratio=1.0 {ADAM} weight_decay=0.0 clip=10.0 "
        f"replay=uniform {UNPRIORITISED} capacity=100000 warm_up=1600 {EPSILON} {PLAIN} target=copy copy_every=2000 "
        f"acts=online decay=0.99 prediction=0.0 jumps=5 {NO_RESETS} precision=auto",
    },
    "der": {
        PROTOCOL: ATARI,
        DER: f"{SAME} atoms=51 noisy=True {BASIC} replay_ratio=1.0 {ADAM} clip=None {PLAIN} replay=prioritised "
        "priority_exponent=0.5 warm_up=1600 epsilon=linear(first=1.0,last=0.01,steps=2000) target=copy "
        "copy_every=2000 acts=online",
        OURS: "layer_norm=False weight_decay=0.0 importance=0.5 capacity=100000 decay=0.99 prediction=0.0 jumps=5 "
        f"{NO_RESETS} precision=auto",
    },
    "spr": {
        PROTOCOL: ATARI,
        SPR: f"{SAME} atoms=51 noisy=True {BASIC} replay_ratio=2.0 {ADAM} {AUGMENTED} replay=prioritised "
        "priority_exponent=0.5 warm_up=2000 epsilon=linear(first=1.0,last=0.0,steps=2001) target=copy copy_every=1 "
        "acts=online prediction=5.0 jumps=5",
        "mila-iqia/spr at 0b9dd4e": "clip=10.0",
        OURS: "layer_norm=False weight_decay=0.0 importance=0.5 capacity=100000 decay=0.99 "
        f"{NO_RESETS} precision=auto",
    },
    "sr-spr": {
        PROTOCOL: ATARI,
        SR_SPR: f"{SAME} atoms=51 noisy=False {BASIC} replay_ratio=8.0 {ADAM} clip=None {AUGMENTED} "
        "replay=prioritised priority_exponent=0.5 warm_up=2000 "
        "epsilon=linear(first=1.0,last=0.0,steps=2001) target=average decay=0.995 acts=target "
        "prediction=5.0 jumps=5 capacity=200000 act_every=40000 after_act=own",
        OURS: "layer_norm=False weight_decay=0.0 importance=0.5 copy_every=1 precision=auto",
    },
    "bbf": {
        PROTOCOL: ATARI,
        BBF: "encoder=impala(width=4) hidden=2048 shared_hidden=True dueling=True double=True atoms=51 noisy=False "
        "n_step=exponential(first=10,last=3,steps=10000) discount=horizon(first=0.97,last=0.997,steps=10000) batch=32 "
        f"replay_ratio=2.0 {ADAM} clip=None {AUGMENTED} replay=prioritised priority_exponent=0.5 warm_up=2000 "
        "epsilon=linear(first=1.0,last=0.0,steps=2001) target=average decay=0.995 acts=target prediction=5.0 jumps=5 "
        "capacity=200000 act_every=40000 "
        "after_act=own weight_decay=0.1",
        OURS: "layer_norm=False importance=0.5 copy_every=1 precision=auto",
    },
    "minatar": {
        MINATAR: "encoder=minatar stack=1 lives_end=False",
        OURS: "hidden=128 shared_hidden=True dueling=True double=True atoms=None noisy=False layer_norm=False "
        f"clip_rewards=True steps=100000 evaluation_epsilon=0.001 n_step=3 discount=0.99 batch=32 replay_ratio=1.0 "
        f"lr=2.5e-4 adam_epsilon=1.5e-4 weight_decay=0.0 clip=10.0 {PLAIN} replay=uniform {UNPRIORITISED} "
        f"capacity=100000 warm_up=1000 {EPSILON} target=average decay=0.99 copy_every=1 acts=target prediction=0.0 "
        f"jumps=5 {NO_RESETS} precision=float32",
    },
    "vector": {
        OURS: "encoder=mlp hidden=256 shared_hidden=False dueling=False double=True atoms=None noisy=False "
        "layer_norm=False clip_rewards=False lives_end=False stack=1 steps=20000 evaluation_epsilon=0.001 n_step=3 "
        "discount=0.99 batch=64 replay_ratio=1.0 lr=5e-4 adam_epsilon=1.5e-4 weight_decay=0.0 clip=10.0 "
        f"{PLAIN} replay=uniform {UNPRIORITISED} capacity=100000 warm_up=500 "
        "epsilon=linear(first=1.0,last=0.02,steps=4000) target=average decay=0.99 copy_every=1 acts=target "
        "prediction=0.0 jumps=5 act_every=5000 after_act=same precision=float32",
    },
}
_BBF = EXPECTED["bbf"][BBF].replace("encoder=impala(width=4) ", "").replace("prediction=5.0 ", "")
EXPECTED["bbf-no-spr"] = {
    PROTOCOL: ATARI,
    BBF: _BBF,
    OURS: f"encoder=impala(width=1) prediction=0.0 {EXPECTED['bbf'][OURS]}",
}


def table(name: str) -> dict[str, tuple[Any, str]]:
    """Value and source of each value of a recipe."""
    found: dict[str, tuple[Any, str]] = {}
    for source, text in EXPECTED[name].items():
        for item in text.split():
            key, _, value = item.partition("=")
            assert key not in found, f"{key} stands twice"
            try:
                found[key] = ast.literal_eval(value), source
            except (ValueError, SyntaxError):
                found[key] = value, source
    return found


def unspaced(value: Any) -> Any:
    return value.replace(" ", "") if isinstance(value, str) else value


def test_every_recipe_is_in_the_table() -> None:
    assert set(EXPECTED) == set(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_every_value_and_its_source(name: str) -> None:
    recipe = find_agent(name)
    found = {key: (unspaced(value), recipe.source(key)) for key, value in recipe.to_json().items()}
    assert found == table(name)
    assert recipe.name == name
    assert recipe.description


ATARI_SPACE = Space((84, 84), torch.uint8, actions=6, lives=True)


def count(recipe: AgentRecipe, actions: int = 6) -> int:
    with torch.device("meta"):
        network = build_network(recipe, ATARI_SPACE, actions)
    return sum(parameter.numel() for parameter in network.parameters())


CONVOLUTIONS = (4 * 64 + 1) * 32 + (32 * 16 + 1) * 64 + (64 * 9 + 1) * 64


def test_sizes_of_the_networks_are_those_of_the_sources() -> None:
    """PLASTIC's two streams of 512: 3.4 M without noise; Nature SAME 4.05 M, with C51 4.23 M; BBF 38.5 M."""
    drq, eps = find_agent("drq"), find_agent("drq-eps")
    for actions in (4, 6):
        streams = 2 * (3136 + 1) * 512 + (512 + 1) * 51 * (1 + actions)
        assert count(drq, actions) == CONVOLUTIONS + streams
    assert [round(count(drq, actions) / 1e6, 2) for actions in (4, 6)] == [3.42, 3.47]
    assert count(eps) == CONVOLUTIONS + (7744 + 1) * 512 + (512 + 1) * (1 + 6)
    assert round(count(eps) / 1e6, 2) == 4.05
    assert round(count(eps.replace(atoms=51)) / 1e6, 2) == 4.23
    assert round(count(find_agent("dqn")) / 1e6, 2) == 1.69
    assert round(count(find_agent("bbf")) / 1e6, 1) == 38.5
    assert round(count(find_agent("bbf").replace(prediction=0.0)) / 1e6, 1) == 34.0
    assert round(count(find_agent("bbf-no-spr").replace(hidden=512)) / 1e6, 1) == 2.3


def test_noise_doubles_the_linear_layers() -> None:
    """PLASTIC's own agent has noisy layers and 6.9 M parameters."""
    recipe = find_agent("drq")
    network = build_network(recipe.replace(noisy=True), ATARI_SPACE, 6)
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found == 2 * count(recipe) - CONVOLUTIONS
    assert round(found / 1e6, 1) == 6.9


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hiden": 3}, "unknown value of recipe drq 'hiden'; did you mean 'hidden'"),
    *(
        ({name: 0}, f"{name} of recipe drq: got 0, expected a whole number of 1 or more")
        for name in ("hidden", "jumps")
    ),
    *(
        ({name: 1.5}, f"{name} of recipe drq: got 1.5, expected a whole")
        for name in ("batch", "capacity", "warm_up")
    ),
    ({"steps": True}, "steps of recipe drq: got True, expected a whole number of 1 or more"),
    ({"shift": -1}, "shift of recipe drq: got -1, expected a whole number of 0 or more"),
    *(
        ({name: -0.1}, f"{name} of recipe drq: got -0.1, expected a number of 0")
        for name in ("intensity", "replay_ratio")
    ),
    ({"weight_decay": float("nan")}, "weight_decay of recipe drq: got nan"),
    ({"lr": 0}, "lr of recipe drq: got 0, expected a number above 0"),
    ({"adam_epsilon": "small"}, "adam_epsilon of recipe drq: got 'small'"),
    ({"decay": 1.0}, r"decay of recipe drq: got 1.0, expected a number in \[0, 1\)"),
    ({"evaluation_epsilon": 1.1}, "evaluation_epsilon of recipe drq: got 1.1, expected a share"),
    ({"atoms": 1}, "atoms of recipe drq: got 1, expected a whole number of 2 or more, or None"),
    ({"clip": 0.0}, "clip of recipe drq: got 0.0, expected a number above 0, or None"),
    ({"double": 1}, "double of recipe drq: got 1, expected True or False"),
    ({"replay": "prioritized"}, "replay of recipe drq: got 'prioritized', expected uniform or prioritised"),
    ({"target": "ema"}, "target of recipe drq: got 'ema', expected average or copy"),
    ({"acts": "both"}, "acts of recipe drq: got 'both', expected target or online"),
    ({"after_act": "all"}, "after_act of recipe drq: got 'all', expected same or own or keep"),
    ({"precision": "half"}, "precision of recipe drq: got 'half'"),
    ({"epsilon": 1.01}, "epsilon of recipe drq: got 1.01, expected 0 to 1"),
    ({"epsilon": "linear(first=1.0, last=-0.1, steps=9)"}, "epsilon of recipe drq: got 'linear"),
    ({"epsilon": "line(first=1.0)"}, "epsilon of recipe drq: unknown schedule 'line'"),
    ({"discount": 1.2}, "discount of recipe drq: got 1.2, expected 0 to 1"),
    ({"n_step": 0}, "n_step of recipe drq: got 0, expected 1 or more"),
    ({"n_step": 2.5}, "n_step of recipe drq: got 2.5, expected a whole number, or a schedule"),
    ({"n_step": 1_600}, "warm_up of recipe drq: got 1600, expected more than the 1600 steps of a return"),
    (
        {"capacity": 14},
        "capacity of recipe drq: got 14, expected more than the 14 steps of a return and a stack",
    ),
    ({"stack": 128}, "stack of recipe drq: got 128, expected 127 at most"),
    (
        {"prediction": 1.0, "jumps": 20, "capacity": 16},
        "capacity of recipe drq: got 16, expected more than the 20 steps that are predicted",
    ),
    ({"encoder": "mlp"}, "shift: got an encoder of vectors, expected one of images; set shift=0"),
    ({"encoder": "mlp", "shift": 0, "prediction": 1.0}, "prediction: got an encoder of vectors"),
    ({"dueling": False, "shared_hidden": True}, "shared_hidden: a head that is not dueling"),
    ({"sources": {"speed": "a paper"}}, r"sources: got \['speed'\]"),
    (
        {"copy_every": 5},
        "copy_every of recipe drq would be ignored: got target=average, expected target=copy",
    ),
    ({"target": "copy", "decay": 0.9}, "decay of recipe drq would be ignored: got target=copy"),
    ({"importance": 1.0}, "importance of recipe drq would be ignored: got replay=uniform"),
    ({"priority_exponent": 1.0}, "priority_exponent of recipe drq would be ignored"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        find_agent("drq").replace(**changes)


def test_what_stands_at_the_edge_of_its_range_is_taken() -> None:
    recipe = find_agent("drq").replace(warm_up=11, capacity=15, decay=0.0, discount=1.0, epsilon=1.0)
    recipe.replace(replay_ratio=0.0, atoms=2, evaluation_epsilon=1.0, target="copy", copy_every=3)


def test_an_unknown_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown recipe 'bbf-no-spar'; did you mean 'bbf-no-spr'"):
        find_agent("bbf-no-spar")


def test_what_was_changed_is_ours_and_the_rest_keeps_its_source() -> None:
    recipe = find_agent("drq")
    changed = recipe.replace(n_step=3, batch=32, atoms=None)
    differing = {key for key in recipe.to_json() if changed.source(key) != recipe.source(key)}
    assert differing == {"n_step", "atoms"}
    assert changed.source("n_step") == OURS
    assert (changed.n_step, changed.atoms, changed.batch) == (3, None, 32)


def test_a_recipe_comes_back_from_json() -> None:
    recipe = find_agent("bbf")
    again = AgentRecipe(name="bbf", **recipe.to_json())
    assert again.to_json() == recipe.to_json()
    assert {field.name for field in dataclasses.fields(AgentRecipe)} - recipe.to_json().keys() == {
        "name",
        "description",
        "sources",
    }


def test_the_gradient_steps_are_counted_from_the_end_of_the_warm_up() -> None:
    for ratio, steps, expected in (
        (2.0, 100, 0),
        (2.0, 103, 6),
        (0.25, 103, 0),
        (0.25, 104, 1),
        (0.29, 200, 29),
    ):
        recipe = AgentRecipe(name="mine", warm_up=100, replay_ratio=ratio)
        assert recipe.updates(steps) == expected


def no_features(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Flatten()


def own_encoder(input_shape: tuple[int, ...]) -> nn.Module:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0] * 84 * 84, 4))
    encoder.features = 4  # type: ignore[assignment]
    return encoder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": "natura"}, "unknown encoder 'natura'; did you mean 'nature'"),
        ({"encoder": "nature(paddin=same)"}, "unknown setting of encoder nature 'paddin'"),
        ({"encoder": "minatar(width=2)"}, "unknown setting of encoder minatar 'width'"),
        ({"encoder": f"{__name__}:no_features"}, "expected an nn.Module with a whole number `features`"),
        ({"encoder": f"{__name__}:own_encoder", "prediction": 1.0}, "set prediction=0"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_network(find_agent("drq").replace(**changes), ATARI_SPACE, 6)


def test_an_encoder_of_ones_own() -> None:
    network = build_network(find_agent("drq").replace(encoder=f"{__name__}:own_encoder"), ATARI_SPACE, 6)
    assert network(torch.zeros(2, 4, 84, 84)).shape == (2, 6, 51)


def test_vectors_are_not_shifted() -> None:
    space = Space((4,), torch.float32, actions=2, lives=False)
    recipe = find_agent("vector").replace(encoder=f"{__name__}:own_encoder", shift=4)
    with pytest.raises(ValueError, match="shift of recipe vector: got 4, but the observations are vectors"):
        build_agent(recipe, space, "nothing", 0)


def test_a_norm_stands_before_each_activation_of_vectors_too() -> None:
    space = Space((4,), torch.float32, actions=2, lives=False)
    network = build_network(find_agent("vector").replace(layer_norm=True), space, 2)
    kinds = [type(module) for module in network.modules() if not list(module.children())]
    assert kinds.count(nn.LayerNorm) == kinds.count(nn.ReLU) == 2

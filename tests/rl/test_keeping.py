"""What is done with the weights beside the gradient step: averages, resets, acts at new data, on both networks."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from hare_tortoise.lab.state import join, split
from hare_tortoise.methods import Chain, Method
from hare_tortoise.methods.support.injected import Injected
from hare_tortoise.rl.agent import Agent, build_agent
from hare_tortoise.rl.heads import values
from tests.rl.small_agents import ROWS, generators, seen, small, step

PAIR = "hare-tortoise(decay=0.99, reset_every=3)"


def agent_of(name: str, method: str, seed: int = 0, **changes: Any) -> Agent:
    recipe, space = small(name)
    return build_agent(recipe.replace(**changes), space, method, seed)


def trained(name: str, method: str, updates: int, **changes: Any) -> list[dict[str, Any]]:
    """The state of an agent after each update; all such agents get the same batches and draws."""
    agent = agent_of(name, method, **changes)
    draws = generators(5)
    states = []
    for seed in range(updates):
        step(agent, seed, *draws)
        states.append(copied(agent))
    return states


def copied(agent: Agent) -> dict[str, Any]:
    networks = {"online": agent.online, "target": agent.target}
    found = {part: {n: w.clone() for n, w in net.state_dict().items()} for part, net in networks.items()}
    moments = [
        agent.optimizer.state[weight]["exp_avg"].clone()
        for weight in agent.online.parameters()
        if weight in agent.optimizer.state
    ]
    return {**found, "moments": moments}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other)


# --- the arms differ in the reset alone ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drq", "sr-spr", "minatar", "vector"])
@pytest.mark.parametrize("optimizer_state", ["keep", "reset"])
def test_the_arms_are_the_same_to_the_bit_until_the_first_reset(name: str, optimizer_state: str) -> None:
    decay = small(name)[0].decay
    pair = f"hare-tortoise(reset_every=3, optimizer_state={optimizer_state})"
    plain, average, reset = (trained(name, method, 4) for method in ("nothing", f"ema(decay={decay})", pair))
    assert same(plain, average)
    assert same(plain[:2], reset[:2])
    assert same(reset[2]["online"], reset[2]["target"])
    assert same(reset[2]["target"], plain[2]["target"])
    assert not same(reset[2]["online"], plain[2]["online"])
    assert not same(reset[3]["target"], plain[3]["target"])
    assert same(reset[2]["moments"], plain[2]["moments"]) == (optimizer_state == "keep")
    assert (reset[2]["moments"] == []) == (optimizer_state == "reset")


def test_another_decay_is_another_agent_from_the_first_update_on() -> None:
    plain, slow = trained("drq", "nothing", 2), trained("drq", "ema(decay=0.5)", 2)
    assert same(plain[0]["online"], slow[0]["online"])
    assert not same(plain[0]["target"], slow[0]["target"])
    assert not same(plain[1]["online"], slow[1]["online"])
    assert same(slow, trained("drq", "nothing", 2, decay=0.5))


@pytest.mark.parametrize("method", ["nothing", PAIR, f"{PAIR}+head-reset", "head-reset", f"l2+{PAIR}"])
def test_the_target_network_is_the_tortoise(method: str) -> None:
    agent = agent_of("vector", method)
    kept = agent.keeping.method
    assert kept is not None
    assert kept.deployed is agent.target
    assert agent.deployed is agent.target
    average = kept.members if isinstance(kept, Chain) else (kept,)
    assert [member.tortoise is agent.target for member in average if hasattr(member, "tortoise")] == [True]


def test_methods_act_in_the_order_written_and_the_average_that_is_not_written_last() -> None:
    """With a decay of 0 the target is what the last one before the average left."""
    clipping = "weight-clipping(zeta=0.01)"
    for method, alike in ((clipping, True), (f"{clipping}+ema(decay=0.0)", True), (f"ema+{clipping}", False)):
        state = trained("vector", method, 1, decay=0.0)[0]
        assert same(state["online"], state["target"]) == alike


# --- acts at new data --------------------------------------------------------------------------------------------


class Marked(Method):
    """Notes when it acts, and adds one to the first weight."""

    acts: ClassVar[list[str]] = []

    def new_data(self, *_: Any, **__: Any) -> None:
        self.acts.append("act")
        with torch.no_grad():
            next(self.model.parameters()).add_(1.0)


MARKED = f"{__name__}:Marked"


def acted_at(agent: Agent, updates: int) -> list[int]:
    Marked.acts.clear()
    return [number for number in range(1, updates + 1) if agent.keeping.after_update()]


@pytest.mark.parametrize(("steps", "expected"), [(30, [6, 12]), (28, [6, 12]), (27, [6]), (21, [])])
def test_acts_come_every_interval_while_a_whole_one_is_left(steps: int, expected: list[int]) -> None:
    agent = agent_of("vector", MARKED, steps=steps, warm_up=10, act_every=6)
    assert acted_at(agent, steps - 10) == expected
    assert len(Marked.acts) == len(expected)


def test_intervals_are_counted_in_updates_and_from_the_beginning_of_a_game() -> None:
    agent = agent_of("vector", MARKED, steps=20, warm_up=10, act_every=6, replay_ratio=2.0)
    assert acted_at(agent, 20) == [6, 12]
    agent.keeping.new_game()
    assert len(Marked.acts) == 3
    assert [number for number in range(21, 41) if agent.keeping.after_update()] == [26, 32]


def test_at_a_new_game_a_method_acts_though_less_than_an_interval_is_left() -> None:
    agent = agent_of("vector", MARKED, steps=20, warm_up=10, act_every=40_000)
    assert acted_at(agent, 10) == []
    agent.keeping.new_game()
    assert Marked.acts == ["act"]


def test_methods_that_give_no_new_weights_begin_no_schedule_anew() -> None:
    for method, expected in (("optimizer-reset", []), ("head-reset", [6, 12]), (PAIR, [])):
        agent = agent_of("vector", method, steps=30, warm_up=10, act_every=6)
        step(agent, 0, *generators(0))
        agent.keeping.updates = 0
        assert acted_at(agent, 20) == expected


HEAD = "head-reset"
SHRINK = "shrink-perturb(shrink=0.5, perturb=0.5)"


def drawn(after: Tensor, before: Tensor) -> Tensor:
    """What Shrink & Perturb has added."""
    return (after - 0.5 * before) / 0.5


def acted(name: str, method: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any], Agent]:
    agent = agent_of(name, method, **changes)
    step(agent, 0, *generators(0))
    before = copied(agent)
    agent.keeping.act()
    return before, copied(agent), agent


def of_head(state: dict[str, Any], network: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in state[network].items() if name.startswith("head.")}


def of_rest(state: dict[str, Any], network: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in state[network].items() if not name.startswith("head.")}


@pytest.mark.parametrize("name", ["drq", "vector"])
@pytest.mark.parametrize("after", ["same", "own", "keep"])
def test_what_the_target_gets_where_a_head_is_reset(name: str, after: str) -> None:
    before, now, agent = acted(name, HEAD, after_act=after)
    for network in ("online", "target"):
        assert same(of_rest(now, network), of_rest(before, network))
    assert not any(map(torch.equal, of_head(now, "online").values(), of_head(before, "online").values()))
    assert same(of_head(now, "target"), of_head(now, "online")) == (after == "same")
    kept = set(map(torch.equal, of_head(before, "target").values(), of_head(now, "target").values()))
    assert kept == {after == "keep"}
    assert not any(weight.requires_grad for weight in agent.target.parameters())


@pytest.mark.parametrize("after", ["same", "own", "keep"])
def test_what_the_target_gets_where_all_weights_are_shrunk(after: str) -> None:
    before, now, _ = acted("vector", SHRINK, after_act=after)
    for name, old in before["target"].items():
        ours = drawn(now["online"][name], before["online"][name])
        theirs = drawn(now["target"][name], old)
        assert torch.allclose(ours, theirs, atol=1e-5) == (after == "same")
        assert torch.equal(now["target"][name], old) == (after == "keep")
        assert float(ours.abs().max()) <= 0.51  # a fresh draw: the widest layers' bound is 1/√4


@pytest.mark.parametrize("after", ["same", "own", "keep"])
def test_what_a_copied_target_gets(after: str) -> None:
    before, now, agent = acted("dqn", HEAD, after_act=after)
    assert same(now["online"], now["target"]) == (after == "same")
    assert same(now["target"], before["target"]) == (after == "keep")
    agent.keeping.updates = agent.recipe.copy_every - 1
    agent.keeping.after_update()
    assert same(copied(agent)["online"], copied(agent)["target"])


def test_a_copied_target_is_copied_every_so_many_updates() -> None:
    states = trained("dqn", "nothing", 4)
    assert [same(state["online"], state["target"]) for state in states] == [False, True, False, True]
    assert same(states[1]["target"], states[2]["target"])


def test_what_was_gathered_about_reset_weights_is_forgotten_and_the_rest_kept() -> None:
    _, _, agent = acted("vector", HEAD)
    left = {name for name, weight in agent.online.named_parameters() if weight in agent.optimizer.state}
    assert left == {name for name, _ in agent.online.named_parameters() if not name.startswith("head.")}
    assert all(float(agent.optimizer.state[w]["step"]) == 1 for w in agent.online.encoder.parameters())
    step(agent, 1, *generators(0))
    assert {float(state["step"]) for state in agent.optimizer.state.values()} == {1.0, 2.0}
    _, _, agent = acted("vector", SHRINK)
    assert not agent.optimizer.state


@pytest.mark.parametrize("after", ["same", "own"])
def test_acts_draw_on_as_they_would_have_after_a_resume(after: str) -> None:
    method = f"{SHRINK}+{HEAD}+{PAIR}"
    _, _, agent = acted("vector", method, after_act=after)
    tensors, rest = split(agent.state_dict())
    again = agent_of("vector", method, seed=1, after_act=after)
    again.load_state_dict(join(tensors, rest))
    for each in (agent, again):
        draws = generators(9)
        step(each, 3, *draws)
        each.keeping.act()
        step(each, 4, *draws)
        step(each, 5, *draws)
    assert same(copied(agent), copied(again))


# --- methods that act on units, and on the head ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["drq", "bbf-no-spr", "minatar", "dqn"])
def test_redo_works_beside_the_gradient_steps(name: str) -> None:
    """Without a warning, which would be an error: it knows every layer."""
    check_redo(name)


def test_redo_tells_that_it_leaves_alone_what_predicts() -> None:
    with pytest.warns(UserWarning, match="leaves alone the units of prediction.transition"):
        check_redo("spr")


def check_redo(name: str) -> None:
    agent = agent_of(name, "redo(every=2, threshold=0.5)")
    plain = agent_of(name, "nothing")
    draws, others = generators(0), generators(0)
    for seed in range(2):
        assert same(copied(agent)["online"], copied(plain)["online"])
        step(agent, seed, *draws)
        step(plain, seed, *others)
    assert not same(copied(agent)["online"], copied(plain)["online"])
    assert not same(copied(agent)["target"], copied(plain)["target"])


@pytest.mark.parametrize("target", ["average", "copy"])
def test_redo_recycles_a_unit_on_both_networks(target: str) -> None:
    copies = {"copy_every": 2} if target == "copy" else {}
    agent = agent_of("vector", "redo(every=2, threshold=0.025)", target=target, **copies)
    for network in (agent.online, agent.target):
        bias = dict(network.named_parameters())["encoder.body.1.bias"]
        with torch.no_grad():
            bias[3] = -100.0
    draws = generators(0)
    step(agent, 0, *draws)
    assert agent.online.state_dict()["encoder.body.1.bias"][3] < -99
    step(agent, 1, *draws)
    for network in (agent.online, agent.target):
        state = network.state_dict()
        assert abs(float(state["encoder.body.1.bias"][3])) < 1
        assert not state["head.advantage.0.0.weight"][:, 3].any()


def answers(agent: Agent, network: nn.Module, noise: int | None) -> Tensor:
    generator = None if noise is None else torch.Generator().manual_seed(noise)
    agent.set_noise(network, generator)  # type: ignore[arg-type]
    stacks = (
        seen(agent.space, ROWS, agent.recipe.stack, generator=torch.Generator().manual_seed(1)).float() / 9
    )
    with torch.no_grad():
        return values(network(stacks.reshape(ROWS, *agent.shape)), agent.support)


@pytest.mark.parametrize(
    ("name", "after", "noise"),
    [
        ("vector", "same", None),
        ("vector", "own", None),
        ("drq", "same", None),
        ("dqn", "same", None),
        ("der", "same", 3),
    ],
)
def test_plasticity_is_injected_and_no_answer_changes(name: str, after: str, noise: int | None) -> None:
    agent = agent_of(name, "plasticity-injection", after_act=after)
    draws = generators(0)
    step(agent, 0, *draws)
    nets = agent.online, agent.target
    before = [answers(agent, network, noise) for network in nets]
    weights = copied(agent)
    assert agent.keeping.act()
    if agent.recipe.target == "copy":
        before[1] = before[0]  # the target is a copy of the online network from here on
    assert all(
        torch.allclose(answers(agent, n, noise), old, atol=1e-5) for n, old in zip(nets, before, strict=True)
    )
    now = copied(agent)
    learns = [key for key in now["online"] if key.startswith("head.trained.") and "sigma" not in key]
    assert learns
    assert not any(torch.equal(now["online"][key], weights["online"][key]) for key in learns)
    both = all(torch.equal(now["online"][key], now["target"][key]) for key in learns)
    assert both == (after == "same")
    assert not any(weight in agent.optimizer.state for weight in agent.online.head.parameters())
    step(agent, 1, *draws)
    frozen = [key for key in now["online"] if key.startswith(("head.old.", "head.start."))]
    later = copied(agent)
    assert all(torch.equal(later["online"][key], now["online"][key]) for key in frozen)
    assert not all(torch.equal(later["online"][key], now["online"][key]) for key in learns)
    assert not agent.keeping.act()  # it acts once
    assert same(copied(agent)["online"], later["online"])
    assert isinstance(agent.target.head, Injected)


# --- what does not fit an agent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drq-eps", "dqn", "der", "spr"])
@pytest.mark.parametrize("method", [PAIR, "ema", f"head-reset+{PAIR}"])
def test_a_copied_target_is_no_tortoise(name: str, method: str) -> None:
    told = rf"{name} copies its target network.*whose target is an average \(drq\), or set target=average"
    with pytest.raises(ValueError, match=told):
        agent_of(name, method)
    agent_of(name, method, target="average")


@pytest.mark.parametrize(
    ("name", "method", "told"),
    [
        ("vector", "dash", "method dash needs batches and loss of labelled examples, which an agent has not"),
        ("vector", "self-distillation", "self-distillation is about the logits of classes"),
        ("vector", f"{PAIR}+spectral-decoupling", "spectral-decoupling is about the logits of classes"),
        ("vector", "c-chain", r"write c-chain\(distance=mse, ratio=None, strength=…\)"),
        ("vector", "c-chain(distance=mse)", "an agent has no classes and no targets"),
        (
            "vector",
            "switch-ema(reset_every=3)",
            "averages into a network of its own, expected the target network",
        ),
        ("vector", f"ema+{PAIR}", "has 2 averages, expected one: the target network"),
        ("vector", "layer-norm", "expected methods only; an agent's network and optimizer are its recipe's"),
        ("vector", f"sgd+{PAIR}", "expected methods only"),
        ("vector", "hare-tortois", "unknown method 'hare-tortois'; did you mean 'hare-tortoise'"),
        ("vector", "nothin", "got 'nothin'; the plain agent is 'nothing', by itself"),
        ("vector", "nothing+head-reset", "got 'nothing'; the plain agent is 'nothing', by itself"),
        ("vector", "hare-tortoise(decays=0.9)", "unknown setting of method hare-tortoise 'decays'"),
        ("vector", "hare-tortoise(decay=1.5)", "decay is 1.5"),
        ("spr", "plasticity-injection", "the self-prediction of spr reads; set prediction=0"),
    ],
)
def test_methods_that_do_not_fit_are_refused(name: str, method: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        agent_of(name, method)

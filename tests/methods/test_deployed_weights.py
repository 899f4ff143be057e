"""`deployed_weights()`: the tortoise inside the user's own module, and everything as before afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from hare_tortoise.methods import EMA, Chain, FromScratch, HareTortoise, HeadReset, Method, ShrinkPerturb
from tests.methods.pair_checks import network, same, steps, values


def trained(**settings: Any) -> tuple[Any, Optimizer, HareTortoise]:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    pair = HareTortoise(model, optimizer, decay=0.9, **settings)
    list(steps(model, optimizer, 3))
    return model, optimizer, pair


def test_the_module_has_the_tortoise_inside_and_its_own_afterwards() -> None:
    model, _, pair = trained()
    hare, slow = values(model), values(pair.tortoise)
    inputs = torch.randn(4, 3)
    expected = pair.tortoise(inputs)
    with pair.deployed_weights():
        assert not any(module.training for module in model.modules())
        assert all(torch.equal(tensor, slow[name]) for name, tensor in values(model).items())
        assert torch.equal(model(inputs), expected)
        assert same(pair.tortoise, model)
    assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())
    assert all(torch.equal(tensor, slow[name]) for name, tensor in values(pair.tortoise).items())


def test_values_modes_and_gradients_come_back_after_an_exception() -> None:
    model, _, pair = trained()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    hare = values(model)
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    identities = [id(parameter) for parameter in model.parameters()]
    with suppress(KeyError), pair.deployed_weights():
        model.train()
        model(torch.randn(8, 3))
        model.requires_grad_(False)
        model[0].weight.requires_grad_(True)
        model[3].weight = nn.Parameter(torch.zeros(2, 8))
        raise KeyError
    assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    assert [id(parameter) for parameter in model.parameters()] == identities


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda pair, optimizer: optimizer.step(), "an optimizer step inside deployed_weights"),
        (lambda pair, optimizer: pair.after_step(), "a step inside"),
        (lambda pair, optimizer: pair.reset(), "a reset inside"),
        (lambda pair, optimizer: pair.deployed_weights().__enter__(), "a second deployed_weights"),
        (lambda pair, optimizer: pair.load_state_dict(pair.state_dict()), "loading a state inside"),
        (lambda pair, optimizer: pair.new_data(), "new_data"),
        (lambda pair, optimizer: pair.rebind(), "rebind"),
        (lambda pair, optimizer: pair.distance(), "distance"),
    ],
)
def test_what_is_refused_inside(act: Callable[[HareTortoise, Optimizer], Any], message: str) -> None:
    model, optimizer, pair = trained()
    hare, before = values(model), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(RuntimeError, match=message), pair.deployed_weights():
        act(pair, optimizer)
    assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())
    after = optimizer.state_dict()
    assert all(
        torch.equal(state["momentum_buffer"], before["state"][key]["momentum_buffer"])
        for key, state in after["state"].items()
    )
    list(steps(model, optimizer, 1))
    assert pair.steps == 4


@pytest.mark.parametrize(
    "wrap", [lambda model: model, nn.DataParallel, lambda m: torch.compile(m, backend="eager")]
)
def test_a_state_saved_inside_holds_the_hare_as_the_hare(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = wrap(network())
    pair = HareTortoise(model, decay=0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    pair.after_step()
    outside, averages = copy.deepcopy(model.state_dict()), copy.deepcopy(pair.state_dict()["tortoise"])
    assert any(not torch.equal(a, b) for a, b in zip(outside.values(), averages.values(), strict=True))
    with pair.deployed_weights():
        for inside, before in ((model.state_dict(), outside), (pair.state_dict()["tortoise"], averages)):
            assert list(inside) == list(before)
            assert all(torch.equal(inside[name], before[name]) for name in before)
        holder = nn.ModuleDict({"inner": model})
        assert all(
            torch.equal(tensor, outside[name.removeprefix("inner.")])
            for name, tensor in holder.state_dict().items()
        )
    assert all(torch.equal(tensor, outside[name]) for name, tensor in model.state_dict().items())


def test_tied_and_half_precision_weights() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).bfloat16()
    model[1].weight = model[0].weight
    pair = HareTortoise(model, decay=0.5)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    pair.after_step()
    hare = values(model)
    with pair.deployed_weights():
        assert model[0].weight is model[1].weight
        assert torch.equal(model[0].weight, pair.tortoise.get_parameter("0.weight").bfloat16())
        assert torch.equal(model.state_dict()["1.weight"], hare["0.weight"])
    assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())


def test_training_goes_on_as_if_it_had_not_been() -> None:
    model, optimizer, pair = trained(reset_every=2)
    other, other_optimizer, other_pair = trained(reset_every=2)
    with pair.deployed_weights(), torch.no_grad():
        model(torch.randn(4, 3))
    list(steps(model, optimizer, 5))
    list(steps(other, other_optimizer, 5))
    assert same(model, other)
    assert same(pair.tortoise, other_pair.tortoise)


def test_it_is_no_use_without_leaving_buffers_that_are_none() -> None:
    model, _, pair = trained(buffers="none")
    hare = values(model)["1.running_mean"]
    with pair.deployed_weights():
        assert torch.equal(values(model)["1.running_mean"], values(pair.tortoise)["1.running_mean"])
    assert torch.equal(values(model)["1.running_mean"], hare)


def test_two_averages_do_not_lend_at_once_nor_act_meanwhile() -> None:
    model = network()
    slow, quick = HareTortoise(model, decay=0.99), EMA(model, decay=0.5)
    chain = Chain(slow, quick, FromScratch(model, fresh=network), deployed=quick)
    hare = values(model)
    acts: list[Callable[[], Any]] = [
        lambda: slow.deployed_weights().__enter__(),
        slow.reset,
        quick.after_step,
        chain.after_step,
        chain.new_data,
    ]
    for act in acts:
        with pytest.raises(RuntimeError, match="inside deployed_weights"), quick.deployed_weights():
            act()
        assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())
    assert (slow.steps, quick.steps) == (0, 0)
    other = HareTortoise(network())
    with quick.deployed_weights():
        other.after_step()


@pytest.mark.parametrize("wrap", [lambda layer: layer, lambda layer: torch.compile(layer, backend="eager")])
def test_a_layer_saved_inside_holds_the_hare(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = network()
    model[0] = wrap(model[0])
    pair = HareTortoise(model, decay=0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    outside = [copy.deepcopy(module.state_dict()) for module in model.modules()]
    with pair.deployed_weights():
        for module, before in zip(model.modules(), outside, strict=True):
            inside = module.state_dict()
            assert list(inside) == list(before)
            assert all(torch.equal(inside[name], before[name]) for name in before)
        assert not torch.equal(model[3].weight, outside[0]["3.weight"])
    assert not any(module._state_dict_hooks for module in model.modules())


@pytest.mark.parametrize("part", [lambda model: model, lambda model: model[3]])
def test_loading_into_the_model_inside_is_refused(part: Callable[[Any], nn.Module]) -> None:
    model, _, pair = trained()
    hare, state = values(model), part(network(1)).state_dict()
    with pytest.raises(RuntimeError, match="loading a state into the model inside"), pair.deployed_weights():
        part(model).load_state_dict(state)
    assert all(torch.equal(tensor, hare[name]) for name, tensor in values(model).items())
    part(model).load_state_dict(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: FromScratch(model, fresh=network),
        lambda model: ShrinkPerturb(model, fresh=network),
        lambda model: HeadReset(model, head="3", fresh=network),
    ],
)
def test_new_data_inside_is_refused_outside_a_chain_too(make: Callable[[nn.Module], Method]) -> None:
    model, _, pair = trained()
    method = make(model)
    drawn = method.generator.get_state()
    with pytest.raises(RuntimeError, match=r"new_data\(\) inside"), pair.deployed_weights():
        method.new_data()
    assert torch.equal(method.generator.get_state(), drawn)

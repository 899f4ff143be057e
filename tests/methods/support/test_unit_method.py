"""Methods that reset units: when they see, on which model, and what they remember."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hare_tortoise.methods import Chain, HareTortoise
from hare_tortoise.testing import Network, TiedNetwork
from tests.methods.support.recorder import Recorder, seen, sgd, step
from tests.methods.support.unit_networks import Concatenated, Linear, Residual


def test_only_training_forwards_of_this_very_model_count() -> None:
    network = Network()
    method, inputs = Recorder(network), torch.randn(6, 6)
    step(network, method, inputs)
    expected = seen(method, "body.0").magnitude
    twin = copy.deepcopy(network)
    loaded = through_pickle(network)
    network(inputs).sum().backward()
    network.eval()(torch.randn(6, 6))
    with torch.no_grad():
        network.train()(torch.randn(6, 6))
    network.body(torch.randn(6, 6))
    twin.train()(torch.randn(6, 6))
    loaded.train()(torch.randn(6, 6))
    method.after_step()
    torch.testing.assert_close(seen(method, "body.0").magnitude, expected)


def test_what_another_method_runs_the_network_for_does_not_count() -> None:
    """The method whose hook comes first watches already when the other one looks for the units."""
    network = Network()
    first, second = Recorder(network), Recorder(network)
    network(torch.randn(6, 6)).sum().backward()
    for method in (first, second):
        assert method._taps is not None
        assert [count for _, count in method._taps.sums.values()] == [6]


def through_pickle(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


def test_a_forward_that_is_run_again_in_the_backward_pass_counts_once() -> None:
    class Checkpointed(Network):
        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(checkpoint(self.body, inputs, use_reentrant=False))
            return outputs

    network = Checkpointed()
    method = Recorder(network)
    step(network, method, torch.randn(6, 6))
    assert method._taps is not None
    network(torch.randn(6, 6)).sum().backward()
    assert [count for _, count in method._taps.sums.values()] == [6]


def test_steps_that_are_not_watched_see_nothing_and_still_act() -> None:
    class EverySecond(Recorder):
        def observing(self) -> bool:
            return len(self.seen) % 2 == 1

    network = Network()
    method = EverySecond(network)
    for _ in range(4):
        step(network, method, torch.randn(6, 6))
    assert [found["body.0"] is None for found in method.seen] == [True, False, True, False]


def test_a_model_that_is_never_called_is_an_error() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    for _ in range(9):
        network.head(network.body(torch.randn(6, 6))).sum().backward()
        optimizer.step()
    with pytest.raises(RuntimeError, match="Recorder saw no forward of Network before 10 steps in a row"):
        optimizer.step()
    step(network, method, torch.randn(6, 6))
    assert len(method.seen) == 1


def test_detached_methods_leave_no_hooks_and_go_on_when_attached() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    network(torch.randn(6, 6)).sum().backward()
    optimizer.step()
    method.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    method.attach(optimizer)
    network(torch.randn(6, 6)).sum().backward()
    optimizer.step()
    assert len(method.seen) == 2
    assert method.memory["body.0"]["age"].tolist() == [2.0] * 8


def test_layers_that_were_replaced_are_found_again() -> None:
    network = Network()
    method = Recorder(network, optimizer := sgd(network))
    step(network, method, torch.randn(6, 6))
    network.body.add_module("4", nn.Linear(8, 5))
    network.body.add_module("5", nn.ReLU())
    network.head = nn.Linear(5, 3)
    method.attach(sgd(network))
    step(network, method, torch.randn(6, 6))
    assert {name: kept["age"].tolist() for name, kept in method.memory.items()} == {
        "body.0": [2.0] * 8,
        "body.4": [1.0] * 5,
    }
    assert optimizer is not None


def test_neither_model_nor_optimizer_keeps_a_method_alive() -> None:
    network = Network()
    method = Recorder(network)
    step(network, method, torch.randn(6, 6))
    reference = weakref.ref(method)
    del method
    gc.collect()
    assert reference() is None
    network(torch.randn(6, 6)).sum().backward()


def test_a_chain_without_optimizer_watches_too() -> None:
    network = Network()
    method = Recorder(network)
    chain = Chain(method, HareTortoise(network, decay=0.9, reset_every=5))
    for _ in range(3):
        network(torch.randn(6, 6)).sum().backward()
        chain.after_step()
    assert len(method.seen) == 3
    chain.detach()
    network(torch.randn(6, 6)).sum().backward()
    chain.after_step()
    assert len(method.seen) == 3
    chain.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_left_out_layers_are_named_in_one_warning() -> None:
    network = TiedNetwork()
    method = Recorder(network, optimizer := sgd(network))
    with pytest.warns(
        UserWarning, match=r"Recorder leaves alone the units of body \(.*shared.*\), middle \("
    ) as told:
        network(torch.randn(6, 6))
    assert len(told) == 1
    method.attach(optimizer)
    step(network, method, torch.randn(6, 6))


def test_a_network_without_units_is_an_error() -> None:
    network = Linear()
    method = Recorder(network)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Recorder finds no units in Linear, .*first \(no nonlinearity"):
            network(torch.randn(6, 5))
    assert method.groups == {}


def test_what_cannot_be_drawn_is_an_error_at_the_first_forward() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 6))
            self.act, self.head = nn.ReLU(), nn.Linear(8, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.act(functional.linear(inputs, self.weight)))
            return outputs

    network = Own()
    method = Recorder(network)
    with pytest.raises(ValueError, match="does not initialise weight"):
        network(torch.randn(6, 6))
    assert method.groups == {}
    other = Own()
    method = Recorder(other, fresh=Own)
    step(other, method, torch.randn(6, 6))
    assert list(method.groups) == ["weight"]


@pytest.mark.parametrize("before", [True, False])
def test_states_load_before_and_after_the_first_forward(before: bool) -> None:
    network = Network()
    method = Recorder(network)
    for _ in range(3):
        step(network, method, torch.randn(6, 6))
    other = Recorder(copy.deepcopy(network))
    empty = Recorder(Network()).state_dict()
    if not before:
        step(other.model, other, torch.randn(6, 6))
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert other.state_dict()["memory"]["body.0"]["age"].tolist() == [3.0] * 8
    step(other.model, other, torch.randn(6, 6))
    assert other.memory["body.0"]["age"].tolist() == [4.0] * 8
    other.load_state_dict(empty)
    step(other.model, other, torch.randn(6, 6))
    assert other.memory["body.0"]["age"].tolist() == [1.0] * 8


def test_states_of_other_units_are_refused() -> None:
    network, other = Network(), Residual()
    method, stranger = Recorder(network), Recorder(other)
    step(network, method, torch.randn(6, 6))
    step(other, stranger, torch.randn(6, 5))
    state = method.state_dict()
    with pytest.raises(
        ValueError, match=r"the saved state is of another model: the units of body\.0, embed, inner"
    ):
        stranger.load_state_dict(state)
    late = Recorder(Residual())
    late.load_state_dict(state)
    with pytest.raises(ValueError, match="the saved state is of another model"):
        late.model(torch.randn(6, 5))
    with pytest.raises(ValueError, match="'memory' and 'draws'"):
        method.load_state_dict({"generator": state["generator"]})


def test_units_behind_what_is_left_out_are_watched() -> None:
    network = Concatenated()
    method = Recorder(network)
    with pytest.warns(UserWarning, match="left .*concatenated"):
        step(network, method, torch.randn(6, 5))
    assert list(method.groups) == ["joint"]

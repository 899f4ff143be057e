"""What every transform promises, on our networks and on networks of others."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hare_tortoise.networks import NETWORKS, TRANSFORMS, aid, crelu, fourier, layer_norm
from hare_tortoise.networks.activations import RECTIFIERS, Activation

SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "impala": ((1, 8, 8), {"blocks": 1, "hidden": 8}),
    "minatar": ((1, 5, 4), {"hidden": 8}),
    "mlp": ((2, 3), {"hidden": (8, 6), "batch_norm": True}),
    "nature": ((1, 36, 36), {"hidden": 8}),
    "resnet18": ((1, 8, 8), {"head_hidden": (6,)}),
    "vgg16": ((1, 32, 32), {"head_hidden": (8, 6)}),
    "vit-tiny": ((1, 8, 4), {}),
}
# The activations of each network, and how many of them widening can take.
COUNTS = {
    "impala": (8, 8),
    "minatar": (2, 2),
    "mlp": (2, 2),
    "nature": (4, 4),
    "resnet18": (18, 13),
    "vgg16": (15, 15),
    "vit-tiny": (12, 12),
}
WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    **TRANSFORMS,
    "crelu halved": lambda network: crelu(network, width="halve"),
}
ways = pytest.mark.parametrize("way", WAYS)
networks = pytest.mark.parametrize("name", SHAPES)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*leaves as they are", category=UserWarning)
        yield


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    shape, settings = SHAPES[name]
    return NETWORKS[name](shape, 5, **settings)


def inputs(name: str) -> Tensor:
    return torch.randn(4, *SHAPES[name][0], generator=torch.Generator().manual_seed(1))


@networks
@ways
def test_it_keeps_head_outputs_and_gradients(name: str, way: str) -> None:
    network = build(name)
    head = network.get_submodule("head")
    transformed = WAYS[way](network)
    assert transformed is network
    assert transformed.get_submodule("head") is head
    outputs = transformed(inputs(name))
    assert outputs.shape == (4, 5)
    outputs.square().sum().backward()
    assert [key for key, parameter in transformed.named_parameters() if parameter.grad is None] == []
    activations = [m for m in transformed.modules() if isinstance(m, (Activation, *RECTIFIERS))]
    ours = [m for m in activations if isinstance(m, Activation)]
    every, widened = COUNTS[name]
    expected = {"aid": every, "layer-norm": 0}.get(way, widened)
    assert (len(activations), len(ours)) == (every, expected)


@networks
@ways
def test_every_parameter_can_be_drawn_again_as_it_was_built(name: str, way: str) -> None:
    network = WAYS[way](build(name))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(3)
    for module in network.modules():
        reset: Any = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    assert [key for key, parameter in network.named_parameters() if bool((parameter == 7.0).all())] == []


@ways
def test_the_global_seed_fixes_the_new_weights_and_a_copy_shares_nothing(way: str) -> None:
    first, second, other = (WAYS[way](build("mlp", seed)) for seed in (0, 0, 1))
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    copied = copy.deepcopy(first).eval()
    assert torch.equal(copied(inputs("mlp")), first.eval()(inputs("mlp")))
    storages = {tensor.data_ptr() for tensor in first.state_dict().values()}
    assert storages.isdisjoint(tensor.data_ptr() for tensor in copied.state_dict().values())


@networks
@pytest.mark.parametrize("activation", ["aid", "crelu", "fourier", None])
def test_an_option_of_ours_is_the_transform(name: str, activation: str | None) -> None:
    expected = build(name)
    if activation:
        TRANSFORMS[activation](expected)
    layer_norm(expected)
    torch.manual_seed(0)
    shape, settings = SHAPES[name]
    network = NETWORKS[name](shape, 5, **settings, activation=activation, layer_norm=True)
    theirs = expected.state_dict()
    assert list(network.state_dict()) == list(theirs)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in network.state_dict().items())


@networks
def test_an_unknown_activation_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"activation is 'reul', expected one of 'crelu', 'fourier', 'aid'"):
        NETWORKS[name](SHAPES[name][0], 5, activation="reul")


@ways
def test_it_stays_on_device_and_dtype_of_the_layers_in_their_mode_and_frozen(way: str) -> None:
    network = build("mlp").double().eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    before = {id(parameter) for parameter in network.parameters()}
    WAYS[way](network)
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float64}
    assert [module for module in network.modules() if module.training] == []
    if way != "layer-norm":
        resized = [parameter for parameter in network.parameters() if id(parameter) not in before]
        assert bool(resized) is (way != "aid")
        assert not any(parameter.requires_grad for parameter in resized)
    assert network(inputs("mlp").double()).dtype == torch.float64


@ways
def test_it_compiles_whole(way: str) -> None:
    torch.compiler.reset()
    network = WAYS[way](build("mlp")).double().eval()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = inputs("mlp").double()
    torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("first", ["crelu", "fourier", "aid"])
def test_layer_norm_and_an_activation_go_together_in_either_order(first: str) -> None:
    one = layer_norm(TRANSFORMS[first](build("vgg16")))
    other = TRANSFORMS[first](layer_norm(build("vgg16")))
    shapes = [{key: tensor.shape for key, tensor in network.state_dict().items()} for network in (one, other)]
    assert shapes[0] == shapes[1]
    assert torch.isfinite(one(inputs("vgg16"))).all()
    assert torch.isfinite(other(inputs("vgg16"))).all()


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(F.relu(self.act(self.first(x))))
        return out


class OnlyFunctional(Functional):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x).relu_())
        return out


class Branching(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if bool(x.sum() > 0) else x


@ways
def test_what_is_functional_is_named(way: str) -> None:
    with pytest.warns(
        UserWarning, match=r"leaves as they are: relu\(\) in the forward of the network"
    ) as warned:
        WAYS[way](Functional())
    assert len(warned) == 1
    assert warned[0].filename == __file__
    with pytest.raises(ValueError, match=r"no activation module to change.*relu\(\) in the forward"):
        WAYS[way](OnlyFunctional())


@ways
def test_a_network_without_activations_is_refused_and_left_alone(way: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="finds no activation module to change in the network"):
        WAYS[way](network)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_a_network_that_cannot_be_traced_is_refused_but_by_aid() -> None:
    for transform in (crelu, fourier, layer_norm):
        with pytest.raises(ValueError, match=r"Branching cannot be traced by torch\.fx"):
            transform(Branching())
    with pytest.warns(
        UserWarning, match="functional activations, if there are any: Branching cannot be traced"
    ):
        aid(Branching())


@ways
def test_an_activation_object_at_two_places_of_the_tree(way: str) -> None:
    act = nn.ReLU()
    network = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 6), act, nn.Linear(6, 2))
    if way == "layer-norm":
        with pytest.raises(ValueError, match="1 \\(called 2 times: give each place a module of its own"):
            WAYS[way](network)
        return
    WAYS[way](network)
    assert network[1] is network[3]
    assert isinstance(network[1], Activation)
    assert network(torch.ones(3, 4)).shape == (3, 2)

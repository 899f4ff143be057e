"""The graph of units: which rows, columns and vectors belong to a hidden channel, and what is left out and why."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from hare_tortoise.methods.support.names import named_weights
from hare_tortoise.methods.support.units import Outgoing, UnitGraph, Units, activations, trace_units
from hare_tortoise.networks import mlp, resnet18, vgg16, vit_tiny
from hare_tortoise.testing import Network, TiedNetwork
from tests.methods.support.unit_networks import (
    Concatenated,
    Decoder,
    Depthwise,
    Functional,
    Gated,
    InPlace,
    Linear,
    Recurrent,
    Residual,
    Sequences,
    Split,
    WithFeatures,
)

IMAGE = torch.zeros(2, 3, 32, 32)


def graph_of(network: nn.Module, *shape: int) -> UnitGraph:
    return trace_units(network, torch.randn(*shape))


def the(graph: UnitGraph, name: str) -> Units:
    return next(units for units in graph.groups if units.name == name)


def names(graph: UnitGraph) -> list[str]:
    return [units.name for units in graph.groups]


def per_unit(units: Units) -> list[str]:
    return [entry.name for entry in units.per_unit]


def norm(name: str) -> list[str]:
    return [f"{name}.{entry}" for entry in ("running_mean", "running_var", "weight", "bias")]


def test_perceptron() -> None:
    graph = trace_units(mlp((3, 4, 4), 10, hidden=(7, 5), batch_norm=True), torch.zeros(2, 3, 4, 4))
    assert names(graph) == ["body.1", "body.4"]
    first, second = graph.groups
    assert (first.size, first.incoming, first.biases) == (7, ("body.1.weight",), ("body.1.bias",))
    assert (first.outgoing, per_unit(first)) == ((Outgoing("body.4.weight"),), norm("body.2"))
    assert (second.outgoing, per_unit(second)) == ((Outgoing("head.weight"),), norm("body.5"))
    assert [tap.module for units in graph.groups for tap in units.taps] == ["body.3", "body.6"]
    assert graph.left_out == {}


def test_a_stage_of_resnet_is_one_set_of_units() -> None:
    graph = trace_units(resnet18((3, 32, 32), 10), IMAGE)
    assert len(graph.groups) == 12
    assert graph.left_out == {}
    stem = the(graph, "stem.0")
    assert stem.incoming == ("stem.0.weight", "body.0.0.residual.3.weight", "body.0.1.residual.3.weight")
    read = ("body.0.0.residual.0", "body.0.1.residual.0", "body.1.0.residual.0", "body.1.0.shortcut.0")
    assert stem.outgoing == tuple(Outgoing(f"{name}.weight") for name in read)
    norms = ("stem.1", "body.0.0.residual.4", "body.0.1.residual.4")
    assert per_unit(stem) == [entry for name in norms for entry in norm(name)]
    assert [tap.module for tap in stem.taps] == ["stem.2", "body.0.0.relu", "body.0.1.relu"]
    last = the(graph, "body.3.0.residual.3")
    assert last.incoming == tuple(
        f"body.3.{name}.weight" for name in ("0.residual.3", "0.shortcut.0", "1.residual.3")
    )
    assert last.outgoing == (Outgoing("body.3.1.residual.0.weight"), Outgoing("head.weight"))
    inner = the(graph, "body.2.1.residual.0")
    assert (inner.incoming, inner.outgoing) == (
        ("body.2.1.residual.0.weight",),
        (Outgoing("body.2.1.residual.3.weight"),),
    )


def test_vgg_is_a_chain_with_a_flatten() -> None:
    graph = trace_units(vgg16((3, 64, 64), 10, head_hidden=(8, 8)), torch.zeros(1, 3, 64, 64))
    assert len(graph.groups) == 15
    assert [units.outgoing[0].repeat for units in graph.groups] == [1] * 12 + [4, 1, 1]
    assert graph.groups[12].outgoing == (Outgoing("head.0.weight", repeat=4),)
    assert graph.left_out == {}


def test_vision_transformer_has_its_feed_forward_units() -> None:
    graph = trace_units(vit_tiny((3, 32, 32), 10, patch=16), IMAGE)
    assert names(graph) == [f"body.{block}.feed_forward.1" for block in range(12)]
    assert graph.groups[3].outgoing == (Outgoing("body.3.feed_forward.4.weight"),)
    assert "concatenated" in graph.left_out["embedding.2"]
    assert "split by a change of shape" in graph.left_out["body.0.attention.query_key_value"]
    assert "what is not followed" in graph.left_out["body.0.attention.out.0"]
    assert len(graph.left_out) == 1 + 3 * 12
    assert "head" not in graph.left_out


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_transformer_of_torch_has_its_feed_forward_units() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
    graph = graph_of(nn.TransformerEncoder(layer, 2), 3, 5, 16)
    assert names(graph) == ["layers.0.linear1", "layers.1.linear1"]
    assert set(graph.left_out) >= {"layers.0.self_attn", "layers.1.self_attn.out_proj"}
    assert "multi_head_attention_forward" in graph.left_out["layers.0.self_attn"]


def test_networks_of_the_contract() -> None:
    graph = graph_of(Network(), 4, 6)
    assert names(graph) == ["body.0"]
    assert per_unit(graph.groups[0]) == [*norm("body.1"), "body.3.weight", "body.3.bias"]
    tied = graph_of(TiedNetwork(), 4, 6)
    assert names(tied) == ["last"]
    assert tied.groups[0].outgoing == (Outgoing("head.weight"),)
    assert set(tied.left_out) == {"body", "middle"}
    assert all("body.weight is shared" in reason for reason in tied.left_out.values())


def test_functions_in_place_of_modules_in_another_order() -> None:
    graph = graph_of(Functional(), 2, 1, 8, 8)
    assert names(graph) == ["first", "second", "dense"]
    first, second, dense = graph.groups
    assert (first.outgoing, per_unit(first)) == ((Outgoing("second.weight"),), norm("norm"))
    assert second.outgoing == (Outgoing("dense.weight", repeat=4),)
    assert dense.outgoing == (Outgoing("head.weight"),)
    assert graph.left_out == {}


def test_one_relu_for_all_and_a_residual_stream() -> None:
    graph = graph_of(Residual(), 4, 5)
    assert names(graph) == ["embed", "inner"]
    stream, inner = graph.groups
    assert stream.incoming == ("embed.weight", "back.weight")
    assert stream.biases == ("embed.bias", "back.bias")
    assert stream.outgoing == (Outgoing("inner.weight"), Outgoing("head.weight"))
    assert per_unit(stream) == ["norm.weight", "norm.bias"]
    assert [(tap.module, tap.call) for tap in stream.taps] == [("relu", 0), ("relu", 2)]
    assert [(tap.module, tap.call) for tap in inner.taps] == [("relu", 1)]


def test_activations_and_sums_in_place() -> None:
    graph = graph_of(InPlace(), 2, 1, 4, 4)
    assert names(graph) == ["stem", "blocks.0.first", "blocks.1.first"]
    stream, *inner = graph.groups
    assert stream.incoming == ("stem.weight", "blocks.0.second.weight", "blocks.1.second.weight")
    assert [read.weight for read in stream.outgoing] == [
        "blocks.0.first.weight",
        "blocks.1.first.weight",
        "head.weight",
    ]
    assert [(tap.module, tap.call) for tap in stream.taps] == [
        ("act", 0),
        ("blocks.0.relu", 1),
        ("blocks.1.relu", 1),
    ]
    assert [(tap.module, tap.call) for units in inner for tap in units.taps] == [
        ("blocks.0.relu", 0),
        ("blocks.1.relu", 0),
    ]


def test_gates_are_one_unit() -> None:
    (units,) = graph_of(Gated(), 4, 5).groups
    assert (units.incoming, units.outgoing) == (("a.weight", "b.weight"), (Outgoing("down.weight"),))
    assert [(tap.module, tap.given) for tap in units.taps] == [("down", True)]


def test_depthwise_convolutions_carry_units_on() -> None:
    (units,) = graph_of(Depthwise(), 2, 3, 4, 4).groups
    assert units.incoming == ("wide.weight", "depthwise.weight")
    assert units.biases == ("depthwise.bias",)
    assert per_unit(units) == [*norm("norm"), "act.weight"]
    assert [tap.module for tap in units.taps] == ["act"]


def test_changes_of_shape() -> None:
    (units,) = graph_of(Sequences(), 2, 3, 9).groups
    assert units.outgoing == (Outgoing("head.weight"),)


def test_a_layer_that_is_run_on_its_own_result() -> None:
    (units,) = graph_of(Recurrent(), 4, 5).groups
    assert units.incoming == ("start.weight", "step.weight")
    assert units.outgoing == (Outgoing("step.weight"), Outgoing("head.weight"))
    assert [tap.call for tap in units.taps] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("network", "shape", "found", "reasons"),
    [
        (Concatenated, (4, 5), ["joint"], {"left": "concatenated", "right": "concatenated"}),
        (Split, (4, 5), ["down"], {"both": "split .chunk"}),
        (Decoder, (2, 1, 8, 8), ["mix"], {"down": "conv_transpose2d", "up": "conv_transpose2d"}),
        (WithFeatures, (4, 5), ["second"], {"first": "reaches the output"}),
        (Linear, (4, 5), [], {"first": "no nonlinearity"}),
    ],
)
def test_what_is_left_out_and_why(
    network: Callable[[], nn.Module], shape: tuple[int, ...], found: list[str], reasons: dict[str, str]
) -> None:
    graph = graph_of(network(), *shape)
    assert names(graph) == found
    assert graph.left_out.keys() == reasons.keys()
    for layer, reason in reasons.items():
        assert pytest.raises(AssertionError, match=reason).matches(AssertionError(graph.left_out[layer]))


def test_computed_and_frozen_weights_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    parametrizations.weight_norm(network[0])
    network[4].requires_grad_(False)
    graph = graph_of(network, 3, 5)
    assert names(graph) == []
    assert "computed" in graph.left_out["0"]
    assert graph.left_out["2"] == "4.weight requires no gradient"


def test_a_function_whose_result_no_module_sees() -> None:
    class Hidden(Residual):
        def forward(self, inputs: Tensor) -> Tensor:
            summed = self.embed(inputs) + self.back(torch.relu(self.inner(self.embed(inputs))))
            outputs: Tensor = self.head(nn.functional.layer_norm(torch.relu(summed), (8,)))
            return outputs

    graph = graph_of(Hidden(), 4, 5)
    assert names(graph) == ["inner"]
    assert set(graph.left_out) == {"embed", "back"}
    assert "use an activation module" in graph.left_out["embed"]


@torch.no_grad()
def check_silenced(network: nn.Module, inputs: Tensor, graph: UnitGraph) -> None:
    """With all that reads a unit at zero, in each set, the network does not see what produces these units."""
    network = copy.deepcopy(network).eval()
    weights = named_weights(network)
    chosen = {units.name: int(torch.randint(units.size, ())) for units in graph.groups}
    for units in graph.groups:
        for read in units.outgoing:
            columns = weights[read.weight].unflatten(1, (units.size, read.repeat))  # type: ignore[no-untyped-call]
            columns[:, chosen[units.name]] = 0.0
    before = network(inputs)
    for units in graph.groups:
        for name in (*units.incoming, *units.biases):
            weights[name][chosen[units.name]] += 1.0
        for read in units.outgoing:
            columns = weights[read.weight].unflatten(1, (units.size, read.repeat))  # type: ignore[no-untyped-call]
            columns[:, chosen[units.name]] = 0.0
    torch.testing.assert_close(network(inputs), before, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: resnet18((3, 16, 16), 4), (2, 3, 16, 16)),
        (lambda: vgg16((3, 32, 32), 4, head_hidden=(8,)), (2, 3, 32, 32)),
        (lambda: vit_tiny((3, 16, 16), 4), (2, 3, 16, 16)),
        (Functional, (2, 1, 8, 8)),
        (Gated, (4, 5)),
        (Depthwise, (2, 3, 4, 4)),
        (Sequences, (2, 3, 9)),
        (InPlace, (2, 1, 4, 4)),
    ],
)
def test_nothing_else_reads_a_unit(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network, inputs = build().double(), torch.randn(shape, dtype=torch.float64)
    graph = trace_units(network, inputs)
    assert graph.groups
    check_silenced(network, inputs, graph)
    broken = UnitGraph(tuple(_without_first_reader(units) for units in graph.groups), {})
    with pytest.raises(AssertionError):
        check_silenced(network, inputs, broken)


def _without_first_reader(units: Units) -> Units:
    return Units(**{**vars(units), "outgoing": units.outgoing[1:]})


def test_tracing_leaves_no_trace() -> None:
    network = Functional().train()
    network.norm.eval()
    before = copy.deepcopy(network.state_dict())
    states = torch.get_rng_state(), random.getstate()
    inputs = torch.randn(2, 1, 8, 8)
    states = torch.get_rng_state(), random.getstate()
    trace_units(network, inputs)
    activations(network, inputs)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert network.training
    assert not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_activations_are_those_of_the_network() -> None:
    network, inputs = Residual().eval(), torch.randn(4, 5)
    found = activations(network, inputs)
    assert list(found) == ["embed", "inner", "back"]
    embed = torch.relu(network.embed(inputs))
    inner = torch.relu(network.inner(embed))
    expected = {"embed": embed, "inner": inner, "back": torch.relu(embed + network.back(inner))}
    for name, (value, dim) in found.items():
        assert dim == 1
        torch.testing.assert_close(value, expected[name])


def test_activations_are_kept_before_they_are_written_over() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.last = nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Any:
            return self.last(self.act(self.first(inputs)).mul_(-1.0))

    network, inputs = Overwriting(), torch.randn(4, 5)
    (value, _) = activations(network, inputs)["first"]
    torch.testing.assert_close(value, torch.relu(network.first(inputs)).detach())


def test_activations_behind_what_is_not_followed() -> None:
    network = Concatenated()
    found = activations(network, torch.randn(4, 5))
    assert {name: (tuple(value.shape), dim) for name, (value, dim) in found.items()} == {
        "left": ((4, 4), 1),
        "right": ((4, 4), 1),
        "joint": ((4, 6), 1),
    }


def test_wrapped_networks_give_the_same_graph() -> None:
    network = Functional()
    inputs = torch.randn(2, 1, 8, 8)
    wrapped: Any = torch.compile(nn.DataParallel(network), backend="aot_eager")
    plain = trace_units(network, inputs)
    assert [units.outgoing for units in trace_units(wrapped, inputs).groups] == [
        units.outgoing for units in plain.groups
    ]
    network.dense = torch.compile(network.dense, backend="aot_eager")  # type: ignore[assignment]
    assert [units.outgoing for units in trace_units(network, inputs).groups] == [
        units.outgoing for units in plain.groups
    ]

"""Following the channels of a network: which layers, norms and activations share a width."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from torch import nn
from torch.fx import Node

from hare_tortoise.networks.activations import (
    FUNCTIONAL,
    RECTIFIERS,
    Activation,
    called,
    functional_activations,
    trace,
)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POOLING = ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "LPPool")
_POOLING_FUNCTIONS = (
    "max_pool",
    "avg_pool",
    "adaptive_max_pool",
    "adaptive_avg_pool",
    "lp_pool",
    "interpolate",
)
_ENTRYWISE_MODULES = (nn.Identity, nn.Tanh, nn.Sigmoid, nn.Hardsigmoid, nn.Hardtanh, nn.Softsign, nn.Dropout)
_ENTRYWISE = re.compile(
    f"{FUNCTIONAL.pattern}|tanh|sigmoid|dropout|dropout2d|contiguous|clone|"
    "detach|float|double|half|bfloat16|to|type|type_as|neg|abs|sqrt|square|exp|clamp"
)
_COMBINING = re.compile("i?add|i?sub|i?mul|i?truediv|div")
_READING = re.compile("getattr|size|dim|numel|ndimension|stride|is_floating_point")


@dataclass(frozen=True)
class Flow:
    """Where the channels of a tensor are: which channels, and whether they are its last dimension or its second.

    `rank` is 0 where it is not known; `flattened`: positions were folded into the channels; `source` is a layer or
    norm in front.
    """

    channels: int
    last: bool
    rank: int
    flattened: bool
    source: str


@dataclass(frozen=True)
class ActivationCall:
    """One call of an activation module; `inside` and `outside` number the channels in front and behind, −1: unknown."""

    inside: int
    outside: int
    last: bool
    flattened: bool
    normed: bool
    source: str


@dataclass(frozen=True)
class Member:
    """A layer or norm one dimension of which is a multiple, `ratio`, of the number of some channels."""

    channels: int
    name: str
    side: Literal["reads", "writes", "norms"]
    ratio: int


@dataclass
class ChannelGraph:
    """The channels of a network. `sizes` has the number of each; `ties` says which must stay equal in number."""

    sizes: list[int] = field(default_factory=list)
    ties: list[tuple[int, int]] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    fixed: list[tuple[int, str]] = field(default_factory=list)
    activations: dict[str, list[ActivationCall]] = field(default_factory=dict)
    functional: list[str] = field(default_factory=list)


def follow(network: nn.Module) -> ChannelGraph:
    """Trace a network with `torch.fx` and follow its channels from layer to layer.

    Channels are followed through Linear and convolutions, norms, activations, dropout, pooling, flattening, means
    over positions, sums and products. Anything else that they meet fixes their number.

    Raises:
        ValueError: `torch.fx` cannot trace the network.
    """
    graph = trace(network)
    follower = _Follower(network)
    for node in graph.nodes:
        follower.take(node)
    follower.graph.functional = functional_activations(graph)
    return follower.graph


class _Follower:
    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.graph = ChannelGraph()
        self.flows: dict[Node, Flow] = {}
        self.seen: dict[str, dict[str, int]] = {}
        uses: dict[int, int] = {}
        for module in network.modules():
            for parameter in module.parameters(recurse=False):
                uses[id(parameter)] = uses.get(id(parameter), 0) + 1
        self.tied = {key for key, count in uses.items() if count > 1}

    def take(self, node: Node) -> None:
        """Follow the channels through one call."""
        if node.op == "call_module":
            flow = self._module(node, str(node.target), self.network.get_submodule(str(node.target)))
        elif node.op in ("call_function", "call_method"):
            flow = self._function(node, called(node))
        else:
            flow = self._stop(node, "the output of the network") if node.op == "output" else None
        if flow is not None:
            self.flows[node] = flow

    def _first(self, node: Node) -> Flow | None:
        return self.flows.get(node.args[0]) if node.args and isinstance(node.args[0], Node) else None

    def _stop(self, node: Node, reason: str) -> Flow | None:
        """Follow no further: the number of the channels that come in here is fixed."""
        for source in node.all_input_nodes:
            if source in self.flows:
                self.graph.fixed.append((self.flows[source].channels, reason))
        return None

    def _new(self, size: int) -> int:
        self.graph.sizes.append(size)
        return len(self.graph.sizes) - 1

    def _join(self, name: str, side: str, channels: int) -> int:
        """The same side of a module has the same channels at every call."""
        first = self.seen.setdefault(name, {}).setdefault(side, channels)
        if first != channels:
            self.graph.ties.append((first, channels))
        return channels

    def _module(self, node: Node, name: str, module: nn.Module) -> Flow | None:
        flow = self._first(node)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return self._layer(node, name, module, flow)
        if isinstance(module, (Activation, *RECTIFIERS)):
            return self._activation(node, name, module, flow)
        if flow is None:
            return None
        if width := _norm_width(module, flow):
            return self._norm(node, name, width, flow)
        kind = type(module).__name__
        if isinstance(module, _ENTRYWISE_MODULES) or "Dropout" in kind:
            return flow
        if kind.startswith(_POOLING) and not flow.last:
            return flow
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            return _flat(flow)
        return self._stop(node, f"{name} ({kind})")

    def _layer(self, node: Node, name: str, layer: Any, flow: Flow | None) -> Flow:
        linear = isinstance(layer, nn.Linear)
        reads, writes = layer.weight.shape[1], layer.weight.shape[0]
        channels = self._join(name, "writes", self._new(writes))
        self.graph.members.append(Member(channels, name, "writes", 1))
        own = [*layer.parameters(recurse=False)]
        rigid = ""
        if type(layer) not in (nn.Linear, *CONVOLUTIONS) or "weight" not in layer._parameters:
            rigid = f"{name} is no plain layer of torch.nn"
        elif any(id(parameter) in self.tied for parameter in own):
            rigid = f"{name} shares its weight with another layer"
        elif not linear and layer.groups > 1:
            rigid = f"{name} is a convolution in groups"
        elif flow and (flow.last is not linear or reads % self.graph.sizes[flow.channels]):
            rigid = f"{name} reads another dimension"
        if rigid:
            self._stop(node, rigid)
            self.graph.fixed.append((channels, rigid))
        elif flow:
            ratio = reads // self.graph.sizes[flow.channels]
            self.graph.members.append(Member(self._join(name, "reads", flow.channels), name, "reads", ratio))
        rank = (flow.rank if flow else 0) if linear else layer.weight.ndim
        return Flow(channels, last=linear, rank=rank, flattened=False, source=name)

    def _norm(self, node: Node, name: str, width: int, flow: Flow) -> Flow | None:
        size = self.graph.sizes[flow.channels]
        if width % size:
            return self._stop(node, f"{name} norms another dimension")
        self.graph.members.append(
            Member(self._join(name, "norms", flow.channels), name, "norms", width // size)
        )
        return replace(flow, source=name)

    def _activation(self, node: Node, name: str, module: nn.Module, flow: Flow | None) -> Flow | None:
        calls = self.graph.activations.setdefault(name, [])
        if flow is None:
            calls.append(ActivationCall(-1, -1, last=True, flattened=False, normed=False, source=""))
            return None
        widens = module.widens if isinstance(module, Activation) else 1
        outside = self._new(self.graph.sizes[flow.channels] * widens)
        before = cast(Node, node.args[0])
        norm = self.network.get_submodule(str(before.target)) if before.op == "call_module" else None
        normed = isinstance(norm, nn.LayerNorm) or (isinstance(norm, nn.GroupNorm) and norm.num_groups == 1)
        calls.append(ActivationCall(flow.channels, outside, flow.last, flow.flattened, normed, flow.source))
        if widens > 1:
            for channels in (flow.channels, outside):
                self.graph.fixed.append((channels, f"{name} is a {type(module).__name__} already"))
        return replace(flow, channels=outside)

    def _function(self, node: Node, name: str) -> Flow | None:
        flow = self._first(node)
        if _READING.fullmatch(name):
            return None
        if _COMBINING.fullmatch(name):
            return self._combined(node)
        if flow is None:
            return self._stop(node, f"{name}()")
        if _ENTRYWISE.fullmatch(name) or (name.startswith(_POOLING_FUNCTIONS) and not flow.last):
            return flow
        follow_by: Callable[[Node, Flow], Flow | None] | None = {
            "flatten": _flattened,
            "view": _reshaped,
            "reshape": _reshaped,
            "mean": _averaged,
        }.get(name)
        followed = follow_by(node, flow) if follow_by else None
        return followed or self._stop(node, f"{name}()")

    def _combined(self, node: Node) -> Flow | None:
        """A sum or product: two followed tensors have the same channels from here on."""
        tensors = [argument for argument in node.args if isinstance(argument, Node)]
        flows = [self.flows[tensor] for tensor in tensors if tensor in self.flows]
        if not flows:
            return None
        if len(flows) < len(tensors):
            return self._stop(node, "a sum or product with a tensor that no layer computed") or flows[0]
        first, *others = flows
        for other in others:
            same = (other.last, other.flattened) == (first.last, first.flattened)
            if not same or self.graph.sizes[other.channels] != self.graph.sizes[first.channels]:
                return self._stop(node, "a sum or product of tensors of different shapes")
            self.graph.ties.append((first.channels, other.channels))
        return first


def _norm_width(module: nn.Module, flow: Flow) -> int:
    """How many channels a norm has, as far as they are those that are followed; 0: it is none."""
    in_second = not flow.last or flow.rank in (0, 2)
    if isinstance(module, BATCH_NORMS) and in_second:
        return module.num_features
    if isinstance(module, nn.GroupNorm) and in_second:
        return module.num_channels
    if isinstance(module, nn.LayerNorm) and flow.last and len(module.normalized_shape) == 1:
        return math.prod(module.normalized_shape)
    return 0


def _flat(flow: Flow) -> Flow:
    """All dimensions but the batch folded into one."""
    return replace(flow, last=True, rank=2, flattened=flow.flattened or not flow.last or flow.rank != 2)


def _settings(node: Node) -> list[Any]:
    return [*node.args[1:], *node.kwargs.values()]


def _flattened(node: Node, flow: Flow) -> Flow | None:
    return _flat(flow) if _settings(node) in ([1], [1, -1]) else None


def _reshaped(node: Node, flow: Flow) -> Flow | None:
    """Only what flattens: (batch, −1)."""
    shape = _settings(node)
    shape = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape
    return _flat(flow) if len(shape) == 2 and shape[1] == -1 and isinstance(shape[0], Node) else None


def _averaged(node: Node, flow: Flow) -> Flow | None:
    """A mean over the positions of an image."""
    dims, *rest = [*_settings(node), None]
    dims = [dims] if isinstance(dims, int) else dims
    if flow.last or not isinstance(dims, list | tuple) or not flow.rank:
        return None
    positions = {dim % flow.rank for dim in dims if isinstance(dim, int)}
    if positions != set(range(2, flow.rank)):
        return None
    kept = rest[0] is True
    return flow if kept else replace(flow, last=True, rank=2)

"""Putting activations that double the channels into a network, and resizing the layers around them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, cast

import torch
from torch import nn

from hare_tortoise.networks.activations import Activation, Network, put, tell
from hare_tortoise.networks.channels import BATCH_NORMS, ChannelGraph, follow

Width = Literal["double", "halve"]


def replace_activations(
    transform: str, network: Network, build: Callable[[int], nn.Module], width: Width
) -> Network:
    """Replace every activation that can be by one that gives twice the channels.

    Args:
        transform: its name, for messages.
        network: changed in place.
        build: makes the new activation from the dimension of the channels.
        width: "double" the inputs of the layers behind, or "halve" the outputs of those in front.

    Raises:
        ValueError: none can be replaced, or the network cannot be traced.
    """
    graph = follow(network)
    chosen: list[str] = []
    left = list(graph.functional)
    for name in graph.activations:
        if isinstance(network.get_submodule(name), Activation):
            continue
        reason = _obstacle(network, graph, [*chosen, name], width)
        if reason:
            left.append(f"{name} ({reason})")
        else:
            chosen.append(name)
    tell(transform, changed=chosen, left=left, stacklevel=4)
    sizes = _Classes(network, graph, chosen).sizes(width)
    _resize(network, graph, sizes)
    for name in chosen:
        new = build(-1 if graph.activations[name][0].last else 1)
        put(network, name, new.train(network.get_submodule(name).training))
    return network


class _Classes:
    """Channels that must have the same number, when some activations are replaced and the others are not."""

    def __init__(self, network: nn.Module, graph: ChannelGraph, chosen: Collection[str]) -> None:
        self.graph = graph
        self.calls = [call for name in chosen for call in graph.activations[name]]
        self._above = list(range(len(graph.sizes)))
        for first, second in graph.ties:
            self._tie(first, second)
        self.fixed = list(graph.fixed)
        for name, calls in graph.activations.items():
            module = network.get_submodule(name)
            if name in chosen or (isinstance(module, Activation) and module.widens > 1):
                continue
            for call in calls:
                if call.inside >= 0:
                    self._tie(call.inside, call.outside)
                    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
                        self.fixed.append((call.inside, f"{name} has a slope for each channel"))

    def root(self, channels: int) -> int:
        while self._above[channels] != channels:
            channels = self._above[channels]
        return channels

    def _tie(self, first: int, second: int) -> None:
        self._above[self.root(first)] = self.root(second)

    def resized(self, width: Width) -> set[int]:
        return {self.root(call.outside if width == "double" else call.inside) for call in self.calls}

    def sizes(self, width: Width) -> dict[int, int]:
        """The new number of those channels that change, by every number that they have in the graph."""
        resized = self.resized(width)
        changed = {i: size for i, size in enumerate(self.graph.sizes) if self.root(i) in resized}
        return {i: size * 2 if width == "double" else size // 2 for i, size in changed.items()}


def _obstacle(network: nn.Module, graph: ChannelGraph, chosen: list[str], width: Width) -> str:
    """Why the last of the chosen activations cannot be replaced together with the others; "": nothing."""
    calls = graph.activations[chosen[-1]]
    if any(call.inside < 0 for call in calls):
        return "no layer before it could be followed"
    if len({call.last for call in calls}) > 1:
        return "called on channels in different dimensions: give each place a module of its own"
    classes = _Classes(network, graph, chosen)
    insides = {classes.root(call.inside) for call in classes.calls}
    if insides & {classes.root(call.outside) for call in classes.calls}:
        return "a sum joins the channels before and after it: a residual connection without a projection"
    resized = classes.resized(width)
    for channels, reason in classes.fixed:
        if classes.root(channels) in resized:
            return f"the width is fixed by {reason}"
    for member in graph.members:
        if classes.root(member.channels) not in resized:
            continue
        if width == "double" and member.side == "writes":
            return f"{member.name} writes to the same channels: a residual connection without a projection"
        module = network.get_submodule(member.name)
        new = classes.sizes(width)[member.channels] * member.ratio
        if isinstance(module, nn.GroupNorm) and new % module.num_groups:
            return f"{new} channels cannot be normed in the {module.num_groups} groups of {member.name}"
    if width == "halve" and any(graph.sizes[call.inside] % 2 for call in calls):
        return f"{graph.sizes[calls[0].inside]} channels, an odd number, cannot be halved"
    return ""


def _resize(network: nn.Module, graph: ChannelGraph, sizes: dict[int, int]) -> None:
    """Give the layers and norms of the channels that change their new shapes, in the order of the modules."""
    wanted: dict[str, dict[str, int]] = {}
    for member in graph.members:
        if member.channels in sizes:
            wanted.setdefault(member.name, {})[member.side] = sizes[member.channels] * member.ratio
    for name, module in network.named_modules():
        if name in wanted:
            _reshape(cast(Any, module), wanted[name])


def _reshape(module: Any, wanted: dict[str, int]) -> None:
    if "norms" in wanted:
        shapes: dict[str, tuple[int, ...]] = {
            name: (wanted["norms"],)
            for name in ("weight", "bias", "running_mean", "running_var")
            if getattr(module, name, None) is not None
        }
        if isinstance(module, BATCH_NORMS):
            module.num_features = wanted["norms"]
        elif isinstance(module, nn.GroupNorm):
            module.num_channels = wanted["norms"]
        else:
            module.normalized_shape = (wanted["norms"],)
    else:
        linear = isinstance(module, nn.Linear)
        names = ("in_features", "out_features") if linear else ("in_channels", "out_channels")
        for side, name in zip(("reads", "writes"), names, strict=True):
            setattr(module, name, wanted.get(side, getattr(module, name)))
        inputs, outputs = (getattr(module, name) for name in names)
        shapes = {"weight": (outputs, inputs, *module.weight.shape[2:])}
        if module.bias is not None:
            shapes["bias"] = (outputs,)
    for name, shape in shapes.items():
        old = getattr(module, name)
        new = torch.empty(shape, dtype=old.dtype, device=old.device)
        if isinstance(old, nn.Parameter):
            setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
        else:
            module.register_buffer(name, new)
    module.reset_parameters()

"""Many networks alike as one: weights stacked, layers as batched matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hare_tortoise.networks.encoder import Encoder
from hare_tortoise.rl.heads import QHead
from hare_tortoise.rl.network import QNetwork, VectorEncoder

Weights = Mapping[str, Tensor]
Layer = Callable[[Tensor, Weights], Tensor]
"""From what the layer before gave and the stacked weights by name: vectors (G, F, B), or maps (G, C, H, W, B).

The rows of the batch stand last, so that every layer is a product of its weights, as they lie in memory, with what
comes in: gradients of the weights come out as the weights lie, and patches are gathered by whole rows.
"""


class StackedNetwork(nn.Module):
    """G networks alike, asked at once.

    It has a parameter for each parameter of one network, of the same name and in the same order, with a leading axis
    of G. The parameters of the networks themselves become views of these, so that code which changes a network in
    place changes the stacked weights, and the other way round; their gradients are the stacked parameters' alone. A
    linear layer and a convolution, which is one of all its patches, are

        out[g] = bias[g] + weight[g] · in[g]        (torch.baddbmm; a column of in[g] is a row of the batch)

    Args:
        networks: G of them, on the device where they stay: `.to(...)` of one, or of this, would tear them apart.

    Raises:
        ValueError: there is none; they differ; or one of their modules has no stacked form: the message names it.

    Example:
        >>> from hare_tortoise.networks.minatar import minatar_encoder
        >>> networks = [QNetwork(minatar_encoder((4, 10, 10)), QHead(1024, 3, hidden=8)) for _ in range(2)]
        >>> stacked = StackedNetwork(networks)
        >>> stacked(torch.zeros(2, 5, 4, 10, 10)).shape, stacked.get_parameter("encoder.body.0.weight").shape
        (torch.Size([2, 5, 3]), torch.Size([2, 16, 4, 3, 3]))
        >>> _ = nn.init.ones_(networks[1].encoder.body[0].bias)
        >>> stacked.get_parameter("encoder.body.0.bias").mean(1)[1].item()
        1.0
    """

    def __init__(self, networks: Sequence[QNetwork]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("networks is empty, expected at least one")
        self._networks = tuple(networks)  # in a tuple they are not modules of this one
        self._encode, self._head = _layers(networks[0])
        self._check_alike()
        for name, _ in networks[0].named_children():
            self.add_module(name, _holder([network.get_submodule(name) for network in networks]))
        self.rejoin()

    def __len__(self) -> int:
        return len(self._networks)

    def forward(self, observations: Tensor, legal: Tensor | None = None) -> Tensor:
        """Map (G, B, *shape), floating, to (G, B, actions) or (G, B, actions, atoms).

        Under autocast it computes in its dtype, as the networks do; what comes out is float32 at least.

        Args:
            observations: those of network g in row g.
            legal: (G, 1 or B, actions) bool, True where an action is legal; None: all are.
        """
        return self.run(self.cast(), observations, legal)

    def cast(self) -> dict[str, Tensor]:
        """The weights by name in the dtype of the computation: several forwards may share them."""
        dtype = self._dtype()
        return {name: parameter.to(dtype) for name, parameter in self.named_parameters()}

    def run(self, weights: Weights, observations: Tensor, legal: Tensor | None = None) -> Tensor:
        """Do as `forward`, with the weights that `cast` gave."""
        inputs = observations.to(next(iter(weights.values())).dtype)
        features = self._encode(inputs.movedim(1, -1), weights)
        return self._head(features, weights, legal)

    def parts(self) -> Iterator[tuple[nn.Parameter, tuple[nn.Parameter, ...]]]:
        """Each stacked parameter with those of the networks that are its views."""
        return zip(
            self.parameters(), zip(*(net.parameters() for net in self._networks), strict=True), strict=True
        )

    @torch.no_grad()
    def rejoin(self) -> None:
        """Make the parameters of each network views again where they are not, with the values that they have there."""
        for whole, parameters in self.parts():
            for part, parameter in zip(whole, parameters, strict=True):
                if parameter.data_ptr() != part.data_ptr():
                    part.copy_(parameter)
                    parameter.data = part

    def _dtype(self) -> torch.dtype:
        first = next(self.parameters())
        device = first.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else first.dtype

    def _check_alike(self) -> None:
        first, *others = (
            [(n, p.shape, p.dtype, p.device) for n, p in net.named_parameters()] for net in self._networks
        )
        for place, other in enumerate(others, start=1):
            if other != first or repr(self._networks[place]) != repr(self._networks[0]):
                raise ValueError(
                    f"network {place} differs from the first in its layers, or in shape, dtype or device of its "
                    "weights; expected networks alike: build them by one recipe, with as many actions each"
                )


class _Holder(nn.Module):
    """Stacked parameters, and the children that have some, under the names that they have in one network."""


def _holder(modules: Sequence[nn.Module]) -> nn.Module:
    holder = _Holder()
    for name, parameter in modules[0].named_parameters(recurse=False):
        values = torch.stack([module.get_parameter(name).detach() for module in modules])
        holder.register_parameter(name, nn.Parameter(values, requires_grad=parameter.requires_grad))
    for name, _ in modules[0].named_children():
        holder.add_module(name, _holder([module.get_submodule(name) for module in modules]))
    return holder


def _layers(network: QNetwork) -> tuple[Layer, Callable[[Tensor, Weights, Tensor | None], Tensor]]:
    """What the encoder and the head compute."""
    if network.prediction is not None:
        raise _refused("prediction", network.prediction)
    encoder, head = network.encoder, network.head
    if type(encoder) not in (Encoder, VectorEncoder):
        raise _refused("encoder", encoder)
    if type(head) is not QHead:
        raise _refused("head", head)
    encode = _layer("encoder.body", cast(Any, encoder).body)
    shared, advantage = _layer("head.shared", head.shared), _layer("head.advantage", head.advantage)
    value = None if head.value is None else _layer("head.value", head.value)

    def valued(features: Tensor, weights: Weights, legal: Tensor | None) -> Tensor:
        features = shared(features, weights)
        of_state = None if value is None else value(features, weights).transpose(1, 2)
        return head.join(of_state, advantage(features, weights).transpose(1, 2), legal)

    return encode, valued


def _layer(name: str, module: nn.Module) -> Layer:
    """What a module computes, as a function of stacked weights."""
    # A subclass may compute anything, and so may one whose weights are computed.
    if type(module) is nn.Sequential:
        return _in_turn([_layer(f"{name}.{inner}", child) for inner, child in module.named_children()])
    build = _BUILDERS.get(type(module))
    found = None if build is None else build(name, module)
    if found is None:
        raise _refused(name, module)
    return found


def _refused(name: str, module: nn.Module) -> ValueError:
    shown = f"{name} is {repr(module).splitlines()[0].removesuffix('(')}"
    return ValueError(
        f"{shown}, which has no stacked form; expected an encoder of this library of convolutions and linear layers "
        "(nature, minatar, mlp), with a QHead and without prediction or noise: train these agents one after the other "
        "(Loop)"
    )


def _in_turn(layers: Sequence[Layer]) -> Layer:
    def run(inputs: Tensor, weights: Weights) -> Tensor:
        for layer in layers:
            inputs = layer(inputs, weights)
        return inputs

    return run


def _linear(name: str, module: nn.Linear) -> Layer | None:
    if module._parameters["bias"] is None:
        return None

    def run(inputs: Tensor, weights: Weights) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return torch.baddbmm(bias[..., None], weight, inputs)

    return run


def _convolution(name: str, module: nn.Conv2d) -> Layer | None:
    around = module.padding
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or module.bias is None or isinstance(around, str):
        return None
    (high, wide), (down, across) = module.kernel_size, module.stride

    def run(inputs: Tensor, weights: Weights) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        padded = _pad(inputs, (around[1], around[1], around[0], around[0])) if any(around) else inputs
        patches = (
            padded.contiguous().unfold(2, high, down).unfold(3, wide, across)
        )  # (G, C, H, W, B, high, wide)
        places = patches.shape[2:5]
        columns = patches.permute(0, 1, 5, 6, 2, 3, 4).reshape(len(weight), -1, places.numel())
        return torch.unflatten(torch.baddbmm(bias[..., None], weight.flatten(2), columns), 2, places)

    return run


def _zeros_around(_: str, module: nn.ZeroPad2d) -> Layer:
    return lambda inputs, weights: _pad(inputs, module.padding)


def _pad(maps: Tensor, around: Sequence[int]) -> Tensor:
    """Put zeros around (G, C, H, W, B): left, right, top, bottom."""
    return functional.pad(maps, (0, 0, *around))


def _flatten(_: str, module: nn.Flatten) -> Layer | None:
    if (module.start_dim, module.end_dim) != (1, -1):
        return None
    return lambda inputs, weights: inputs.flatten(1, -2)


def _norm(name: str, module: nn.LayerNorm | nn.GroupNorm) -> Layer | None:
    over_all = (
        module.num_groups == 1 if isinstance(module, nn.GroupNorm) else len(module.normalized_shape) == 1
    )
    if not over_all or module.weight is None or module.bias is None:
        return None

    def run(inputs: Tensor, weights: Weights) -> Tensor:
        maps = inputs.dim() == 5
        if maps and isinstance(module, nn.LayerNorm):
            raise _refused(name, module)
        # Half precision normalises in float32, as it does under autocast.
        wide = inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs
        rows = wide.movedim(-1, 1)
        normal = functional.layer_norm(rows, rows.shape[2:], eps=module.eps).movedim(1, -1)
        shape = (len(inputs), -1, *(1, 1) * maps, 1)
        weight, bias = (weights[f"{name}.{part}"].to(wide.dtype).view(shape) for part in ("weight", "bias"))
        return (normal * weight + bias).to(inputs.dtype)

    return run


_BUILDERS: Mapping[type[nn.Module], Callable[[str, Any], Layer | None]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.ZeroPad2d: _zeros_around,
    nn.Flatten: _flatten,
    nn.LayerNorm: _norm,
    nn.GroupNorm: _norm,
    nn.ReLU: lambda name, module: lambda inputs, weights: functional.relu(inputs),
    nn.Identity: lambda name, module: lambda inputs, weights: inputs,
}

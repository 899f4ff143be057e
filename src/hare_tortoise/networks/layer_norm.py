"""LayerNorm before every activation."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hare_tortoise.networks.activations import Network, put, tell
from hare_tortoise.networks.channels import ActivationCall, follow


def layer_norm(network: Network) -> Network:
    """Put a LayerNorm, with scale and offset, before every activation of a network, in place.

    Behind a Linear this is `nn.LayerNorm(width)`, over the features. Behind a convolution it is
    `nn.GroupNorm(1, channels)`: mean and variance over channels and positions of one image, scale and offset for
    each channel, whatever the size of the image. (Plasticine has scale and offset for each position too. What
    Lyle et al. do behind convolutions was not verified against their text.) A BatchNorm in front stays. An
    activation `a` becomes `nn.Sequential(norm=…, activation=a)` under its old name: other parameters keep theirs.

    Activations are the rectifiers of torch.nn and their kin, CReLU, Fourier and AID, not Tanh and Sigmoid. One that
    stands behind such a norm already stays. What cannot change is left and named in a warning: functional
    activations (`F.relu`), a module that is called at several places (they would share one norm), one in front of
    which the number of channels cannot be followed.

    Args:
        network: any network that `torch.fx` can trace (no branching on values of tensors).

    Returns:
        The same network.

    Raises:
        ValueError: nothing in the network can change, or it cannot be traced.

    References:
        Lyle et al., "Disentangling the Causes of Plasticity Loss in Neural Networks", 2024, arXiv 2402.18762;
        Lyle et al., "Normalization and effective learning rates in reinforcement learning", NeurIPS 2024,
        arXiv 2407.01800.

    Example:
        >>> network = layer_norm(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> network[1].norm.normalized_shape, network[1].activation
        ((4,), ReLU())
    """
    graph = follow(network)
    changed, left = {}, list(graph.functional)
    for name, calls in graph.activations.items():
        reason = _obstacle(calls)
        if reason is None:
            changed[name] = calls[0]
        elif reason:
            left.append(f"{name} ({reason})")
    tell("layer_norm", changed=list(changed), left=left)
    for name, call in changed.items():
        activation = network.get_submodule(name)
        norm = _norm(call, graph.sizes[call.inside], network.get_submodule(call.source))
        pair = nn.Sequential(OrderedDict(norm=norm, activation=activation)).train(activation.training)
        put(network, name, pair)
    return network


def _obstacle(calls: list[ActivationCall]) -> str | None:
    """Why no norm is put before an activation, "" if it has one; None: nothing is in the way."""
    if len(calls) > 1:
        return f"called {len(calls)} times: give each place a module of its own"
    if calls[0].normed:
        return ""
    if calls[0].inside < 0:
        return "no layer before it could be followed"
    if calls[0].flattened:
        return "behind a flattening: put the activation before it"
    return None


def _norm(call: ActivationCall, width: int, source: nn.Module) -> nn.Module:
    norm = nn.LayerNorm(width) if call.last else nn.GroupNorm(1, width)
    like = next(source.parameters())
    return norm.to(device=like.device, dtype=like.dtype)

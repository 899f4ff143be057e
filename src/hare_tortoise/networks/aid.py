"""AID: a dropout that treats positive and negative pre-activations apart."""

from __future__ import annotations

import torch
from torch import Tensor

from hare_tortoise.networks.activations import (
    RECTIFIERS,
    Activation,
    Network,
    functional_activations,
    put,
    tell,
    trace,
)


class AID(Activation):
    """Activation by interval-wise dropout, the simplified form for two intervals.

    In training, with `mask ~ Bernoulli(p)` for each entry, drawn from torch's global generator as in dropout:

        mask · relu(x) − (1 − mask) · relu(−x)

    so that a positive entry is kept with probability `p` and a negative one with probability `1 − p`. In evaluation
    its expectation: `p · x` where `x ≥ 0`, `(1 − p) · x` below. `p=1` is ReLU. Nothing is rescaled.

    Args:
        p: probability of keeping the positive side, from 0 to 1; the paper uses 0.7 to 0.99.

    Raises:
        ValueError: `p` is no number from 0 to 1.

    References:
        Park et al., "Activation by Interval-wise Dropout: A Simple Way to Prevent Neural Networks from Plasticity
        Loss", ICML 2025, arXiv 2502.01342, Algorithm 2 (not verified against the paper's text).

    Example:
        >>> AID(0.75).eval()(torch.tensor([4.0, -4.0]))
        tensor([ 3., -1.])
    """

    def __init__(self, p: float = 0.9) -> None:
        super().__init__()
        self.p = check_probability(p)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        positive, negative = inputs.relu(), -inputs.neg().relu()
        if self.training:
            mask = torch.empty_like(inputs, dtype=torch.bool).bernoulli_(self.p)
            return torch.where(mask, positive, negative)
        return self.p * positive + (1 - self.p) * negative

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"


def aid(network: Network, *, p: float = 0.9) -> Network:
    """Put `AID(p)` in the place of every activation of a network, in place; no shape changes.

    Activations are the rectifiers of torch.nn and their kin (ReLU, LeakyReLU, ELU, GELU, SiLU, …), not Tanh and
    Sigmoid. Functional activations (`F.relu`) cannot be replaced and are named in a warning.

    Args:
        network: any network.
        p: probability of keeping the positive side, from 0 to 1. The paper uses 0.9 for CIFAR-10 and random
            labels, 0.7 for CIFAR-100 and Tiny ImageNet, 0.99 for permuted MNIST, 0.99 and more in RL.

    Returns:
        The same network.

    Raises:
        ValueError: there is no activation module in the network; `p` is no number from 0 to 1.

    References:
        Park et al., ICML 2025, arXiv 2502.01342.

    Example:
        >>> aid(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)), p=0.8)[1]
        AID(p=0.8)
    """
    check_probability(p)
    found = {name: module for name, module in network.named_modules() if isinstance(module, RECTIFIERS)}
    try:
        graph = trace(network)
    except ValueError as error:
        left = [f"functional activations, if there are any: {error}"]
    else:
        left = functional_activations(graph)
        called = {network.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
        found = {name: module for name, module in found.items() if module in called}
    tell("aid", changed=list(found), left=left)
    for name, module in found.items():
        put(network, name, AID(p).train(module.training))
    return network


def check_probability(p: float) -> float:
    """Return `p` if it is a number from 0 to 1; a ValueError otherwise."""
    if isinstance(p, bool) or not isinstance(p, float | int) or not 0 <= p <= 1:
        raise ValueError(
            f"p is {p!r}, expected a number from 0 to 1: the probability of keeping what is positive"
        )
    return float(p)

"""The activation modules of a network: which they are, and putting others in their places."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TypeVar

from torch import nn
from torch.fx import Graph, Node, Tracer

Network = TypeVar("Network", bound=nn.Module)


class Activation(nn.Module):
    """An activation of ours.

    `widens` is the number of channels that it gives for each channel that it is given.
    """

    widens: int = 1


RECTIFIERS: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
)
"""What the transforms replace. Tanh and Sigmoid are not among them: they squash outputs and gates."""

FUNCTIONAL = re.compile("relu|relu6|leaky_relu|prelu|rrelu|elu|celu|selu|gelu|silu|mish|hardswish|softplus")
"""Names of the functions, and of the methods of tensors, that are such activations."""


class _Tracer(Tracer):
    """Takes our activations for leaves, as those of torch are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Activation) or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> Graph:
    """Trace the calls of the modules and functions of a network.

    Raises:
        ValueError: `torch.fx` cannot trace it.
    """
    if type(network).__name__ == "OptimizedModule":
        raise ValueError(
            "the network is compiled, expected one that is not yet: transform it first, compile it then"
        )
    try:
        return _Tracer().trace(network)
    except Exception as error:
        raise ValueError(
            f"{type(network).__name__} cannot be traced by torch.fx ({type(error).__name__}: {error}): transform the "
            "parts of it that can be, or build it from the activation modules, without branching on tensors"
        ) from error


def called(node: Node) -> str:
    """Name the function or the method of a tensor that a node calls, without the mark of one in place."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return str(name).rstrip("_")


def functional_activations(graph: Graph) -> list[str]:
    """Say where functions of torch, not modules, are the activations: they cannot be replaced."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.op in ("call_function", "call_method") and FUNCTIONAL.fullmatch(called(node)):
            stack = node.meta.get("nn_module_stack", {})
            place = next(reversed(stack), "") or "the network"
            found[f"{called(node)}() in the forward of {place} (no module: write it as one)"] = None
    return list(found)


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another, wherever in the network this one stands.

    >>> network = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    >>> put(network, "1", nn.GELU())
    >>> network[1]
    GELU(approximate='none')
    """
    old = network.get_submodule(name)
    for parent in list(network.modules()):
        for key, child in parent._modules.items():  # with repetitions, unlike named_children
            if child is old:
                parent._modules[key] = module


def tell(transform: str, changed: Sequence[str], left: Sequence[str], *, stacklevel: int = 3) -> None:
    """Warn of what a transform leaves as it is.

    Args:
        transform: its name.
        changed: names of the activations that it changes.
        left: what it leaves, with the reason.
        stacklevel: of the warning: 3 points at the caller of the transform that calls this.

    Raises:
        ValueError: it changes nothing.
    """
    shown = "; ".join(left[:8]) + (f"; and {len(left) - 8} more" if len(left) > 8 else "")
    if not changed:
        why = f": {shown}" if left else ", such as nn.ReLU, that it could take"
        raise ValueError(f"{transform} finds no activation module to change in the network{why}")
    if left:
        warnings.warn(f"{transform} leaves as they are: {shown}", UserWarning, stacklevel=stacklevel)
